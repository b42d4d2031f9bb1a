"""A row of the tables: one frame, who sends it, and what must become of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

FLOODED = ("V1", "V2", "S1", "S2")
"""Who must hear P's broadcast and multicast."""


@dataclass(frozen=True, slots=True)
class Row:
    """One frame. It may show up at ``arrives``, where it must, and at ``may``; anywhere else it has leaked."""

    name: str
    frame: bytes
    sender: str = "P"
    arrives: frozenset[str] = frozenset()
    may: frozenset[str] = frozenset()
    reasons: frozenset[str] = frozenset()
    """Of the drop, in words; where the rules leave it open, each that could be right."""
    counted: str = ""
    """The port whose counter must grow by one; the sender if empty."""
    surely: bool = True
    """Whether the counter must grow. What nobody drops for itself, as one copy of a flooded frame, may go uncounted."""
    becomes: bytes | None = None
    """The frame as it arrives, if not as it was sent."""

    @property
    def verdict(self) -> str:
        return "PASS" if self.arrives else "MAY" if self.may else "DROP"

    @property
    def counter(self) -> str:
        return self.counted or self.sender


Table = Callable[[], list[Row]]
TABLES: dict[str, Table] = {}
"""All tables, by the name of what they attack or use."""


def table(name: str) -> Callable[[Table], Table]:
    """Enter a table under this name."""

    def enter(rows: Table) -> Table:
        TABLES[name] = rows
        return rows

    return enter


def drop(name: str, frame: bytes, *reasons: str, sender: str = "P", counted: str = "", surely: bool = True) -> Row:
    """An attack: nothing of it may show up anywhere."""
    return Row(name, frame, sender, reasons=frozenset(reasons), counted=counted, surely=surely)


def harmless(name: str, frame: bytes, *reasons: str, may: frozenset[str], sender: str = "P", becomes: bytes | None = None) -> Row:
    """What Open vSwitch cannot tell from a frame that may pass, so that it judges it as that one: it may drop it, and may not."""
    return Row(name, frame, sender, may=may, reasons=frozenset(reasons), surely=False, becomes=becomes)


def to(name: str, frame: bytes, *arrives: str, sender: str = "P", becomes: bytes | None = None) -> Row:
    """A legitimate frame for these ports and no other."""
    return Row(name, frame, sender, arrives=frozenset(arrives), becomes=becomes)


def all_hear(name: str, frame: bytes, *arrives: str, sender: str = "P", becomes: bytes | None = None, may: frozenset[str]) -> Row:
    """A legitimate broadcast or multicast: these ports must hear it, and the others of ``may`` may."""
    return Row(name, frame, sender, arrives=frozenset(arrives or FLOODED), may=may, becomes=becomes)
