"""The search: frames that the kernel and ovs-vswitchd read differently, each of a class that the table knows and something refuses.

VNETD_SEARCH_SECONDS (30) says for how long, VNETD_SEARCH_SEED (1) which frames; an hour is worth while after each new version of either.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from random import Random

import pytest
from attacks import tables  # noqa: F401 - it enters all rows.
from attacks.rows import TABLES

from differential.classes import table
from differential.datapath import Refused
from differential.grammar import frames, header, segmented
from differential.search import Bench, Findings, Read, by_completion
from differential.tap import Header

SECONDS = float(os.environ.get("VNETD_SEARCH_SECONDS", "30"))
SEED = int(os.environ.get("VNETD_SEARCH_SEED", "1"))
BATCH = 1000


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    try:
        made = Bench()
    except Refused:
        pytest.skip("this kernel does not have Open vSwitch's module")
    yield made
    made.close()


@pytest.fixture(scope="module")
def corpus() -> list[bytes]:
    """Every frame of the attack tables."""
    return [row.frame for rows in TABLES.values() for row in rows()]


def search(bench: Bench, seconds: float, make: Callable[[], tuple[bytes, Header]]) -> Findings:
    """All that is found in so many seconds."""
    found, end, before = Findings(), time.monotonic() + seconds, bench.refused
    while time.monotonic() < end:
        batch = [make() for _ in range(BATCH)]
        for one, names in by_completion(list(bench.read(batch))):
            found.enter(one, names)
        found.frames += BATCH
    found.refused = bench.refused - before
    return found


def assert_all_refused(found: Findings) -> None:
    known = table()
    print(f"seed {SEED}: {found.frames} frames, {found.refused} refused by the kernel, {len(found.counts)} classes")
    print("\n".join(found.lines()))
    wrong = [f"{name}: {_described(one)}" for name, one in found.shortest.items() if name not in known or not known[name].refused]
    assert not wrong, "not in docs/internals/parsers.md, or refused by nothing:\n" + "\n".join(wrong)


def _described(one: Read) -> str:
    return f"{one.frame.hex()} {one.header}\n  kernel {one.kernel}\n  ovs-vswitchd {one.switch}"


def test_every_difference_is_of_a_class_that_is_refused(bench: Bench, corpus: list[bytes]) -> None:
    rng = Random(SEED)
    found = search(bench, SECONDS * 2 / 3, lambda: (frames(rng, corpus), Header()))
    assert found.frames > 50 * SECONDS
    assert_all_refused(found)


def test_the_same_with_every_form_of_virtios_header(bench: Bench, corpus: list[bytes]) -> None:
    rng = Random(SEED)

    def make() -> tuple[bytes, Header]:
        if rng.random() < 0.3:
            return segmented(rng)
        frame = frames(rng, corpus) if rng.random() < 0.3 else rng.choice(corpus)
        return frame, header(rng, frame)

    assert_all_refused(search(bench, SECONDS / 3, make))
