"""The search for the path MTU to one remote: Datagram Packetization Layer PMTU Discovery, RFC 8899.

A probe is a packet of some size that may not be fragmented. An answered probe proves its size;
a lost one proves nothing by itself, as it may have been lost like any other packet. Strategy: begin at the
ceiling, so that the usual path costs one packet, and when that is lost ask for several sizes at once, in rounds
that part what is left between the largest size that was answered and the smallest that was not. At the end the
first size that is too large is asked for many times, together with one that fits, and it is
believed to be too large only when chance cannot explain the losses. What ICMP says (RFC 1191, RFC 8201)
makes the search faster; it is never believed without a probe (RFC 8899, 4.6).

The PROBE_TIMER of RFC 8899, 5.1.1, is a second or more, for paths of which nothing is known. Here it follows the measured
round trip: a probe that is given up too early does no harm, since an answer counts whenever it comes.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from enum import Enum

FLOORS = {4: 576, 6: 1280}
"""bytes: what is not searched below, by IP version: what IPv4 hosts take (RFC 1122, 3.3.2) and IPv6 links carry (RFC 8200, 5)."""

COMMON = (9001, 9000, 8896, 1500, 1492, 1480, 1476, 1460, 1450, 1420, 1400, 1380, 1280, 576)
"""bytes: path MTUs that are met often, which are tried first (RFC 8899, 5.3.2)."""

ABREAST = 8
"""How many sizes between two bounds are probed at once, and how often the last one is in one round."""
CHANCE = 1e-6
"""How likely the losses of a size that fits may be before it is taken for too large."""
MAX_PROBES = 3
"""How many times in a row the current size is lost before it is doubted (RFC 8899, 5.1.2)."""
DEAF_ROUNDS = 4
"""How many rounds go without any answer before the remote is taken for one that does not answer."""
_UNKNOWN_SECONDS, _LEAST_SECONDS, _MOST_SECONDS = 0.5, 0.3, 3.0
_REPEAT_SECONDS = 0.5
_SETTLED = 1000
"""Losses of a size of which it is known from before that it is too large."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a path is looked at again, in seconds.

    ``confirm``: the current size is probed (CONFIRMATION_TIMER of RFC 8899, 5.1.1). ``grow``: larger ones are
    (PMTU_RAISE_TIMER), and it is the longest time between two probes to a remote that does not answer.
    """

    confirm: float = 5.0
    grow: float = 60.0


USUAL = Pace()


class Phase(Enum):
    """Where the search is (RFC 8899, 5.2)."""

    BASE = "whether the ceiling gets through, or anything at all"
    SEARCH = "between what got through and what did not"
    COMPLETE = "found, and confirmed now and then"
    ERROR = "nothing gets through, or nothing is answered"


class PathSearch:
    """The search for one path, driven by time (seconds of a monotonic clock) and by what comes back.

    ``mtu``: bytes of the largest IP packet that gets through unfragmented; None until a search has come to its end.
    ``rtt_ms``: the smoothed round trip (RFC 6298, 2) in milliseconds. ``answering``: whether anything ever was answered.
    """

    def __init__(self, ceiling: int, floor: int = FLOORS[4], pace: Pace = USUAL, start: float = 0.0) -> None:
        self.mtu: int | None = None
        self.rtt_ms: float | None = None
        self.answering = False
        self.phase = Phase.BASE
        self._floor, self._ceiling, self._pace = min(floor, ceiling), ceiling, pace
        self._next, self._grow_at, self._backoff = start, math.inf, pace.confirm
        self._queue: list[int] = []
        self._flying: Counter[int] = Counter()
        self._sent = 0.0
        self._round_answered = False
        self._deaf_rounds = 0
        self._misses, self._alive = 0, False
        self._good = 0
        self._lost: Counter[int] = Counter()
        self._passed = self._missed = 0
        self._hints: set[int] = set()

    @property
    def silent(self) -> bool:
        """Whether nothing was ever answered, though it has been tried often enough."""
        return self.phase is Phase.ERROR and not self.answering

    @property
    def resting(self) -> bool:
        """Whether nothing is in doubt, so that the next probe need not be sent at once when it is due."""
        return self.phase in (Phase.COMPLETE, Phase.ERROR) and not (self._queue or self._flying or self._misses)

    @property
    def wake(self) -> float:
        """When ``due`` has something to send or to conclude, unless something comes back before."""
        if self._queue:
            return -math.inf
        return self._sent + self._patience() if self._flying else self._next

    def due(self, now: float) -> int | None:
        """The size in bytes of a probe to be sent now; None when there is none. To be called until then."""
        self.tick(now)
        if not self._queue:
            return None
        size = self._queue.pop(0)
        self._flying[size] += 1
        self._sent = now
        return size

    def tick(self, now: float) -> None:
        """Give up probes that were not answered in time, and begin what it is time for."""
        if self._queue or now < self.wake:
            return
        if self._flying:
            self._end_round(now)
        else:
            self._begin(now)

    def answered(self, size: int, now: float, rtt: float) -> None:
        """A probe of this size was answered after so many seconds."""
        sample = rtt * 1000
        self.rtt_ms = sample if self.rtt_ms is None else self.rtt_ms + (sample - self.rtt_ms) / 8
        self.answering = self._round_answered = self._alive = True
        self._deaf_rounds = 0
        self._passed += 1
        self._good = max(self._good, size)
        if self.mtu is not None and size >= self.mtu:
            self._misses = 0
        if self._flying[size] > 1:
            self._flying[size] -= 1
        else:
            del self._flying[size]
        if size >= self._ceiling and not self._queue:
            self._flying.clear()
            self._conclude(now)
        elif not self._flying and not self._queue and now < self._next:
            return  # It came late, between two rounds.
        elif not self._flying and not self._queue:
            self._conclude(now)

    def too_big(self, mtu: int, now: float) -> None:
        """Somebody on the way said that no more than ``mtu`` bytes fit (RFC 1191; RFC 4443, 3.2). A hint, to be confirmed."""
        if not self._floor <= mtu < self._ceiling or self.phase is Phase.ERROR:
            return
        self._hints.add(mtu)
        if self.phase is Phase.BASE:
            self._search(now, {self._ceiling: 1})
        elif self.phase is Phase.COMPLETE and self.mtu is not None and mtu < self.mtu:
            self._search(now, {self.mtu: 1, self.mtu + 1: _SETTLED})

    def ceiling(self, mtu: int) -> None:
        """The MTU of the interface that leads to the remote is this now, in bytes."""
        if mtu == self._ceiling:
            return
        grown = mtu > self._ceiling
        self._ceiling, self._floor = mtu, min(self._floor, mtu)
        known, self.mtu = self.mtu, min(self.mtu, mtu) if self.mtu is not None else None
        if self.phase is not Phase.COMPLETE or known is None:
            self._restart()
        elif known > mtu:
            self._drop_round()
        elif grown:
            self._drop_round()
            self._grow_at = self._next = -math.inf

    def _patience(self) -> float:
        """Seconds that an answer is waited for before the next round."""
        if self.rtt_ms is None:
            return _UNKNOWN_SECONDS
        return min(max(_LEAST_SECONDS, 3 * self.rtt_ms / 1000), _MOST_SECONDS)

    def _drop_round(self) -> None:
        self._queue.clear()
        self._flying.clear()

    def _restart(self) -> None:
        self._drop_round()
        self.phase, self._next, self._deaf_rounds = Phase.BASE, -math.inf, 0

    def _ask(self, *sizes: int) -> None:
        """Begin a round."""
        self._queue = list(sizes)
        self._flying.clear()
        self._round_answered = False

    def _begin(self, now: float) -> None:
        """The first round after a pause."""
        self._good = 0
        self._lost.clear()
        if self.phase is Phase.COMPLETE and self.mtu is not None:
            sizes = [self.mtu]
            if self._misses:
                sizes.append(self._floor)
            if self.mtu < self._ceiling and now >= self._grow_at:
                # The ceiling alone would miss a path that has grown, but not as far.
                sizes[:0] = [self._ceiling, self.mtu + 1]
                self._grow_at = now + self._pace.grow
            self._ask(*sizes)
        elif self.phase is Phase.ERROR:
            self._ask(*(self._floor,) * MAX_PROBES)
        else:
            self._ask(self._ceiling)

    def _end_round(self, now: float) -> None:
        """Count what was not answered; a round in which nothing was tells of the remote, not of sizes."""
        if self._round_answered or self.phase in (Phase.BASE, Phase.COMPLETE):
            self._lost.update(self._flying)
            self._missed += sum(count for size, count in self._flying.items() if size <= self._good)
        self._flying.clear()
        self._conclude(now)

    def _conclude(self, now: float) -> None:
        """What follows from a round that has ended."""
        if not self._round_answered and self.phase is not Phase.COMPLETE:
            self._deaf_rounds += 1
            if self._deaf_rounds >= DEAF_ROUNDS or self.phase is Phase.ERROR:
                self._fail(now)
                return
        if self.phase is Phase.BASE:
            self._conclude_base(now)
        elif self.phase is Phase.SEARCH:
            self._narrow(now)
        elif self.phase is Phase.COMPLETE and self.mtu is not None:
            self._conclude_confirmation(now, self.mtu)
        else:
            self._restart()

    def _conclude_base(self, now: float) -> None:
        if self._good >= self._ceiling:
            self._complete(self._ceiling, now)
        elif self._good:
            self._search(now, dict(self._lost), self._good)
        elif self._deaf_rounds > 1:
            self._ask(*(self._floor,) * MAX_PROBES, self._ceiling)
        else:
            self._ask(self._ceiling, self._floor, *(size for size in COMMON if self._floor < size < self._ceiling))

    def _conclude_confirmation(self, now: float, mtu: int) -> None:
        self._next = now + self._pace.confirm
        if self._good >= self._ceiling:
            self._complete(self._ceiling, now)
        elif self._good > mtu:
            self._search(now, dict(self._lost), self._good)
        elif self._good == mtu:
            self._misses = 0
        else:
            self._alive = self._good > 0 or (self._alive and self._misses > 0)
            self._misses += 1
            if self._misses < MAX_PROBES:
                self._next = max(now, self._sent + _REPEAT_SECONDS)
            elif self._alive and mtu > self._floor:
                self._search(now, {mtu: self._misses, mtu + 1: _SETTLED})
            else:
                self._fail(now)

    def _search(self, now: float, lost: dict[int, int], good: int = 0) -> None:
        """Search below what was lost."""
        self._drop_round()
        self.phase, self._misses = Phase.SEARCH, 0
        self._good, self._lost = good, Counter(lost)
        self._passed = self._missed = 0
        self._narrow(now)

    def _narrow(self, now: float) -> None:
        """The next round between the largest size that was answered and the smallest that was not; or the end."""
        low = max(self._good, self._floor - 1)
        high = min((size for size in self._lost if size > low), default=self._ceiling + 1)
        if low >= self._ceiling or (high - low == 1 and self._lost[high] >= self._enough()):
            self._complete(low, now)
            return
        control = max(low, self._floor)
        if high - low == 1 and high <= self._ceiling:
            self._ask(*(high, control) * ABREAST)
            return
        hints = {size for hint in self._hints for size in (hint, hint + 1)}
        self._hints.clear()
        sizes = {*COMMON, *hints, *_spaced(low, high)}
        # What was lost once gets another chance in each round, and two that fit tell whether anything is answered.
        again = [high] if high <= self._ceiling else []
        self._ask(control, *sorted(size for size in sizes if low < size < high), *again, self._floor)

    def _enough(self) -> int:
        """How many losses of a size chance cannot explain, by the losses among sizes that are known to fit."""
        share = (self._missed + 0.5) / (self._missed + self._passed + 5)
        return max(MAX_PROBES, math.ceil(math.log(CHANCE) / math.log(share)))

    def _complete(self, mtu: int, now: float) -> None:
        self._drop_round()
        self.phase, self.mtu = Phase.COMPLETE, mtu
        self._misses, self._deaf_rounds, self._backoff = 0, 0, self._pace.confirm
        self._hints.clear()
        self._next, self._grow_at = now + self._pace.confirm, now + self._pace.grow

    def _fail(self, now: float) -> None:
        """Nothing comes back: what was found stays, and the remote is asked ever more rarely."""
        self._drop_round()
        first = self.phase is not Phase.ERROR
        self._backoff = self._pace.confirm if first else min(self._backoff * 2, max(self._pace.grow, self._pace.confirm))
        self.phase, self._next = Phase.ERROR, now + self._backoff


def _spaced(low: int, high: int) -> list[int]:
    """Up to ``ABREAST`` sizes that part what lies between the two."""
    gap = high - low
    return sorted({low + gap * step // (ABREAST + 1) for step in range(1, ABREAST + 1)} - {low})
