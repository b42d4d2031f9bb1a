"""The daemon: one worker that makes passes, and around it the threads that say when.

Strategy: everything that happens (an OVSDB change, a libvirt listing, an address, a
restarted switch, SIGHUP, a quiet half minute) only sets a flag or puts a request
into a queue. The worker takes all that is waiting and makes one pass for it. Within
this process it alone changes the store and the world; a lock on a file keeps hooks
apart that found no daemon.
Whatever is away is waited for: a pass that fails is tried again, ever more slowly.
"""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import click

from vnetd import __version__
from vnetd.adapters.judges import JudgeWatch
from vnetd.adapters.libvirtd import LibvirtFollower, Listing, read_once
from vnetd.adapters.netlink import KernelWatch, Netlink
from vnetd.adapters.openflow import OpenFlow, Pulse
from vnetd.adapters.ovsdb import Ovsdb
from vnetd.adapters.restorewait import RestoreWait
from vnetd.adapters.scout import Scout
from vnetd.adapters.shaping import Shaping
from vnetd.control import ControlServer
from vnetd.drops import DropLog, account
from vnetd.errors import InputError, Unavailable, VnetdError
from vnetd.health import Health
from vnetd.leaves import limited_links
from vnetd.model.dataplane import USERSPACE
from vnetd.model.state import Learned
from vnetd.patience import Patience, Touched
from vnetd.reconcile import Rim
from vnetd.requests import Answer, Request, may_refuse
from vnetd.restart import Restart
from vnetd.secondlook import SecondLook
from vnetd.service import Service
from vnetd.settings import Settings, read_settings
from vnetd.status import report
from vnetd.store import Store

LOG = logging.getLogger("vnetd")
AUDIT_SECONDS = 30
"""A pass without cause, which finds flows and limits changed by hand."""
DROPS_SECONDS = 5
"""How often drops are looked at for the log, where that is asked for."""
RETRY_SECONDS = (0.2, 0.5, 1, 2, 5)
AWAY_SECONDS = 0.5
"""How soon a service that is away is looked for again at the latest."""
QUIET_SECONDS = 0.02
"""Changes come in bursts; hooks do not wait for this."""
ANSWER_SECONDS = 20
CONNECTING = "not connected yet"
READING = frozenset({"status", "drops", "tunnels"})
"""Requests that change nothing; they are answered after those that do."""


@dataclass
class Ticket:
    """A request on its way through the worker."""

    request: Request
    listing: Listing | None = None
    done: threading.Event = field(default_factory=threading.Event)
    answer: Answer = field(default_factory=lambda: Answer(1, "vnetd is busy; try again"))


@dataclass
class Work:
    """What there is to do: requests, a listing of libvirt's, a look at the world; and whether to believe what is remembered of it.

    ``audit``: it is time for a look without cause, at what tells nobody of its changes, too.
    """

    tickets: list[Ticket]
    listing: Listing | None
    look: bool
    doubt: bool
    audit: bool


def _refuse(tickets: list[Ticket], status: int, text: str) -> None:
    """The same answer for all, except for those who must never hear no."""
    for ticket in tickets:
        ticket.answer = Answer(status, text) if may_refuse(ticket.request) else Answer()


class World:
    """The adapters, opened when first needed and anew after a failure or a change of settings."""

    def __init__(
        self, settings: Settings, changed: Callable[[bool], None], comes: Callable[[str], None], learned: Callable[[], Learned]
    ) -> None:
        self.settings = settings
        self._changed, self._comes, self._learned = changed, comes, learned
        self._rim: Rim | None = None

    def __call__(self) -> Rim:
        if self._rim is None:
            self._rim = Rim(Ovsdb(changed=self._changed, comes=self._comes), OpenFlow(), Netlink(self.settings, self._learned))
        return self._rim

    def judge_port_ids(self) -> frozenset[int]:
        """The netlink sockets by which this process changes judges."""
        kernel = self._rim.kernel if self._rim is not None else None
        return kernel.judge_port_ids() if isinstance(kernel, Netlink) else frozenset()

    def doubt_judges(self) -> None:
        """Somebody else has changed a filter of a link's. From any thread."""
        kernel = self._rim.kernel if self._rim is not None else None
        if isinstance(kernel, Netlink):
            kernel.doubt_judges()

    def renew(self, settings: Settings) -> None:
        """Take other settings; the connections stay."""
        self.settings = settings
        if self._rim is not None:
            old = self._rim.kernel
            self._rim = Rim(self._rim.database, self._rim.switch, Netlink(settings, self._learned))
            if isinstance(old, Netlink):
                old.close()


class Daemon:
    """The worker and what wakes it."""

    def __init__(self, settings: Settings) -> None:
        self._condition = threading.Condition()
        self._dirty = True
        self._stopping = False
        self._reload = False
        self._queue: list[Ticket] = []
        self._listing: Listing | None = None
        self._libvirt_away: str | None = CONNECTING
        self._failures = 0
        self._retry_at = math.inf
        self._trouble = ""
        self._doubtful = self._urgent = False
        self._audit_at = time.monotonic() + AUDIT_SECONDS
        self._second = SecondLook()
        self._drop_log = DropLog(settings.log_drops)
        self._drops_at = time.monotonic() if settings.log_drops else math.inf
        self._scout = Scout(self.wake)
        self._restart = Restart(RestoreWait())
        self._ports: frozenset[str] = frozenset()
        self._world = World(settings, self.rows_changed, self._restart.port_comes, self._scout.learned)
        self._health = Health()
        self._service = Service(Store(), self._world, health=self._health, rtts=self._scout.rtts, tc=Shaping())
        self._control = ControlServer(self.answer, settings.control_group)
        self._libvirt = LibvirtFollower(self._take_listing, self._libvirt_lost)
        self._patience = Patience(self._libvirt.look_again)
        self._watchers = [
            Pulse(self.switch_came, self.switch_went),
            KernelWatch(self.links_changed, self.doubt),
            JudgeWatch(self.judges_changed, self._world.judge_port_ids),
        ]

    def wake(self) -> None:
        """Something changed: look again. From any thread."""
        with self._condition:
            self._dirty = True
            self._condition.notify()

    def rows_changed(self, session: bool) -> None:
        """OVSDB changed. Where a peer died or came back (``session``), not even failed passes are a reason to wait."""
        with self._condition:
            self._dirty = True
            self._urgent |= session
            self._condition.notify()

    def links_changed(self) -> None:
        """Links came, went or changed."""
        self._restart.check()
        self.wake()

    def switch_went(self) -> None:
        """ovs-vswitchd has ended, and its flows with it. What it has told the kernel is still in force there."""
        self._restart.gone(self._ports)
        self.doubt()

    def switch_came(self) -> None:
        """An ovs-vswitchd is there: however many passes have failed without one, the next is due now."""
        self._restart.come()
        with self._condition:
            self._urgent = True
        self.doubt()

    def judges_changed(self) -> None:
        """Somebody else has changed a filter of a link's: look again at those. From any thread."""
        self._world.doubt_judges()
        self.wake()

    def doubt(self) -> None:
        """The switch or an address came or went: look again, and believe nothing remembered."""
        with self._condition:
            self._doubtful = self._dirty = True
            self._condition.notify()

    def answer(self, request: Request) -> Answer:
        """Serve one client, in its own thread. ``apply`` lists libvirt first, which a hook's request must never do."""
        if request.verb == "version":
            return Answer(0, __version__)
        ticket = Ticket(request)
        if request.verb == "apply":
            try:
                ticket.listing = read_once()
            except Unavailable as error:
                LOG.info("apply without libvirt: %s", error)
        with self._condition:
            self._queue.append(ticket)
            self._condition.notify()
        ticket.done.wait(ANSWER_SECONDS)
        return ticket.answer

    def run(self) -> None:
        """Until SIGTERM. The data plane stays as it is then."""
        self._service.store.load()
        self._restart.begin()
        self._control.start()
        first = True
        while not self._stopping:
            self._turn(self._wait())
            self._log_drops()
            if first:
                # libvirt may be started only after this, so that it finds vnetd; it is not waited for.
                for thread in (self._libvirt, *self._watchers):
                    thread.start()
                self._scout.start()
                notify_systemd("READY=1")
                LOG.info("vnetd %s is ready", __version__)
                first = False
        notify_systemd("STOPPING=1")
        self._restart.stop()
        self._control.stop()

    def stop(self, number: int, frame: FrameType | None) -> None:
        """SIGTERM and SIGINT."""
        threading.Thread(target=self._set_stopping, daemon=True).start()

    def look_again(self, number: int, frame: FrameType | None) -> None:
        """SIGHUP: settings, libvirt and the world."""
        threading.Thread(target=self._set_reload, daemon=True).start()

    def _set_stopping(self) -> None:
        with self._condition:
            self._stopping = True
            self._condition.notify()

    def _set_reload(self) -> None:
        self._libvirt.look_again()
        self._scout.look_again()
        with self._condition:
            self._reload = self._dirty = True
            self._condition.notify()

    def _take_listing(self, listing: Listing) -> None:
        with self._condition:
            self._listing, self._libvirt_away = listing, None
            self._condition.notify()

    def _libvirt_lost(self, why: str) -> None:
        if self._libvirt_away is None:
            LOG.warning("libvirt is away (%s); waiting for it", why)
        self._libvirt_away = why

    def _wait(self) -> Work:
        """Until there is something to do, or it is time for an audit or another try."""
        with self._condition:
            self._dirty |= self._health.released
            self._health.released = False
            end = min(self._retry_at if self._failures else math.inf, self._audit_at)
            due = math.inf if self._failures else min(self._health.end, self._second.due)
            wake = min(end, self._drops_at, self._patience.end, due)
            while not self._is_called() and time.monotonic() < wake:
                self._condition.wait(wake - time.monotonic())
            timed_out = time.monotonic() >= end
            # A list, since each of them must be asked.
            look = any([self._patience.give_up(), self._second.take(), timed_out, time.monotonic() >= due])
            if timed_out:
                # Kept apart from what else happens, so that a host where much does is audited all the same.
                self._audit_at = time.monotonic() + AUDIT_SECONDS
            if self._dirty and not self._queue:
                self._condition.wait(QUIET_SECONDS)
            if self._dirty:
                self._second.changed()
            work = Work(self._queue, self._listing, look or self._dirty, timed_out or self._doubtful, timed_out)
            self._queue, self._listing = [], None
            self._dirty = self._doubtful = self._urgent = False
        return work

    def _is_called(self) -> bool:
        return bool(self._queue or self._listing or self._stopping or (self._dirty and (self._urgent or not self._failures)))

    def _turn(self, work: Work) -> None:
        """Everything that waits, by one pass. Whatever it meets, this thread goes on and every client is answered."""
        if self._stopping:
            return
        reading = [ticket for ticket in work.tickets if ticket.request.verb in READING]
        asked = [ticket for ticket in work.tickets if ticket.request.verb not in READING]
        try:
            self._pass(work, asked)
        except VnetdError as error:
            self._failed(str(error))
            _refuse(asked, error.status, str(error))
        except Exception as error:
            LOG.exception("a fault of vnetd's own")
            self._failed("a fault of vnetd's own; see its log")
            _refuse(asked, 1, f"a fault of vnetd's own ({type(error).__name__}); see its log")
        finally:
            for ticket in asked:
                ticket.done.set()
        answers = {verb: self._read(verb) for verb in {ticket.request.verb for ticket in reading}}
        for ticket in reading:
            ticket.answer = answers[ticket.request.verb]
            ticket.done.set()

    def _pass(self, work: Work, asked: list[Ticket]) -> None:
        if self._reload:
            self._reload = False
            self._read_settings_again()
        if work.doubt or self._failures or any(ticket.request.verb == "apply" for ticket in asked):
            self._service.forget()
        for listing, take in ((work.listing, False), *((ticket.listing, True) for ticket in work.tickets)):
            if listing is not None:
                work.look |= self._service.sync(listing.began, listing.networks, listing.domains, listing.defined, take=take)
                work.look |= self._patience.heard(listing.began)
        if work.look or self._service.last is None:
            self._service.spared = self._patience.spare(self._touched(work))
        if not (work.look or asked):
            return
        began = time.monotonic()
        for ticket, answer in zip(asked, self._service.serve([ticket.request for ticket in asked], work.look), strict=True):
            ticket.answer = answer
        if self._service.last is not None:
            self._scout.want(self._service.last.desired)
            if not limited_links(self._service.last.observed.rows):
                self._second.spare()
        if work.audit:
            self._service.audit_limits()
        if self._service.trouble:
            self._failed(self._service.trouble)
        elif self._service.last is not None and self._service.last.left and not self._service.last.moving:
            self._failed("Open vSwitch refuses a part of what should be; see vnetctl status")
        else:
            self._recovered()
            self._restart.restored(began)
        self._remember_ports()
        if self._service.last is not None and self._service.last.moving:
            self.wake()
        if self._service.changed_rows:
            # What was put back may be what virsh has just changed, after all: ask libvirt again.
            self._libvirt.look_again()

    def _remember_ports(self) -> None:
        """All that the kernel may be told of from now on, where its flows come from those that should be.

        A pass that failed says nothing: it may have been the first to notice that ovs-vswitchd has ended.
        """
        if self._service.trouble or self._service.last is None:
            return
        if self._service.last.left:
            self._ports = frozenset()
            return
        observed = self._service.last.observed
        rows = observed.rows
        switched = observed.host.datapath != USERSPACE and observed.tables
        names = {name for seen in rows.ports.values() for name, _ in seen.interfaces} | rows.bridges.keys() | rows.fakes.keys()
        self._ports = frozenset(names) if switched else frozenset()

    def _touched(self, work: Work) -> dict[str, Touched]:
        """The ports that libvirt is to be asked about; none where it cannot be, or where somebody who waits has just asked it."""
        if self._libvirt_away not in (None, CONNECTING) or any(ticket.listing for ticket in work.tickets):
            return {}
        return self._service.touched()

    def _recovered(self) -> None:
        if self._failures:
            LOG.info("in order again after %d failed passes", self._failures)
        self._failures, self._trouble = 0, ""

    def _failed(self, text: str) -> None:
        if text != self._trouble:
            LOG.warning("%s", text)
        self._failures, self._trouble = self._failures + 1, text
        seconds = RETRY_SECONDS[min(self._failures, len(RETRY_SECONDS)) - 1]
        self._retry_at = time.monotonic() + (min(seconds, AWAY_SECONDS) if self._service.away else seconds)

    def _read(self, verb: str) -> Answer:
        """The answer to a request that changes nothing."""
        try:
            readers: dict[str, Callable[[], object]] = {"status": self._status, "drops": self._drops, "tunnels": self._tunnels}
            return Answer(0, json.dumps(readers[verb]()))
        except VnetdError as error:
            return Answer(1, str(error))
        except Exception:
            LOG.exception("a fault of vnetd's own")
            return Answer(1, "a fault of vnetd's own; see its log")

    def _status(self) -> dict[str, Any]:
        self._service.forget()
        desired, observed, plan = self._service.look()
        found = report(desired, observed, plan, self._service.drops(desired, observed), self._service.limits(desired, observed))
        libvirt = self._libvirt_away or "connected"
        found["daemon"] = {"pid": os.getpid(), "version": __version__, "libvirt": libvirt, "trouble": self._trouble}
        return found

    def _drops(self) -> list[dict[str, Any]]:
        desired, observed, _ = self._service.look()
        return account(desired, self._service.drops(desired, observed))

    def _tunnels(self) -> list[dict[str, Any]]:
        desired, observed, _ = self._service.look()
        return self._service.tunnels(desired, observed)

    def _log_drops(self) -> None:
        """Tell the log what was dropped since the last time, where the settings ask for it."""
        if time.monotonic() < self._drops_at:
            return
        self._drops_at = time.monotonic() + DROPS_SECONDS
        try:
            for line in self._drop_log.lines(time.monotonic(), self._drops()):
                LOG.warning("%s", line)
        except VnetdError as error:
            LOG.debug("drops cannot be read: %s", error)
        except Exception:
            LOG.exception("a fault of vnetd's own")

    def _read_settings_again(self) -> None:
        try:
            settings = read_settings()
            self._world.renew(settings)
            self._drop_log.limit_to(settings.log_drops)
            self._drops_at = time.monotonic() if settings.log_drops else math.inf
            LOG.info("settings read again")
        except InputError as error:
            LOG.error("%s; the settings stay as they were", error)


def notify_systemd(state: str) -> None:
    """Tell systemd (sd_notify(3)); nothing where there is none."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        try:
            client.sendto(state.encode(), "\0" + path[1:] if path.startswith("@") else path)
        except OSError as error:
            LOG.warning("systemd was not told %s: %s", state, error)


@click.command()
@click.option("--debug", is_flag=True, help="Log more, to standard error.")
@click.version_option(__version__, prog_name="vnetd")
def main(debug: bool) -> None:
    """Keep this host's virtual networks as libvirt's XML says.

    Runs in the foreground and logs to standard error. SIGHUP: look again. SIGTERM:
    stop and leave bridges, ports, flows and tunnels as they are.
    """
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, format="%(levelname)s %(message)s")
    try:
        daemon = Daemon(read_settings())
        signal.signal(signal.SIGTERM, daemon.stop)
        signal.signal(signal.SIGINT, daemon.stop)
        signal.signal(signal.SIGHUP, daemon.look_again)
        daemon.run()
    except VnetdError as error:
        sys.stderr.write(f"vnetd: {error}\n")
        sys.exit(error.status)
