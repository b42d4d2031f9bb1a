"""Flows as the switch prints them: what makes a line the flow it is, whose it is, and with names for numbers.

Written without vnetd's own functions for the same, since the tests judge by it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

KINDS = ("bandwidth", "flood", "neighbour", "packets")
"""A port's meters, whose numbers are four times the port's, and one, two and three more; those of pools are above all of them."""

LEARNED = "cookie=0x766e6574{patch:04x}0032, table=30, hard_timeout=300, priority=5"
"""How the switch begins the line of a flow that it learned on the tunnel bridge, with the number of the network's patch."""

HEARD = "cookie=0x766e6574000000{kind}, table=41, hard_timeout=300, priority=10"
"""The same on a network's bridge: 34 of what a guest sent, 32 of what came from elsewhere."""

COUNTED = "cookie=0x766e6574000001{reason:02x}, table=62, priority=1"
"""The same of a flow that counts what a port's frames dropped for."""

_PORT = re.compile(r"(in_port=|output:)(\d+)")
_COOKIE = re.compile(r"(,cookie=0x766e6574)([0-9a-f]{4})(?=0032,)")
_METER = re.compile(r"meter:(\d+)")
_REGISTER = re.compile(r"(reg1=|load:(?=\w+->NXM_NX_REG1\[)|set_field:(?=\w+->reg1))0x([0-9a-f]+)(?:/0xffff)?")

FlowKey = tuple[int, int, str]


@lru_cache(maxsize=65536)
def key_of(line: str) -> FlowKey:
    """What makes a dumped flow this flow: its table, its priority and its match."""
    table, priority, match = 0, 32768, []
    for piece in line.partition(" actions=")[0].replace(", ", ",").split(","):
        name, _, value = piece.partition("=")
        if name == "table":
            table = int(value)
        elif name == "priority":
            priority = int(value)
        elif name not in ("cookie", "hard_timeout", "idle_timeout"):
            match.append(piece)
    return table, priority, ",".join(match)


def cookie_of(line: str) -> str:
    """The cookie in hexadecimal digits; ovs-ofctl prints none where it is zero."""
    return line[len("cookie=0x") :].partition(",")[0] if line.startswith("cookie=0x") else "0"


@lru_cache(maxsize=65536)
def is_vnetds(line: str) -> bool:
    """Whether the cookie's upper half is vnetd's."""
    return int(cookie_of(line), 16) >> 32 == 0x766E6574


@lru_cache(maxsize=65536)
def is_learned(line: str) -> bool:
    """Whether the switch made the flow itself: to find somebody, or to count drops."""
    kind = int(cookie_of(line), 16) & 0xFFFF_FFFF
    return is_vnetds(line) and (kind in (0x34, 0x35) or kind & 0xFFFF == 0x32 or kind >> 8 == 1)


def meter_name(number: int, names: Mapping[int, str]) -> str:
    """A meter by its port and kind."""
    if number >= 1 << 20:
        return f"pool-{number}"
    return f"{names.get(number // 4, f'gone-{number // 4}')}-{KINDS[number % 4]}"


def named(line: str, names: Mapping[int, str]) -> str:
    """The line with the names of ports for their numbers, in matches, actions and the register for a port."""

    def register(found: re.Match[str]) -> str:
        number = int(found[2], 16)
        return found[1] + ("LOCAL" if number == 0xFFFE else names.get(number, f"gone-{number}"))

    line = _COOKIE.sub(lambda found: found[1] + names.get(int(found[2], 16), found[2]), line)
    line = _PORT.sub(lambda found: found[1] + names.get(int(found[2]), f"gone-{found[2]}"), line)
    return _REGISTER.sub(register, _METER.sub(lambda found: f"meter:{meter_name(int(found[1]), names)}", line))
