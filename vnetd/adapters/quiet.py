"""Links that are quiet: the kernel's own network stack says nothing on them by itself, and believes nothing that comes from them.

Strategy: IPv6 is told by the files of ``/proc/sys/net/ipv6/conf``, which cost a system
call or three each, and are remembered by name and index until somebody says ``forget``.
In the userspace datapath the kernel's stack gets every frame of a guest's tap besides
Open vSwitch (Documentation/intro/install/userspace.rst says to drop them): there a tc
filter on the tap's ingress drops them all. Packet sockets, and so Open vSwitch, have had
their copy by then. In the kernel datapath there is no such filter: it would stand before
Open vSwitch, which leaves the host's stack nothing there. The filter hangs on a qdisc
``clsact``, since Open vSwitch takes every qdisc ``ingress`` away that it finds. Its
program is classic BPF, which needs no module but sch_ingress and cls_bpf, and no
capability but CAP_NET_ADMIN.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

from vnetd.adapters.rtnl import ACK, DUMP, TC, TCA_KIND, TCA_OPTIONS, Rtnl, attribute, attributes_of
from vnetd.errors import WorldError
from vnetd.model.state import Quiet

CONF = Path("/proc/sys/net/ipv6/conf")

# rtnetlink(7) and linux/pkt_sched.h, linux/pkt_cls.h, linux/if_addr.h; everything is in the machine's own byte order.
_ADDRESS = struct.Struct("=BBBBI")  # ifaddrmsg: family, prefix length, flags, scope, link
_ROUTE = struct.Struct("=B4xB6x")  # rtmsg: family and protocol, and what does not matter here
_EXCLUSIVE, _CREATE = 0x200, 0x400
_NEW_ADDRESS, _DELETE_ADDRESS, _GET_ADDRESS = 20, 21, 22
_NEW_ROUTE, _DELETE_ROUTE, _GET_ROUTE = 24, 25, 26
_NEW_QDISC, _NEW_FILTER, _GET_FILTER = 36, 44, 46
_BPF_LENGTH, _BPF_PROGRAM, _BPF_FLAGS = 4, 5, 8
_IFA_ADDRESS, _IFA_LOCAL, _IFA_PROTO, _RTA_OIF = 1, 2, 11, 4
_CLSACT = (0xFFFF0000, 0xFFFFFFF1)  # the qdisc's handle and parent
_INGRESS = 0xFFFFFFF2  # the filter's parent
_FIRST_OF_ALL = 1 << 16 | socket.htons(3)  # preference 1, every protocol
_FILTER = 1  # the filter's handle
_DROP_ALL = struct.pack("=HBBI", 6, 0, 0, 2)  # BPF_RET | BPF_K, TC_ACT_SHOT
_DIRECT = struct.pack("=I", 1)  # TCA_BPF_FLAG_ACT_DIRECT: what the program returns is what becomes of the frame
_KERNEL_MADE = frozenset({b"\x02", b"\x03"})  # IFAPROT_KERNEL_RA and IFAPROT_KERNEL_LL
_BY_ANNOUNCEMENT = 9  # RTPROT_RA

_GONE = frozenset({errno.ENODEV, errno.ENXIO})


class QuietLinks:
    """How quiet this host's links are; ``userspace`` is whether guests' taps are in Open vSwitch's userspace datapath."""

    def __init__(self, userspace: bool, conf: Path = CONF) -> None:
        self._userspace = userspace
        self._conf = conf
        self._rtnl = Rtnl()
        self._known: dict[tuple[str, int], str] = {}
        self._announced: frozenset[int] | None = None

    def close(self) -> None:
        self._rtnl.close()

    def forget(self) -> None:
        """Look at every link anew when next asked."""
        self._known = {}

    def levels(self, links: Iterable[tuple[str, int]]) -> dict[tuple[str, int], str]:
        """The strictest level that each link (name and index) has, "" for none; only those not remembered are looked at."""
        self._announced = None
        # What is not in ``links`` has gone and is not remembered any longer.
        self._known = {link: self._known[link] if link in self._known else self._level(*link) for link in links}
        return self._known

    def make(self, name: str, level: Quiet) -> None:
        """Make a link quiet. One that has gone meanwhile is no error. Raises WorldError when the kernel refuses."""
        try:
            index = socket.if_nametoindex(name)
        except OSError:
            return
        self._known.pop((name, index), None)
        if level is Quiet.PORT:
            self._write(name, "disable_ipv6", "1")
            if self._userspace:
                self._drop_all(name, index)
        else:
            self._write(name, "accept_ra", "0")
            self._write(name, "addr_gen_mode", "1")
            self._take_addresses(name, index)
            self._take_routes(name, index)

    def _level(self, name: str, index: int) -> str:
        mute = self._read(name, "disable_ipv6") == "1"
        if mute and (not self._userspace or self._drops_all(index)):
            return Quiet.PORT
        if mute or (self._read(name, "accept_ra") == "0" and self._read(name, "addr_gen_mode") == "1" and index not in self._announcers()):
            return Quiet.BRIDGE
        return ""

    def _read(self, name: str, key: str) -> str:
        """A setting's value; a link without IPv6 is as one on which it is turned off."""
        try:
            descriptor = os.open(f"{self._conf}/{name}/{key}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return "1" if key == "disable_ipv6" and self._has_none(name) else ""
        try:
            return os.read(descriptor, 16).decode().strip()
        except OSError:
            return ""
        finally:
            os.close(descriptor)

    def _write(self, name: str, key: str, value: str) -> None:
        path = f"{self._conf}/{name}/{key}"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(descriptor, value.encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            if error.errno not in _GONE and not self._has_none(name):
                raise WorldError(f"{path} cannot be set to {value}: {error.strerror}") from None

    def _has_none(self, name: str) -> bool:
        """Whether there is no IPv6 on this link, or in this kernel: an MTU below 1280 takes it away, and so does ``ipv6.disable=1``.

        Where all of /proc/sys/net is out of sight nothing is known.
        """
        return not (self._conf / name).exists() and self._conf.parent.parent.exists()

    def _announcers(self) -> frozenset[int]:
        """The links with an IPv6 address that the kernel made, by itself or out of a router's announcement. One dump for all links."""
        if self._announced is None:
            self._announced = frozenset(index for index, _, _ in self._kernel_made())
        return self._announced

    def _kernel_made(self) -> Iterator[tuple[int, int, bytes]]:
        """(link, prefix length, address) of each such address; those of users have another IFA_PROTO, or none."""
        for kind, body in self._rtnl.ask(_GET_ADDRESS, DUMP, _ADDRESS.pack(socket.AF_INET6, 0, 0, 0, 0)):
            if kind == _NEW_ADDRESS:
                _, length, _, _, index = _ADDRESS.unpack_from(body)
                attributes = attributes_of(body[_ADDRESS.size :])
                if attributes.get(_IFA_PROTO) in _KERNEL_MADE and _IFA_ADDRESS in attributes:
                    yield index, length, attributes[_IFA_ADDRESS]

    def _take_addresses(self, name: str, index: int) -> None:
        for link, length, address in list(self._kernel_made()):
            if link == index:
                body = _ADDRESS.pack(socket.AF_INET6, length, 0, 0, index) + attribute(_IFA_LOCAL, address)
                text = socket.inet_ntop(socket.AF_INET6, address)
                self._delete(_DELETE_ADDRESS, body, f"the address {text} cannot be taken from {name}")

    def _take_routes(self, name: str, index: int) -> None:
        """Take the routes away that were believed of a router's announcement, the default route first of all."""
        for kind, body in self._rtnl.ask(_GET_ROUTE, DUMP, _ROUTE.pack(socket.AF_INET6, 0)):
            announced = kind == _NEW_ROUTE and _ROUTE.unpack_from(body)[1] == _BY_ANNOUNCEMENT
            if announced and attributes_of(body[_ROUTE.size :]).get(_RTA_OIF) == struct.pack("=I", index):
                self._delete(_DELETE_ROUTE, body, f"a route that a router announced cannot be taken from {name}")

    def _delete(self, kind: int, body: bytes, words: str) -> None:
        try:
            self._rtnl.ask(kind, ACK, body)
        except OSError as error:
            if error.errno not in {*_GONE, errno.EADDRNOTAVAIL, errno.ESRCH}:
                raise WorldError(f"{words}: {error.strerror}") from None

    def _drops_all(self, index: int) -> bool:
        try:
            found = self._rtnl.ask(_GET_FILTER, ACK, TC.pack(0, index, _FILTER, _INGRESS, _FIRST_OF_ALL))
        except OSError:
            return False  # There is no such filter, no clsact, or no such link any longer.
        for kind, body in found:
            attributes = attributes_of(body[TC.size :])
            options = attributes_of(attributes.get(TCA_OPTIONS, b""))
            if kind == _NEW_FILTER and options.get(_BPF_PROGRAM) == _DROP_ALL and options.get(_BPF_FLAGS) == _DIRECT:
                return True
        return False

    def _drop_all(self, name: str, index: int) -> None:
        options = attribute(_BPF_LENGTH, struct.pack("=H", 1)) + attribute(_BPF_PROGRAM, _DROP_ALL) + attribute(_BPF_FLAGS, _DIRECT)
        rule = attribute(TCA_KIND, b"bpf\0") + attribute(TCA_OPTIONS, options)
        qdisc = TC.pack(0, index, *_CLSACT, 0) + attribute(TCA_KIND, b"clsact\0")
        try:
            # Whoever made the qdisc that is there already, filters can be hung on it.
            with contextlib.suppress(FileExistsError):
                self._rtnl.ask(_NEW_QDISC, ACK | _CREATE | _EXCLUSIVE, qdisc)
            self._rtnl.ask(_NEW_FILTER, ACK | _CREATE, TC.pack(0, index, _FILTER, _INGRESS, _FIRST_OF_ALL) + rule)
        except OSError as error:
            if error.errno not in _GONE:
                why = f"tc takes no clsact with a bpf filter: {error.strerror}"
                raise WorldError(f"frames from {name} cannot be kept from the host's own network stack; {why}") from None
