"""What the switch has decided before a row of the tables is played: nothing, or about a legitimate frame as like it as there is."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from attacks.judge import Prelude
from attacks.rows import TABLES, Row
from attacks.stage import Stage

HEAD = 12
"""Bytes of addresses, in which frames that have nothing else in common are alike."""


def _cold(stage: Stage, row: Row) -> None:
    stage.forget()


def _warm(stage: Stage, row: Row) -> None:
    """Behind a frame that is let through, whose decision the switch keeps: nothing of that may serve the row."""
    kin = nearest(row)
    if kin is not None:
        stage.forget()
        stage.play(kin)


AS_IT_COMES = "as it comes"
PRELUDES: Mapping[str, Prelude | None] = {AS_IT_COMES: None, "cold": _cold, "warm": _warm}
"""By the names that data planes give them."""


def nearest(row: Row) -> Row | None:
    """The frame of the same sender that passes and has the most bytes in common with the row's, of all tables."""
    others = (one for one in _passing() if one.sender == row.sender and one.name != row.name)
    return max(others, key=lambda one: _likeness(one.frame, row.frame), default=None)


@cache
def _passing() -> list[Row]:
    return [row for table in TABLES.values() for row in table() if row.verdict == "PASS"]


def _likeness(one: bytes, other: bytes) -> tuple[bool, int]:
    """The same EtherType first of all."""
    return one[HEAD : HEAD + 2] == other[HEAD : HEAD + 2], sum(left == right for left, right in zip(one, other, strict=False))
