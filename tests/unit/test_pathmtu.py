"""The search for a path MTU, on simulated paths that lose, lie, shrink and grow."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vnetd.pathmtu import FLOORS, PathSearch, Phase

CONFIRM, GROW = 5, 60


def always(_: int) -> None:
    """No ICMP errors at all."""


@dataclass
class Path:
    """A path that carries packets of up to ``mtu`` bytes and loses that share of them; ``says`` is what ICMP tells of a larger one."""

    search: PathSearch
    mtu: int
    loss: float = 0.0
    rtt: float = 0.0005
    says: Callable[[int], int | None] = always
    deaf: bool = False
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    now: float = 0.0
    sent: list[tuple[float, int]] = field(default_factory=list)
    _coming: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _order: count[int] = field(default_factory=count)

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> float:
        """Let time pass, no further than to where ``until`` is true; the seconds that it took."""
        begin, end = self.now, self.now + seconds
        while True:
            while (size := self.search.due(self.now)) is not None:
                self._send(size)
            if until():
                return self.now - begin
            arrival = self._coming[0][0] if self._coming else math.inf
            if min(arrival, self.search.wake) > end:
                break
            self.now = max(self.now, min(arrival, self.search.wake))
            if arrival <= self.now:
                heapq.heappop(self._coming)[2]()
        self.now = end
        return seconds

    def settle(self, seconds: float) -> float:
        """Run until the search is complete; the seconds that it took."""
        took = self.run(seconds, lambda: self.search.phase is Phase.COMPLETE)
        assert self.search.phase is Phase.COMPLETE, f"not within {seconds} s"
        return took

    def _send(self, size: int) -> None:
        self.sent.append((self.now, size))
        if self.chance.random() < self.loss:
            return
        began = self.now
        if size <= self.mtu and not self.deaf:
            self._arrive(lambda: self.search.answered(size, self.now, self.now - began))
        elif size > self.mtu and (hint := self.says(size)) is not None:
            self._arrive(lambda: self.search.too_big(hint, self.now))

    def _arrive(self, what: Callable[[], None]) -> None:
        heapq.heappush(self._coming, (self.now + self.rtt, next(self._order), what))


@st.composite
def sizes(draw: st.DrawFn) -> tuple[int, int, int]:
    """(floor, path MTU, ceiling)."""
    floor = draw(st.sampled_from(sorted(FLOORS.values())))
    ceiling = draw(st.one_of(st.sampled_from([1500, 9000, 65535]), st.integers(floor, 65535)))
    return floor, draw(st.one_of(st.integers(floor, ceiling), st.integers(floor, min(ceiling, 1500)))), ceiling


def test_a_path_as_wide_as_the_interface_costs_one_packet() -> None:
    path = Path(PathSearch(1500), 1500, rtt=0.001)
    assert path.settle(1) == pytest.approx(0.001)
    assert path.search.mtu == 1500
    assert path.search.rtt_ms == pytest.approx(1.0)
    assert path.sent == [(0.0, 1500)]


@given(sizes())
def test_the_search_ends_at_the_path_mtu(given_sizes: tuple[int, int, int]) -> None:
    floor, mtu, ceiling = given_sizes
    path = Path(PathSearch(ceiling, floor), mtu)
    assert path.settle(5) <= 4
    assert path.search.mtu == mtu
    assert len(path.sent) < 120


@given(sizes(), st.integers(1, 30), st.integers(0, 2**32))
def test_chance_does_not_change_where_it_ends(given_sizes: tuple[int, int, int], percent: int, seed: int) -> None:
    floor, mtu, ceiling = given_sizes
    path = Path(PathSearch(ceiling, floor), mtu, percent / 100, chance=random.Random(seed))
    # A remote whose first answers are all lost is asked again after the pause of one that does not answer.
    path.settle(15)
    assert path.search.mtu == mtu


@given(sizes(), st.integers(0, 30), st.integers(0, 2**32))
def test_what_icmp_says_makes_it_no_less_right(given_sizes: tuple[int, int, int], percent: int, seed: int) -> None:
    """Hints may be true, none, or any number at all."""
    floor, mtu, ceiling = given_sizes
    chance = random.Random(seed)
    says = chance.choice([lambda _: mtu, lambda size: chance.randrange(size + 100), lambda size: size - 1, lambda _: floor])
    path = Path(PathSearch(ceiling, floor), mtu, percent / 100, says=says, chance=chance)
    path.settle(15)
    assert path.search.mtu == mtu
    path.run(3 * CONFIRM)
    assert path.search.mtu == mtu


def test_a_true_hint_makes_it_fast() -> None:
    path = Path(PathSearch(9000), 1437, says=lambda _: 1437)
    assert path.settle(5) < 1
    assert path.search.mtu == 1437


@pytest.mark.parametrize("lie", [0, 68, 575, 1500, 9000, 70000])
def test_a_hint_out_of_range_is_no_hint(lie: int) -> None:
    path = Path(PathSearch(1500), 1500)
    path.settle(1)
    path.search.too_big(lie, path.now)
    assert path.search.phase is Phase.COMPLETE
    path.run(CONFIRM + 0.1)
    assert path.search.mtu == 1500
    assert len(path.sent) == 2


def test_a_lie_about_a_path_that_is_fine_changes_nothing() -> None:
    path = Path(PathSearch(1500), 1500)
    path.settle(1)
    path.search.too_big(600, path.now)
    path.settle(2)
    assert path.search.mtu == 1500


@pytest.mark.parametrize("rtt", [0.0005, 0.1, 0.8])
def test_a_long_way_is_measured_too(rtt: float) -> None:
    path = Path(PathSearch(1500), 1423, rtt=rtt)
    path.settle(5 if rtt < 0.5 else 20)
    assert path.search.mtu == 1423
    assert path.search.rtt_ms == pytest.approx(rtt * 1000)


@pytest.mark.parametrize("told", [False, True])
@given(sizes(), st.integers(0, 2**32))
def test_a_path_shrinks_and_grows(told: bool, given_sizes: tuple[int, int, int], seed: int) -> None:
    floor, mtu, ceiling = given_sizes
    path = Path(PathSearch(ceiling, floor), ceiling, 0.02, chance=random.Random(seed))
    path.says = (lambda _: path.mtu) if told else always
    path.settle(10)
    path.run(2)
    path.mtu = mtu
    path.run(20)
    assert path.search.mtu == mtu
    path.mtu = (mtu + ceiling) // 2
    path.run(3 * GROW)
    assert path.search.mtu == path.mtu, "grown, though not up to the ceiling"
    path.mtu = ceiling
    path.run(3 * GROW)
    assert path.search.mtu == ceiling


def test_within_what_time_a_change_is_found() -> None:
    path = Path(PathSearch(1500), 1500)
    path.settle(1)
    path.run(0.001)
    path.mtu = 1400
    assert path.run(60, lambda: path.search.mtu == 1400) < 10
    path.run(1)
    path.mtu = 1500
    assert path.run(120, lambda: path.search.mtu == 1500) < GROW + CONFIRM + 1


def test_a_found_path_costs_little() -> None:
    path = Path(PathSearch(1500), 1400)
    path.settle(5)
    before = len(path.sent)
    path.run(600)
    confirmed, grown = 600 // CONFIRM, 600 // GROW
    assert confirmed <= len(path.sent) - before <= confirmed + 2 * grown + 2


def test_the_last_result_stands_while_the_remote_is_away() -> None:
    path = Path(PathSearch(1500), 1400)
    path.settle(5)
    path.deaf = True
    path.run(600)
    assert path.search.mtu == 1400
    assert path.search.phase is Phase.ERROR
    assert not path.search.silent, "it has answered before"
    path.deaf, path.mtu = False, 1450
    path.run(2 * GROW)
    assert path.search.mtu == 1450


def test_a_remote_that_dies_in_the_middle_of_a_search_leaves_no_number() -> None:
    for step in range(1, 30):
        path = Path(PathSearch(1500), 1437)
        path.run(step * 0.05)
        path.deaf = True
        path.run(60)
        assert path.search.mtu in (None, 1437)
        path.deaf = False
        path.run(2 * GROW)
        assert path.search.mtu == 1437


@pytest.mark.parametrize("says", [always, lambda _: 1400])
def test_a_remote_that_never_answers_is_silent(says: Callable[[int], int | None]) -> None:
    path = Path(PathSearch(1500), 1500 if says is always else 1400, deaf=True, says=says)
    path.run(1)
    assert not path.search.silent, "it is not yet known"
    path.run(4)
    assert path.search.silent
    assert path.search.mtu is None
    before = len(path.sent)
    path.run(600)
    assert len(path.sent) - before < 40
    path.deaf = False
    path.run(GROW + 5)
    assert not path.search.silent
    assert path.search.mtu == path.mtu


def test_the_interface_says_how_much_may_be_asked_for() -> None:
    path = Path(PathSearch(1500), 9000)
    path.settle(1)
    path.search.ceiling(9000)
    assert path.settle(1) == 0
    path.run(1)
    assert path.search.mtu == 9000
    path.search.ceiling(1400)
    assert path.search.mtu == 1400, "more cannot be sent"
    path.run(2 * GROW)
    assert path.search.mtu == 1400
    assert max(size for at, size in path.sent if at > 3) == 1400
    path.search.ceiling(1500)
    path.run(1)
    assert path.search.mtu == 1500


EVENTS = st.tuples(st.sampled_from(["ceiling", "mtu", "deaf", "wait", "hint"]), st.integers(400, 9100))


@given(st.lists(EVENTS, max_size=12), st.integers(0, 99))
def test_after_any_history_it_finds_the_number(history: list[tuple[str, int]], seed: int) -> None:
    ceiling = 1500
    path = Path(PathSearch(ceiling), 1500, 0.05, chance=random.Random(seed))
    for what, number in history:
        if what == "ceiling":
            ceiling = number
            path.search.ceiling(number)
        elif what == "mtu":
            path.mtu = max(number, FLOORS[4])
        elif what == "deaf":
            path.deaf = bool(number % 2)
        elif what == "hint":
            path.search.too_big(number, path.now)
        path.run(number % 97 / 10)
    path.deaf = False
    path.run(4 * GROW)
    assert path.search.mtu == min(ceiling, path.mtu)
    assert path.search.wake < path.now + GROW
