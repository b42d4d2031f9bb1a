"""Openers, then the forbidden frames: what ovs-vswitchd said of the ones must not be kept for the others.

Where Open vSwitch has its own packets' cache and parser, as in the userspace data plane, nothing can come of it; where the kernel
forwards, this is how the guards were got round.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from attacks import tables
from attacks.judge import is_of
from attacks.openers import OPENERS, opener_of
from attacks.rows import TABLES, Row
from attacks.stage import Stage

MANY = 40
"""Pairs at once: as many frames as a tap's queue holds with room to spare."""


class Pair(NamedTuple):
    """A forbidden row, and the frame that is sent before it."""

    row: Row
    opener: bytes


def pairs(name: str, opener: str) -> list[Pair]:
    """The rows of a table that must not show up anywhere, each behind the opener that is made of it."""
    rows = [row for row in TABLES[name]() if row.verdict == "DROP"]
    made = [(row, opener_of(opener, row.frame)) for row in rows]
    return [Pair(row, frame) for row, frame in made if frame is not None]


def leaks(stage: Stage, found: list[Pair]) -> list[str]:
    """Where the forbidden frames of these pairs showed up, in words."""
    wrong = []
    for at in range(0, len(found), MANY):
        some = found[at : at + MANY]
        for _ in range(2):
            # The first time the switch makes flows to count by, and what it had decided before them it decides again.
            stage.play_many([(pair.row.sender, pair.opener) for pair in some])
        seen = stage.play_many([(pair.row.sender, pair.row.frame) for pair in some])
        for pair in some:
            victims = sorted({name for name, frame in seen if is_of(frame, pair.row) and b"open" not in frame})
            wrong += [f"{pair.row.sender}: {pair.row.name}: leaked to {', '.join(victims)}"] if victims else []
    return wrong


@pytest.mark.parametrize("opener", OPENERS)
def test_no_opener_opens_the_way_for_a_forbidden_frame(stage: Stage, opener: str) -> None:
    stage.introduce()
    tried, wrong = 0, []
    for name in tables.NAMES:
        found = pairs(name, opener)
        tried += len(found)
        wrong += [f"{name}: {line}" for line in leaks(stage, found)]
    print(f"{opener}: {tried} pairs, {len(wrong)} leaked")
    assert not wrong, f"{len(wrong)} of {tried}\n" + "\n".join(wrong)


def test_openers_are_made_of_many_rows() -> None:
    assert all(sum(len(pairs(name, opener)) for name in tables.NAMES) >= 20 for opener in OPENERS)
