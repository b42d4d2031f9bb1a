"""Every row of the tables, one test for each table."""

from __future__ import annotations

import pytest
from dataplane import chosen

from attacks import tables
from attacks.caches import AS_IT_COMES, PRELUDES
from attacks.judge import play_class
from attacks.rows import TABLES
from attacks.stage import Stage


def test_the_tables_have_many_rows() -> None:
    rows = [row for table in TABLES.values() for row in table()]
    assert sum(row.verdict == "DROP" for row in rows) >= 150
    assert sum(row.verdict == "PASS" for row in rows) >= 150


@pytest.mark.parametrize("name", tables.NAMES)
def test_no_frame_stands_twice(name: str) -> None:
    mine = TABLES[name]()
    assert len({row.name for row in mine}) == len(mine), "two rows have one name"
    assert len({(row.sender, row.frame) for row in mine}) == len(mine), "two rows are one frame"


PLAYED = [(name, cached) for name in tables.NAMES for cached in (chosen().caches if name in tables.TWICE_READ else (AS_IT_COMES,))]
"""Each table, and the state of the switch's cache in which it is played."""


@pytest.mark.parametrize(("name", "cached"), PLAYED)
def test_what_passes_and_what_does_not(stage: Stage, name: str, cached: str) -> None:
    wrong = play_class(stage, TABLES[name](), before_each=PRELUDES[cached])
    assert not wrong, "\n" + "\n".join(wrong)
