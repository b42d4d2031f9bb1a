"""The kernel's links, addresses and routes: netlink, by pyroute2.

Links are listed by ``if_nameindex`` and an ioctl each, since a dump decoded in
Python takes a millisecond a link and a hypervisor has hundreds of taps.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import socket
import struct
import threading
import time
from collections.abc import Callable, Collection, Iterator
from ipaddress import ip_interface

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl import RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE, RTMGRP_LINK

from vnetd.adapters.judges import Judges
from vnetd.adapters.leaves import QUEUE_0, Leaves
from vnetd.adapters.quiet import QuietLinks
from vnetd.errors import WorldError
from vnetd.model.dataplane import USERSPACE
from vnetd.model.judge import Judge, JudgeCounts
from vnetd.model.names import IpInterface
from vnetd.model.shaping import Leaf
from vnetd.model.state import Host, Learned, Link, Quiet
from vnetd.settings import Settings

LOG = logging.getLogger("vnetd.netlink")
_SIOCGIFFLAGS = 0x8913
_IFF_UP = 1
_IFF_RUNNING = 0x40
_GROUPS = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE
_LINK_EVENTS = frozenset({"RTM_NEWLINK", "RTM_DELLINK"})


class Netlink:
    """This host's network as the kernel has it, with the settings that go with it, and what ``learned`` says of its peers."""

    def __init__(self, settings: Settings, learned: Callable[[], Learned] = Learned) -> None:
        self._settings = settings
        self._learned = learned
        self._route = IPRoute()
        self._quiet = QuietLinks(userspace=settings.datapath_type == USERSPACE)
        self._leaves = Leaves()
        self._judges = Judges() if settings.datapath_type != USERSPACE else None
        self._known: tuple[dict[str, tuple[IpInterface, ...]], frozenset[str]] | None = None

    def close(self) -> None:
        self._route.close()
        self._quiet.close()
        self._leaves.close()
        if self._judges is not None:
            self._judges.close()

    def host(self) -> Host:
        """Addresses, links and the NICs of default routes, now."""
        if self._known is None:
            self._known = self._addresses(), frozenset(self._default_route())
        carried, default_route = self._known
        return Host(
            addresses=frozenset(one.ip for addresses in carried.values() for one in addresses),
            carried=carried,
            links=self._links(),
            default_route=default_route,
            datapath=self._settings.datapath_type,
            tunnel_bridge=self._settings.tunnel_bridge,
            local_address=self._settings.local_address,
            learned=self._learned(),
        )

    def forget(self) -> None:
        """Read addresses, routes, how quiet links are and who judges there anew when next asked."""
        self._known = None
        self._quiet.forget()
        if self._judges is not None:
            self._judges.forget()

    def set_up(self, name: str) -> None:
        """Set a link up. One that has gone meanwhile is no error. Raises WorldError when the kernel refuses."""
        try:
            index = socket.if_nametoindex(name)
        except OSError:
            return
        try:
            self._route.link("set", index=index, state="up")
        except NetlinkError as error:
            if error.code == 19:
                return
            raise WorldError(f"link {name} cannot be set up: {error}") from None

    def make_quiet(self, name: str, level: str) -> None:
        """Make a link as quiet as ``Quiet`` says. One that has gone meanwhile is no error. Raises WorldError when the kernel refuses."""
        self._quiet.make(name, Quiet(level))

    def put_judge(self, name: str, judge: Judge | None) -> None:
        """Make this the judge of a link; None takes vnetd's away. One that has gone is no error. Raises WorldError when it is refused."""
        if self._judges is not None:
            if judge is None:
                self._judges.drop(name)
            else:
                self._judges.put(name, judge)

    def doubt_judges(self) -> None:
        """Somebody else has changed a filter: read judges anew when next asked. From any thread."""
        if self._judges is not None:
            self._judges.doubt()

    def judge_counts(self, names: Collection[str]) -> JudgeCounts:
        """What the judges of these links have dropped. Raises WorldError."""
        return self._judges.counts(names) if self._judges is not None else {}

    def judge_port_ids(self) -> frozenset[int]:
        """The netlink sockets that put judges, by which a change of vnetd's own is known."""
        return frozenset() if self._judges is None else frozenset({self._judges.port_id})

    def leaves(self, names: Collection[str]) -> dict[str, Leaf]:
        """The queues of those of these links that have a limit now. Raises WorldError."""
        return self._leaves.seen(names)

    def set_leaf(self, name: str, frames: int) -> None:
        """Let so many frames wait under a link's limit. One that has gone meanwhile is no error. Raises WorldError when it is refused."""
        try:
            index = socket.if_nametoindex(name)
        except OSError:
            return
        try:
            # Without a handle of its own a pfifo is changed in place, and any other qdisc that is there replaced.
            self._route.tc("replace", "pfifo", index, 0, parent=QUEUE_0, limit=frames)
            self._leaves.lend(index)
        except (NetlinkError, OSError) as error:
            if getattr(error, "code", None) == errno.ENODEV or getattr(error, "errno", None) in (errno.ENODEV, errno.ENXIO):
                return
            text = f"no queue of {frames} can be set under its limit: {error}; tc class show dev {name} shows what limits it"
            raise WorldError(text) from None

    def _links(self) -> dict[str, Link]:
        found = list(_flags())
        keys = [(name, index) for name, index, _ in found]
        levels = self._quiet.levels(keys)
        judges = self._judges.seen(keys) if self._judges is not None else {}
        return {
            name: Link(
                up=bool(flags & _IFF_UP),
                index=index,
                quiet=levels[name, index],
                carrier=bool(flags & _IFF_RUNNING),
                judge=judges[name, index].digest if judges else "",
                outrun=judges[name, index].before if judges else False,
            )
            for name, index, flags in found
        }

    def _addresses(self) -> dict[str, tuple[IpInterface, ...]]:
        """The addresses of each link. One of a link that has just gone is nobody's."""
        names = dict(socket.if_nameindex())
        found: dict[str, tuple[IpInterface, ...]] = {}
        for message in self._route.get_addr():
            text = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
            name = names.get(message["index"])
            if text and name:
                found[name] = (*found.get(name, ()), ip_interface(f"{text}/{message['prefixlen']}"))
        return found

    def _default_route(self) -> list[str]:
        names = dict(socket.if_nameindex())
        found: list[str] = []
        for family in (socket.AF_INET, socket.AF_INET6):
            for route in self._route.get_default_routes(family=family):
                hops = [route.get_attr("RTA_OIF"), *(hop.get("oif") for hop in route.get_attr("RTA_MULTIPATH") or ())]
                found.extend(names[index] for index in hops if index in names)
        return found


def _flags() -> Iterator[tuple[str, int, int]]:
    """(name, index, flags) of every link."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        for index, name in socket.if_nameindex():
            request = struct.pack("16sH22x", name.encode(), 0)
            try:
                flags = struct.unpack_from("16xH", fcntl.ioctl(probe, _SIOCGIFFLAGS, request))[0]
            except OSError:
                continue  # It went between the two calls.
            yield name, index, flags


class KernelWatch(threading.Thread):
    """Says when links come or go (``changed``), and addresses or routes (``doubt``): an overlay may find itself then."""

    def __init__(self, changed: Callable[[], None], doubt: Callable[[], None]) -> None:
        super().__init__(name="kernel-watch", daemon=True)
        self._changed, self._doubt = changed, doubt

    def run(self) -> None:
        while True:
            try:
                self._follow()
            except (OSError, NetlinkError) as error:
                # A burst of events can overrun the socket: what was missed is unknown, so everything is in doubt.
                LOG.debug("netlink: %s", error)
                self._doubt()
                time.sleep(0.2)

    def _follow(self) -> None:
        with IPRoute() as route:
            route.bind(_GROUPS)
            while True:
                events = {message["event"] for message in route.get()}
                if events - _LINK_EVENTS:
                    self._doubt()
                else:
                    self._changed()
