"""Host names and their addresses, asked for again and again: getaddrinfo(3), so DNS, /etc/hosts and whatever the host is set up for.

getaddrinfo cannot be interrupted, and waits for a dead name server for many seconds. Strategy: one thread says what is to be asked
and a few others ask. How many may be busy before another is sent off depends on the name: those that do not resolve
never keep all of them, so names that do are asked for in time whatever happens to the rest.
"""

from __future__ import annotations

import logging
import math
import queue
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from vnetd.errors import InputError
from vnetd.model import names
from vnetd.model.names import IpAddress

LOG = logging.getLogger("vnetd.resolver")
AGAIN_SECONDS = 60
RETRY_SECONDS = (1, 2, 5, 10)
"""After the first failure, the second, and so on; the last for all that follow."""
SLOW_SECONDS = 5
"""How long a name is asked for before that is a failure to be told of."""
WORKERS = 4
_NEW_WORKERS, _FAILING_WORKERS = 3, 2
"""How many threads are busy at most when one more is to ask for a name that has not yet resolved, or has just failed."""

Getaddrinfo = Callable[..., Iterable[tuple[object, object, object, object, tuple[str | int | bytes, ...]]]]


@dataclass(eq=False)
class _Name:
    """A watched name: when it is asked for next, or since when it is being asked for."""

    next: float
    asked: float | None = None
    addresses: tuple[IpAddress, ...] = ()
    failures: int = 0
    why: str = ""

    @property
    def workers(self) -> int:
        """How many threads may be busy, this one's included."""
        if self.failures:
            return _FAILING_WORKERS
        return WORKERS if self.addresses else _NEW_WORKERS


class Resolver(threading.Thread):
    """Keeps the addresses of names; ``changed`` is called, in a thread of its own, when ``known`` has changed.

    ``known``: addresses from before this process, which stand until the name is resolved.
    """

    def __init__(
        self,
        changed: Callable[[], None],
        known: Mapping[str, tuple[IpAddress, ...]] | None = None,
        getaddrinfo: Getaddrinfo = socket.getaddrinfo,
        pace: float = 1.0,
    ) -> None:
        """``pace`` multiplies all intervals."""
        super().__init__(name="resolver", daemon=True)
        self._changed, self._getaddrinfo, self._pace = changed, getaddrinfo, pace
        self._before = dict(known or {})
        self._condition = threading.Condition()
        self._names: dict[str, _Name] = {}
        self._busy = 0
        self._news = self._stopping = False
        self._asked: queue.SimpleQueue[tuple[str, _Name] | None] = queue.SimpleQueue()

    def watch(self, wanted: Collection[str]) -> None:
        """Keep these names' addresses, and no others."""
        with self._condition:
            if self._names.keys() == set(wanted):
                return
            now = time.monotonic()
            self._names = {name: self._names.get(name) or _Name(now, addresses=self._before.pop(name, ())) for name in sorted(wanted)}
            self._condition.notify_all()

    def known(self) -> Mapping[str, tuple[IpAddress, ...]]:
        """The unicast addresses of each name that has ever resolved, IPv4 first, sorted; while it fails, the last ones."""
        with self._condition:
            return {name: one.addresses for name, one in self._names.items() if one.addresses}

    def failing(self) -> Mapping[str, str]:
        """Why the last attempt brought nothing, in words, for each name of which that is so."""
        now = time.monotonic()
        with self._condition:
            found = {name: one.why for name, one in self._names.items() if one.why}
            for name, one in self._names.items():
                if not one.why and one.asked is not None and now - one.asked > SLOW_SECONDS * self._pace:
                    found[name] = "no answer; see whether the name servers in /etc/resolv.conf are reachable"
        return found

    def again(self) -> None:
        """Ask for all names now."""
        with self._condition:
            for one in self._names.values():
                one.next = time.monotonic()
            self._condition.notify_all()

    def close(self) -> None:
        """Ask for nothing more, from any thread. What is being asked for is not waited for."""
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
        for _ in range(WORKERS):
            self._asked.put(None)

    def run(self) -> None:
        for number in range(WORKERS):
            threading.Thread(target=self._work, name=f"resolver-{number}", daemon=True).start()
        while True:
            with self._condition:
                while not (self._stopping or self._news):
                    self._condition.wait(self._send_off())
                if self._stopping:
                    return
                self._news = False
            try:
                self._changed()
            except Exception:
                LOG.debug("nobody could be told of new addresses", exc_info=True)

    def _send_off(self) -> float | None:
        """Have all names asked for that it is time for; the seconds until there is another, None where only an answer can bring one."""
        now = time.monotonic()
        wake = math.inf
        for name, one in sorted(self._names.items(), key=lambda item: (-item[1].workers, item[1].next)):
            if one.asked is not None:
                continue
            if one.next > now:
                wake = min(wake, one.next)
            elif self._busy < one.workers:
                self._busy += 1
                one.asked = now
                self._asked.put((name, one))
        return None if math.isinf(wake) else wake - now

    def _work(self) -> None:
        while (task := self._asked.get()) is not None:
            name, one = task
            addresses, why = self._resolve(name)
            with self._condition:
                self._busy -= 1
                self._take(one, addresses, why)
                self._condition.notify_all()

    def _resolve(self, name: str) -> tuple[tuple[IpAddress, ...], str]:
        """(addresses, why there are none)."""
        try:
            texts = {str(one[4][0]) for one in self._getaddrinfo(name, None, type=socket.SOCK_DGRAM)}
        except socket.gaierror as error:
            return (), _words(error)
        except (OSError, ValueError) as error:  # ValueError: what no name server is asked about, such as two dots in a row.
            return (), f"no host name: {error}" if isinstance(error, ValueError) else str(error)
        except Exception as error:
            LOG.debug("%s", names.shown(name), exc_info=True)
            return (), f"a fault of vnetd's own ({type(error).__name__}); see its log"
        found: list[IpAddress] = [one for text in texts if (one := _unicast(text)) is not None]
        addresses = tuple(sorted(found, key=lambda one: (one.version, int(one))))
        if texts and not addresses:
            return (), f"it resolves to {', '.join(sorted(texts))}, which no other host can reach; see /etc/hosts"
        return addresses, "" if addresses else "it has no address"

    def _take(self, one: _Name, addresses: tuple[IpAddress, ...], why: str) -> None:
        one.asked, one.why = None, why
        if addresses:
            self._news |= addresses != one.addresses
            one.addresses, one.failures = addresses, 0
            one.next = time.monotonic() + AGAIN_SECONDS * self._pace
        else:
            one.next = time.monotonic() + RETRY_SECONDS[min(one.failures, len(RETRY_SECONDS) - 1)] * self._pace
            one.failures += 1


def _unicast(text: str) -> IpAddress | None:
    """An address that another host may have. Debian writes a host's own name with 127.0.1.1 into /etc/hosts."""
    try:
        found = names.address(text, "")
    except InputError:
        return None
    return None if found.is_loopback else found


def _words(error: socket.gaierror) -> str:
    if error.errno in (socket.EAI_NONAME, socket.EAI_NODATA):
        return "there is no such name; see getent hosts, and /etc/resolv.conf for who was asked"
    if error.errno == socket.EAI_AGAIN:
        return "no name server answers; see /etc/resolv.conf"
    return f"it does not resolve: {error.strerror}"
