"""libvirt by libvirt-python: what networks are active and what guests run, and when that changes.

Strategy: one thread runs libvirt's event loop, another holds a read-only connection
and lists everything after each event, and once a minute. A listing carries the time
at which it began, because a hook may have said something newer meanwhile. Neither
thread is one that serves a hook: libvirt holds its locks while a hook runs, and a
listing waits for them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import libvirt

from vnetd.errors import Unavailable

T = TypeVar("T", libvirt.virDomain, libvirt.virNetwork)

LOG = logging.getLogger("vnetd.libvirt")
URI = "qemu:///system"
RELIST_SECONDS = 60
SETTLE_SECONDS = 0.1
"""Events come in bursts; one listing serves a burst."""


@dataclass(frozen=True, slots=True)
class Listing:
    """All active networks and running guests, as XML by UUID. ``began`` is ``time.time()``, the spool's clock, before the first call."""

    began: float
    networks: dict[str, bytes] = field(default_factory=dict)
    domains: dict[str, bytes] = field(default_factory=dict)
    defined: dict[str, bytes] = field(default_factory=dict)
    """The networks that run, as they were last defined."""


def _quiet(context: object, error: object) -> None:
    """libvirt prints every error to stderr unless told not to; vnetd says what matters itself."""


libvirt.registerErrorHandler(_quiet, None)


def read_once(uri: str = URI) -> Listing:
    """One listing over a connection of its own. Raises Unavailable when libvirt is away."""
    try:
        connection = libvirt.openReadOnly(uri)
    except libvirt.libvirtError as error:
        raise Unavailable(f"libvirt does not answer on {uri}: {error}") from None
    try:
        return _list(connection)
    except libvirt.libvirtError as error:
        raise Unavailable(f"libvirt stopped answering on {uri}: {error}") from None
    finally:
        connection.close()


@dataclass(frozen=True, slots=True)
class Definitions:
    """What people have written, as XML by name: active networks, and guests whether they run or not."""

    networks: dict[str, bytes] = field(default_factory=dict)
    guests: dict[str, bytes] = field(default_factory=dict)
    running: dict[str, bytes] = field(default_factory=dict)
    """Guests as they run, with what was plugged since."""


def read_definitions(uri: str = URI) -> Definitions:
    """All definitions, over a connection of its own. Raises Unavailable when libvirt is away."""
    found = Definitions()
    try:
        connection = libvirt.openReadOnly(uri)
        try:
            for network in connection.listAllNetworks(libvirt.VIR_CONNECT_LIST_NETWORKS_ACTIVE):
                _collect(found.networks, network, _defined_xml, network.name())
            for domain in connection.listAllDomains():
                _collect(found.guests, domain, lambda one: one.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE).encode(), domain.name())
                with _unless_gone():
                    if domain.isActive():
                        _collect(found.running, domain, _domain_xml, domain.name())
        finally:
            connection.close()
    except libvirt.libvirtError as error:
        raise Unavailable(f"libvirt does not answer on {uri}: {error}") from None
    return found


def _list(connection: libvirt.virConnect) -> Listing:
    listing = Listing(time.time())
    for network in connection.listAllNetworks(libvirt.VIR_CONNECT_LIST_NETWORKS_ACTIVE):
        _collect(listing.networks, network, _running_xml)
        _collect(listing.defined, network, _defined_xml)
    for domain in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
        _collect(listing.domains, domain, _domain_xml)
    return listing


def _running_xml(network: libvirt.virNetwork) -> bytes:
    text: str = network.XMLDesc(0)
    return text.encode()


def _defined_xml(network: libvirt.virNetwork) -> bytes:
    """As it was defined last; a libvirt driver that knows one definition only has that of the network that runs."""
    try:
        text: str = network.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_INVALID_ARG:
            raise
        return _running_xml(network)
    return text.encode()


def _domain_xml(domain: libvirt.virDomain) -> bytes:
    text: str = domain.XMLDesc(0)
    return text.encode()


def _collect(into: dict[str, bytes], thing: T, text: Callable[[T], bytes], key: str = "") -> None:
    with _unless_gone():
        into[key or thing.UUIDString()] = text(thing)


@contextmanager
def _unless_gone() -> Iterator[None]:
    """What was listed may have gone before it is asked about, a transient guest most of all, and the others are still there."""
    try:
        yield
    except libvirt.libvirtError as error:
        gone = (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_NO_NETWORK)
        if error.get_error_code() not in gone:
            raise


class LibvirtFollower(threading.Thread):
    """Keeps a connection to libvirt and hands each listing to ``deliver``; ``away`` is told, in words, while there is none."""

    def __init__(self, deliver: Callable[[Listing], None], away: Callable[[str], None], uri: str = URI) -> None:
        super().__init__(name="libvirt", daemon=True)
        self._deliver, self._away, self._uri = deliver, away, uri
        self._wake = threading.Event()
        self._stop = False

    def look_again(self) -> None:
        """List everything soon, from any thread."""
        self._wake.set()

    def stop(self) -> None:
        self._stop = True
        self._wake.set()

    def run(self) -> None:
        libvirt.virEventRegisterDefaultImpl()
        threading.Thread(target=self._events, name="libvirt-events", daemon=True).start()
        while not self._stop:
            try:
                connection = libvirt.openReadOnly(self._uri)
            except libvirt.libvirtError as error:
                self._away(str(error))
                self._wake.wait(1)
                self._wake.clear()
                continue
            try:
                self._follow(connection)
            except libvirt.libvirtError as error:
                self._away(str(error))
            finally:
                _close(connection)

    def _events(self) -> None:
        while not self._stop:
            try:
                libvirt.virEventRunDefaultImpl()
            except libvirt.libvirtError as error:
                LOG.debug("libvirt's event loop: %s", error)
                time.sleep(0.1)

    def _follow(self, connection: libvirt.virConnect) -> None:
        self._subscribe(connection)
        while not self._stop and connection.isAlive():
            self._wake.clear()
            self._deliver(_list(connection))
            if self._wake.wait(RELIST_SECONDS):
                time.sleep(SETTLE_SECONDS)

    def _subscribe(self, connection: libvirt.virConnect) -> None:
        def changed(*ignored: object) -> None:
            self._wake.set()

        connection.registerCloseCallback(changed, None)
        connection.setKeepAlive(5, 3)
        for event in (
            libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE,
            libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_ADDED,
            libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED,
            libvirt.VIR_DOMAIN_EVENT_ID_METADATA_CHANGE,
        ):
            connection.domainEventRegisterAny(None, event, changed, None)
        connection.networkEventRegisterAny(None, libvirt.VIR_NETWORK_EVENT_ID_LIFECYCLE, changed, None)


def _close(connection: libvirt.virConnect) -> None:
    try:
        connection.close()
    except libvirt.libvirtError as error:
        LOG.debug("closing a broken connection: %s", error)
