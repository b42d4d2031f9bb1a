"""Requests in, one pass for all of them, answers out: the same in the daemon and in a hook without one.

Strategy: every request waiting is taken into the store, then one pass makes the
world so, then each is checked against the outcome. A refused one is taken back
and a second pass removes what it left. Processes take turns by a lock on a file, under
which the spool is read again where another has written to it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vnetd.drops import BridgeCounts, Drop, drop_counts
from vnetd.errors import InputError, Unavailable, VnetdError, WorldError
from vnetd.health import Health, Watched
from vnetd.intent import desire
from vnetd.model.names import IpAddress
from vnetd.model.network import Inventory, Nic, Problem
from vnetd.model.state import Desired, Observed
from vnetd.patience import Spared, Touched, touched_since, untold
from vnetd.plan import Plan
from vnetd.reconcile import Outcome, Rim, look, reconcile
from vnetd.requests import TAPS, Answer, Intake, Request, accept, may_refuse
from vnetd.shaping import Tc, limited_links, shaping_problems
from vnetd.store import Kind, Store
from vnetd.tunnels import Remembered, account

LOG = logging.getLogger("vnetd")
LOCK = Path("/run/vnetd/lock")
LOCK_SECONDS = 20


@dataclass
class Service:
    """The store, the way to the world, and what the last pass found."""

    store: Store
    rim: Callable[[], Rim]
    taps: Path = TAPS
    lock: Path = LOCK
    complete: bool = False
    """Whether libvirt has been listed since this process began."""
    deaf: bool = False
    """Whether this process never lists libvirt: limits that its requests do not change may be newer than what it knows."""
    last: Outcome | None = None
    doubtful: bool = False
    changed_rows: bool = False
    """Whether the last pass altered a port that was there."""
    trouble: str = ""
    """Why the last pass could not be made."""
    away: bool = False
    """Whether that is because a service is away, of which another try soon costs nothing."""
    said: frozenset[Problem] = frozenset()
    gone_networks: frozenset[str] = frozenset()
    gone_taps: frozenset[str] = frozenset()
    spared: Mapping[str, Touched] = field(default_factory=dict)
    """Ports whose rows no pass puts back for now."""
    health: Health | None = None
    """The past of the tunnels, where this process has one."""
    rtts: Callable[[], Mapping[IpAddress, float]] = dict
    """The round trips to remotes in ms, as far as this process measures them."""
    tc: Tc | None = None
    """Whom to ask about limits; nothing is told of them without it."""
    limit_faults: frozenset[Problem] = frozenset()
    """What tc was last seen to do otherwise than ports' rows say."""

    def serve(self, requests: Sequence[Request], look: bool = False) -> list[Answer]:
        """Answer all requests by one pass (and a second one, when some must be taken back). ``look``: pass without news, too."""
        try:
            with locked(self.lock):
                self.store.refresh()
                return self._serve(requests, look)
        except VnetdError as error:
            self.trouble, self.away = str(error), isinstance(error, Unavailable)
            return [Answer(error.status, str(error)) if may_refuse(request) else Answer() for request in requests]

    def _serve(self, requests: Sequence[Request], look: bool) -> list[Answer]:
        before = self._hearsay()
        intakes: list[Intake | Answer] = [self._accept(request) for request in requests]
        accepted = [intake for intake in intakes if isinstance(intake, Intake) and intake.news]
        failure: VnetdError | None = None
        if accepted or look:
            try:
                self._pass(_gone(accepted, "gone_networks"), _gone(accepted, "gone_taps"), before)
            except VnetdError as error:
                failure = error
        answers = [
            intake if isinstance(intake, Answer) else self._answer(request, intake, failure)
            for request, intake in zip(requests, intakes, strict=True)
        ]
        self._take_back(intakes, answers)
        return answers

    def run(self) -> Outcome:
        """One pass. Raises WorldError when the world cannot be reached or refuses."""
        with locked(self.lock):
            self.store.refresh()
            return self._pass(before=self._hearsay())

    def sync(
        self,
        began: float,
        networks: Mapping[str, bytes],
        domains: Mapping[str, bytes],
        defined: Mapping[str, bytes] | None = None,
        *,
        take: bool = False,
    ) -> bool:
        """Take over a listing of libvirt's, as ``Store.sync`` does; whether a pass is called for."""
        with locked(self.lock):
            self.store.refresh()
            news = self.store.sync(began, networks, domains, defined, take=take) or not self.complete
        self.complete = True
        return news

    def _hearsay(self) -> Inventory | None:
        """What is known before this process has been told anything, where that may be old."""
        return self.store.inventory(self.complete) if self.deaf else None

    def _pass(
        self,
        gone_networks: frozenset[str] = frozenset(),
        gone_taps: frozenset[str] = frozenset(),
        before: Inventory | None = None,
    ) -> Outcome:
        self.changed_rows = False
        # What a failed pass should have taken away is still to be taken away by the next one.
        self.gone_networks |= gone_networks
        self.gone_taps |= gone_taps
        try:
            rim = self._rim()
            if before is not None:
                # libvirt changes no VLAN without a hook, and a port whose row and flows disagree is cut off.
                self.spared = {name: one for name, one in _untold(before, rim).items() if one.was.port.vlan == one.now.port.vlan}
            if self.spared:
                rim = replace(rim, database=Spared(rim.database, dict(self.spared)))
            self.gone_taps |= self._drop_dead_taps(rim)
            outcome = reconcile(self.store.inventory(self.complete, self.gone_networks, self.gone_taps), rim)
        except VnetdError as error:
            self.trouble, self.away = str(error), isinstance(error, Unavailable)
            raise
        self.last, self.trouble, self.away = outcome, "", False
        self.gone_networks = self.gone_taps = frozenset()
        self.changed_rows = any(line.startswith("~ port ") for line in outcome.done)
        for line in _shortened(outcome.done):
            LOG.info("%s", line)
        self._say(frozenset(outcome.problems) | self._standing_limits(outcome.desired))
        return outcome

    def touched(self) -> dict[str, Touched]:
        """The guests' ports that somebody has changed since the last pass; none while that cannot be seen.

        Before the first pass: those that are not as the spool has them, until libvirt was listed.
        """
        try:
            if self.last is not None:
                return touched_since(self.last, self.rim().database.rows())
            return {} if self.complete else _untold(self.store.inventory(complete=False), self.rim())
        except VnetdError:
            return {}

    def forget(self) -> None:
        """Believe nothing that is remembered of the switch and the kernel, from the next look on."""
        self.doubtful = True

    def _rim(self) -> Rim:
        rim = self.rim()
        if self.doubtful:
            rim.forget()
            self.doubtful = False
        return rim if self.health is None else replace(rim, database=Watched(rim.database, self.health))

    def look(self) -> tuple[Desired, Observed, Plan]:
        """What a pass would do, without doing it."""
        return look(self.store.inventory(self.complete), self._rim())

    def _drop_dead_taps(self, rim: Rim) -> frozenset[str]:
        """Forget the taps of ovs-ifup's whose device is gone, or is another of the same name: a killed QEMU calls no downscript."""
        links = rim.kernel.host().links
        dead = set()
        for tap in self.store.taps():
            entry = self.store.get(Kind.TAP, tap)
            index = entry.value.ifindex if entry and isinstance(entry.value, Nic) else None
            if tap not in links or (index and links[tap].index and links[tap].index != index):
                self.store.drop(Kind.TAP, tap)
                dead.add(tap)
        return frozenset(dead)

    def drops(self, desired: Desired, observed: Observed) -> list[Drop]:
        """What vnetd's bridges dropped, by port and reason."""
        rim = self.rim()
        switch = rim.switch
        counts = {name: BridgeCounts(switch.counters(name), switch.meter_drops(name)) for name in observed.tables}
        return drop_counts(desired, observed, counts, rim.kernel.judge_counts(desired.judges.keys()))

    def tunnels(self, desired: Desired, observed: Observed) -> list[dict[str, Any]]:
        """Every tunnel with its state and what has gone through it."""
        counts = self.rim().switch.port_counts(desired.tunnel_bridge) if desired.tunnel_bridge in observed.tables else {}
        trips = self.rtts()
        remembered = {
            name: Remembered(self.health.since(name) if self.health else None, trips.get(facts.remote))
            for name, facts in desired.tunnels.items()
        }
        return account(desired, observed, remembered, counts)

    def limits(self, desired: Desired, observed: Observed) -> frozenset[Problem]:
        """What tc does otherwise than the rows of limited ports say. While Open vSwitch has not acted on rows, what was known."""
        if self.tc is not None and observed.rows.acted:
            links = {name: index for name, index in limited_links(desired, observed).items() if name not in self.spared}
            try:
                self.limit_faults = frozenset(shaping_problems(desired, self.tc.taps(links) if links else {}))
            except VnetdError as error:
                return frozenset({Problem("switch", "tc", str(error), soft=True)})
        return self._standing_limits(desired)

    def audit_limits(self) -> None:
        """Say what tc does otherwise than the last pass has left it. Passes do not ask, since hooks wait for them."""
        if self.last is not None and not self.trouble:
            self._say(frozenset(self.last.problems) | self.limits(self.last.desired, self.last.observed))

    def _standing_limits(self, desired: Desired) -> frozenset[Problem]:
        return frozenset(problem for problem in self.limit_faults if problem.name in desired.ports)

    def _accept(self, request: Request) -> Intake | Answer:
        try:
            return accept(self.store, request, self.taps)
        except (InputError, WorldError) as error:
            LOG.warning("%s %s: %s", request.verb, " ".join(map(ascii, request.arguments[:2])), error)
            return Answer(error.status, str(error)) if may_refuse(request) else Answer()

    def _answer(self, request: Request, intake: Intake, failure: VnetdError | None) -> Answer:
        try:
            if failure is not None and intake.news:
                raise failure
            if intake.check is not None and self.last is not None:
                intake.check(self.last)
        except VnetdError as error:
            LOG.warning("%s %s: %s", request.verb, " ".join(map(ascii, request.arguments[:2])), error)
            return Answer(error.status, str(error)) if may_refuse(request) else Answer()
        return Answer()

    def _take_back(self, intakes: Sequence[Intake | Answer], answers: Sequence[Answer]) -> None:
        undone = [
            intake.undo()
            for intake, answer in zip(intakes, answers, strict=True)
            if isinstance(intake, Intake) and intake.undo is not None and answer.status
        ]
        if undone:
            try:
                self._pass(_gone(undone, "gone_networks"), _gone(undone, "gone_taps"))
            except VnetdError as error:
                LOG.warning("what was refused could not be cleared away yet: %s", error)

    def _say(self, problems: frozenset[Problem]) -> None:
        """Log what is newly wrong and what no longer is, once each."""
        for problem in sorted(problems - self.said):
            LOG.warning("%s", problem)
        for problem in sorted(self.said - problems):
            LOG.info("no longer: %s", problem)
        self.said = problems


def _untold(known: Inventory, rim: Rim) -> dict[str, Touched]:
    rows = rim.database.rows()
    return untold(desire(known, rim.kernel.host(), rows).ports, rows)


def _gone(intakes: Sequence[Intake], field_name: str) -> frozenset[str]:
    return frozenset().union(*(getattr(intake, field_name) for intake in intakes))


def _shortened(done: Sequence[str]) -> list[str]:
    """The lines of a pass for the log: rows one by one, flows and meters counted for each bridge, and queues under limits."""
    lines: list[str] = []
    counts: dict[str, int] = {}
    for line in done:
        sign, kind, *rest = line.split(" ")
        if kind in ("flow", "meter"):
            what = f"{sign} {kind}s on {rest[rest.index('on') + 1].rstrip(':')}"
        elif kind == "link" and "queue" in rest:
            # All of a host's come at once, where Open vSwitch has undone them after the pass before.
            what = f"{sign} queues under limits"
        else:
            lines.append(line)
            continue
        counts[what] = counts.get(what, 0) + 1
        LOG.debug("%s", line)
    return lines + [f"{what}: {count}" for what, count in counts.items()]


@contextmanager
def locked(path: Path, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold the lock that keeps two passes apart. Raises Unavailable when another holds it for too long."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise WorldError(f"the lock {path} cannot be had: {error.strerror}; run this as root") from None
    try:
        end = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise Unavailable(f"another vnetd has been at work for {seconds:g} s; see ps -ef | grep vnet") from None
                time.sleep(0.005)
        yield
    finally:
        os.close(handle)
