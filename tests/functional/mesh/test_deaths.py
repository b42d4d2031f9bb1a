"""Hosts die and come back at random while all guests talk: the others notice, and nothing is sent twice, in vain or around."""

from __future__ import annotations

import os
import random
import re
import statistics
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from dataplane import chosen

from mesh.guests import NETS
from mesh.stage import Stage, faults, staged
from mesh.wire import Crossing, watched

HOSTS = range(1, chosen().mesh + 1)
SEED = 155576
"""A run's own; VNETD_SEED takes another, and VNETD_EXPLORE any."""
SECONDS, MOST_DEAD = 60.0, (len(HOSTS) - 1) // 2
ALIVE_SECONDS = 8.0
"""How long a host lives at least between two deaths."""
DEAD_SECONDS = (1.0, 8.0)
HEAL_SECONDS = 3.0
"""After so long everybody alive is reached again."""
NOTICE_SECONDS, LATE_SECONDS = 1.5, 3.0
"""After so long a host usually floods to a dead one no more; and after so long never, however busy the machine is."""
NEW_NOTICE_SECONDS = 5.0
"""The same for a pair that has only just met: BFD begins with a packet a second (RFC 5880, 6.8.3), of which it must miss three."""
BRIEF_SECONDS, BRIEF = 8.0, 2
"""A pair that sees each other only this briefly, more than so often in a row, is not trusted any more, which is another scenario."""
PERIOD = 0.5
SHOWN = 20
TOLD = "grep -E 'WARNING|ERROR| in order again' /var/log/vnetd.log | tail -n 8 || true"
FAULT = re.compile(r"^m[a-z]+(\d)a's .* at \+([\d.]+) s was heard 0 times by m[a-z]+(\d)a$")


@dataclass(slots=True)
class History:
    """When each host was taken off the underlay, and when it was put back."""

    deaths: dict[int, list[tuple[float, float]]] = field(default_factory=lambda: {one: [] for one in HOSTS})

    def dead_for(self, host: int, when: float) -> float:
        """The seconds that it has been dead for; 0 for one that lives."""
        return next((when - since for since, until in self.deaths[host] if since <= when < until), 0)

    def met(self, one: int, other: int, when: float) -> float:
        """Since when the two have both lived, as of that time."""
        return max((until for host in (one, other) for _, until in self.deaths[host] if until <= when), default=0)

    def settled(self, one: int, other: int, when: float) -> bool:
        """Whether both have lived for long enough, and go on doing so until a frame has arrived."""
        spans = [span for host in (one, other) for span in self.deaths[host]]
        return not any(since - 0.5 <= when < until + HEAL_SECONDS for since, until in spans)


def test_sixty_seconds_of_random_deaths(tmp_path: Path) -> None:
    seed = int(os.environ.get("VNETD_SEED", random.SystemRandom().randrange(10**6) if os.environ.get("VNETD_EXPLORE") else SEED))
    print(f"\nVNETD_SEED={seed}")
    with staged(len(HOSTS)) as stage:
        stage.start(NETS, HOSTS)
        met = time.time()
        stage.talk(PERIOD)
        stage.await_all(10)
        with watched(stage, tmp_path) as underlay:
            since = time.time()
            history = _live_and_die(stage, random.Random(seed), Fate(dict.fromkeys(HOSTS, met)), since + SECONDS)
            until = time.time()
            astray, changed = _not_up(stage), _changed(stage, until - DEAD_SECONDS[1])
            stage.hush()
            time.sleep(1)
        stage.gather()
        crossings = list(underlay.crossings())
        found = faults(stage, since, until - 0.5, history.settled)
        found += _storms(stage, crossings) + _vain(history, crossings)
        print(_summary(stage, history, crossings))
        found += astray
        about = [*_lost(found), *astray, *changed, *_told(stage)]
        assert not found, "\n".join([f"VNETD_SEED={seed}: {len(found)} faults:", *found[:SHOWN], *about])


@dataclass(slots=True)
class Fate:
    """Who may die next: nobody who has come back only now, and nobody by whose death a pair would seem to come and go."""

    alive_since: dict[int, float]
    """Those that live."""
    brief: Counter[frozenset[int]] = field(default_factory=Counter)
    """How often in a row a pair has had a brief time together."""

    def ready(self, now: float) -> list[int]:
        if len(self.alive_since) <= len(HOSTS) - MOST_DEAD:
            return []
        return [one for one, since in self.alive_since.items() if now - since >= ALIVE_SECONDS and self._may(one, now)]

    def _may(self, host: int, now: float) -> bool:
        return all(now - since >= BRIEF_SECONDS or self.brief[frozenset((host, one))] < BRIEF for one, since in self.alive_since.items())

    def die(self, host: int, now: float) -> None:
        del self.alive_since[host]
        for one, since in self.alive_since.items():
            pair = frozenset((host, one))
            self.brief[pair] = self.brief[pair] + 1 if now - since < BRIEF_SECONDS else 0


def _live_and_die(stage: Stage, rng: random.Random, fate: Fate, end: float) -> History:
    """Kill and revive until the end; then all come back, and have time to be reached."""
    history, back = History(), {}
    while (now := time.time()) < end - HEAL_SECONDS:
        time.sleep(rng.uniform(0.2, 1.5))
        for host in [one for one, when in back.items() if when <= now]:
            _mend(stage, history, host)
            del back[host]
            fate.alive_since[host] = time.time()
        ready = fate.ready(time.time())
        if ready and rng.random() < 0.7:
            host = rng.choice(ready)
            history.deaths[host].append((time.time(), float("inf")))
            stage.world.lab.cut(f"hv{host}")
            fate.die(host, time.time())
            back[host] = time.time() + rng.uniform(*DEAD_SECONDS)
    for host in back:
        _mend(stage, history, host)
    time.sleep(HEAL_SECONDS + 2)
    return history


def _mend(stage: Stage, history: History, host: int) -> None:
    stage.world.lab.mend(f"hv{host}")
    since, _ = history.deaths[host][-1]
    history.deaths[host][-1] = since, time.time()


def _not_up(stage: Stage) -> list[str]:
    """Tunnels that are not up when everybody has been back for a while."""
    found = []
    for host in stage.agents:
        astray = [one for one in stage.world.tunnels(host) if one["state"] != "up"]
        found += [f"{host}: tunnel {one['name']} to {one['remote']} is {one['state']}: {one['why']}" for one in astray]
    return found


def _changed(stage: Stage, since: float) -> list[str]:
    """Tunnels that have come to be as they are since a moment: one that came late was held, or its session did."""
    found = []
    for host in stage.agents:
        late = [one for one in stage.world.tunnels(host) if one["since"] and datetime.fromisoformat(one["since"]).timestamp() > since]
        found += [f"{host}: tunnel {one['name']} to {one['remote']} is {one['state']} since {one['since']}" for one in late]
    return found


def _lost(found: Iterable[str]) -> list[str]:
    """Which hosts did not hear which, and from when to when."""
    times: dict[tuple[str, str], list[float]] = {}
    for match in filter(None, map(FAULT.match, found)):
        times.setdefault((match[1], match[3]), []).append(float(match[2]))
    spans = ((pair, len(when), min(when), max(when)) for pair, when in sorted(times.items()))
    return [f"hv{pair[0]} to hv{pair[1]}: {count} lost, sent from +{first} to +{last} s" for pair, count, first, last in spans]


def _told(stage: Stage) -> list[str]:
    """What the daemons have said of trouble."""
    return [f"{host}: {line}" for host in stage.agents for line in stage.world.on(host, TOLD).splitlines()]


def _storms(stage: Stage, crossings: Iterable[Crossing]) -> list[str]:
    """A frame may cross the underlay once to each other host, from the host of the guest that sent it and from no other."""
    home = {guest.id: guest.number for guest in stage.guests}
    counts = Counter((one.key, one.outer) for one in crossings)
    found = [f"frame {key} went {count} times from hv{outer[0]} to hv{outer[1]}" for (key, outer), count in counts.items() if count > 1]
    strangers = [one for one in crossings if one.outer[0] != home[one.key[0]] or one.host != one.outer[0]]
    return found + [f"frame {one.key} of hv{home[one.key[0]]} was sent on by hv{one.host}" for one in strangers]


def _vain(history: History, crossings: Iterable[Crossing]) -> list[str]:
    """Copies for hosts that have been dead for too long to be sent any: of each death the last that each other host has sent."""
    last: dict[tuple[int, int, float], float] = {}
    new: dict[tuple[int, int, float], float] = {}
    for one in (one for one in crossings if not one.key[1]):
        dead = history.dead_for(one.outer[1], one.time)
        died = round(one.time - dead, 3)
        where = last if died - history.met(*one.outer, died) > HEAL_SECONDS else new
        if dead:
            where[*one.outer, died] = max(dead, where.get((*one.outer, died), 0))
    late = {key: dead for key, dead in last.items() if dead > LATE_SECONDS} | {
        key: dead for key, dead in new.items() if dead > NEW_NOTICE_SECONDS
    }
    found = [f"hv{sender} floods to hv{host}, {dead:.2f} s after its death" for (sender, host, _), dead in late.items()]
    usual = statistics.median(last.values()) if last else 0
    print(f"the last flood to a dead host usually comes {usual:.2f} s after its death")
    return [*found, f"usually {usual:.2f} s pass until nobody floods to a dead host"] if usual > NOTICE_SECONDS else found


def _summary(stage: Stage, history: History, crossings: list[Crossing]) -> str:
    broadcasts = sum(1 for one in stage.log.sent if not one.whom)
    flooded = sum(1 for one in crossings if not one.key[1])
    late = max((history.dead_for(one.outer[1], one.time) for one in crossings if not one.key[1]), default=0)
    return (
        f"{sum(map(len, history.deaths.values()))} deaths; {broadcasts} broadcasts made {flooded} packets on the underlay,"
        f" {len(stage.log.sent) - broadcasts} other frames {len(crossings) - flooded};"
        f" the last flood to a dead host came {late:.2f} s after its death"
    )
