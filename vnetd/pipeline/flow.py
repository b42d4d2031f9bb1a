"""A flow as a value that renders to the very line that ``ovs-ofctl dump-flows`` prints.

Strategy: flows name ports as ``<vnet0>`` and a port's meters as ``<vnet0:flood>``.
Rendered with the port numbers of a live bridge, the text equals the switch's own, so
that desired and observed flows are compared as sets of strings and ten thousand of
them cost milliseconds. The fields of a match are therefore written in the order in
which Open vSwitch prints them, and in its spelling; a functional test holds every
kind of flow against a real dump.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from vnetd.pipeline.catalogue import Fact, Reason, Table

LOCAL = "LOCAL"
"""The bridge's own port, which OpenFlow knows by this name."""

LOCAL_NUMBER = 0xFFFE
"""OFPP_LOCAL, as a register holds it (OpenFlow 1.0's 16 bits, which Open vSwitch uses inside)."""

PORT_HEX = "reg1=<{}:hex>"
"""The match on the register PORT, to be given a port's name."""


def goto(table: Table) -> str:
    """The action that goes on to a table."""
    return f"goto_table:{table:d}"


def note(fact: Fact) -> str:
    """The action that sets one bit of FACTS, as the switch prints it."""
    return f"load:0x1->NXM_NX_REG3[{fact.bit_length() - 1}]"


def has(*facts: Fact) -> str:
    """The match on bits of FACTS that are set."""
    bits = sum(facts)
    return f"reg3=0x{bits:x}/0x{bits:x}"


def number(value: int) -> str:
    """A number as the switch prints it in a match and an action: hexadecimal, and 0 as 0."""
    return f"0x{value:x}" if value else "0"


def larger_than(size: int) -> str:
    """The action that asks whether a frame has more than ``size`` bytes, tags and all, and puts the answer into bit 0 of reg0."""
    return f"check_pkt_larger({size})->NXM_NX_REG0[0]"


def refuse(reason: Reason) -> str:
    """The actions that drop a frame for the account of its sender."""
    return f"set_field:0x{reason:x}->reg2,{goto(Table.REFUSE)}"


def withhold(reason: Reason) -> str:
    """The actions that drop a frame for the account of its addressee, whose number PORT holds already."""
    return f"set_field:0x{reason:x}->reg2,{goto(Table.DROP)}"


class MeterKind(IntEnum):
    """A port's meters; ``number`` gives each its place among all meters of the bridge."""

    BANDWIDTH = 0
    FLOOD = 1
    NEIGHBOUR = 2
    PACKETS = 3

    def number(self, port: int) -> int:
        """The meter's number, from the port's; never 0, which OpenFlow does not allow."""
        return port * len(MeterKind) + self

    def place(self, port: str) -> str:
        """The meter as a flow's actions name it."""
        return f"<{port}:{self.name.lower()}>"

    @classmethod
    def of(cls, number: int) -> tuple[int, MeterKind]:
        """(port number, kind) of a meter's number."""
        return number // len(cls), cls(number % len(cls))

    @property
    def reason(self) -> Reason:
        """Why a frame drops that this meter does not let pass."""
        return {
            MeterKind.BANDWIDTH: Reason.BANDWIDTH,
            MeterKind.FLOOD: Reason.FLOOD_LIMIT,
            MeterKind.NEIGHBOUR: Reason.NEIGHBOUR_LIMIT,
            MeterKind.PACKETS: Reason.PACKETS,
        }[self]


_PLACE = re.compile(r"<([^<>:]+)(?::(\w+))?>")
_FORMS = {None: "{:d}", "hex": "0x{:x}", "cookie": "{:04x}"}
_NUMBER = re.compile(r"(?:in_port=|output:)(\d+)")
_REGISTER = re.compile(r"(?:reg1=|load:)0x([0-9a-f]+)(?:->NXM_NX_REG1\[|/|,| |$)|set_field:0x([0-9a-f]+)->reg1")


@dataclass(frozen=True, slots=True, order=True)
class Flow:
    """One flow; ``match`` and ``actions`` are ovs-ofctl text.

    Ports stand there as ``<name>``, in a register as ``<name:hex>`` and in a cookie as ``<name:cookie>``.
    """

    table: int
    priority: int
    match: str
    actions: str
    cookie: int

    def __str__(self) -> str:
        table = f"table={self.table:d}, " if self.table else ""
        match = f",{self.match}" if self.match else ""
        return f"cookie=0x{self.cookie:x}, {table}priority={self.priority}{match} actions={self.actions}"

    def line(self, numbers: Mapping[str, int]) -> str:
        """The flow as the switch prints it. Raises KeyError for a port that is not in ``numbers``."""

        def number(found: re.Match[str]) -> str:
            port = numbers[found[1]]
            form = _FORMS.get(found[2])
            return form.format(port) if form else str(MeterKind[found[2].upper()].number(port))

        return _PLACE.sub(number, str(self))

    def text(self) -> str:
        """The flow with port names, to read. Those in cookies are not told."""

        def name(found: re.Match[str]) -> str:
            if found[2] == "cookie":
                return "...."
            return found[1] if found[2] in _FORMS else f"{found[1]}-{found[2]}"

        return _PLACE.sub(name, str(self))


def by_lines(flows: Iterable[Flow], numbers: Mapping[str, int]) -> dict[str, Flow]:
    """The flows by their rendered line."""
    return {flow.line(numbers): flow for flow in flows}


def referenced_ports(line: str) -> set[int]:
    """The port numbers that a dumped flow matches, outputs to, or has in its register for a port."""
    found = {int(number) for number in _NUMBER.findall(line)}
    found |= {int(one or other, 16) for one, other in _REGISTER.findall(line)}
    return found - {LOCAL_NUMBER}
