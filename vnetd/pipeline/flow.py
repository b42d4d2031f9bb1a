"""A flow as a value that renders to the very line that ``ovs-ofctl dump-flows`` prints.

Strategy: flows name ports as ``<vnet0>``. Rendered with the port numbers of a live
bridge, the text equals the switch's own, so that desired and observed flows are
compared as sets of strings and ten thousand of them cost milliseconds. The fields
of a match are therefore written in the order in which Open vSwitch prints them, and
in its spelling; a functional test holds every kind of flow against a real dump.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from vnetd.pipeline.catalogue import Cookie, Table

LOCAL = "LOCAL"
"""The bridge's own port, which OpenFlow knows by this name."""

_PORT = re.compile(r"<([^<>]+)>")
_OUTPUT = re.compile(r"(?:in_port=|output:)(\d+)")


@dataclass(frozen=True, slots=True, order=True)
class Flow:
    """One flow; ``match`` and ``actions`` are ovs-ofctl text with ports as ``<name>``."""

    table: Table
    priority: int
    match: str
    actions: str
    cookie: Cookie

    def __str__(self) -> str:
        table = f"table={self.table:d}, " if self.table else ""
        match = f",{self.match}" if self.match else ""
        return f"cookie=0x{self.cookie:x}, {table}priority={self.priority}{match} actions={self.actions}"

    def line(self, numbers: Mapping[str, int]) -> str:
        """The flow as the switch prints it. Raises KeyError for a port that is not in ``numbers``."""
        return _PORT.sub(lambda found: str(numbers[found[1]]), str(self))

    def text(self) -> str:
        """The flow with port names, to read."""
        return _PORT.sub(lambda found: found[1], str(self))


def by_lines(flows: Iterable[Flow], numbers: Mapping[str, int]) -> dict[str, Flow]:
    """The flows by their rendered line."""
    return {flow.line(numbers): flow for flow in flows}


def referenced_ports(line: str) -> set[int]:
    """The port numbers that a dumped flow matches or outputs to."""
    return {int(number) for number in _OUTPUT.findall(line)}
