"""The judges of links in the kernel: filters of classic BPF at tc's ingress, by the small socket of ``rtnl``.

Strategy: a frame that a guest sends meets tc's ingress before Open vSwitch's receive handler
does, and there each filter of the judge in its turn: what one picks passes, or is
dropped and counted by an action of the filter's own, in whose cookie the reason stands. The
last one drops whatever is left, and is the first to be put, so that a judge in the making is
closed. The kernel swaps one filter for another in one step. All that is read is held against
what was put, byte by byte. That takes a millisecond for a link, so a link's judge is remembered: until
``JudgeWatch`` says that somebody else has changed a filter (``doubt``), or for half a minute where nobody says so.
Before the judge's there is room for other people's filters, of which ``before`` tells.

The detour of ``Way.COMPLETE`` is a device of kind ifb without checksum offload: the kernel completes a
frame's checksum, at the place that its sender named, before it gives it to such a device, and that gives it back
to the link that it came from, behind tc's ingress.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import struct
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from vnetd.adapters.detour import Detour
from vnetd.adapters.rtnl import ACK, DUMP, TC, TCA_KIND, TCA_OPTIONS, Rtnl, attribute, attributes_of, kind_of, messages, qdiscs, untold
from vnetd.errors import WorldError
from vnetd.model.judge import DETOUR, Filter, Judge, JudgeCounts, Way, digest_of

LOG = logging.getLogger("vnetd.judges")

# rtnetlink(7), linux/pkt_cls.h, linux/tc_act/tc_gact.h and tc_csum.h; everything is in the machine's own byte order.
_EXCLUSIVE, _CREATE = 0x200, 0x400
_NEW_QDISC, _DELETE_QDISC, _NEW_FILTER, _DELETE_FILTER, _GET_FILTER = 36, 37, 44, 45, 46
_CLSACT = (0xFFFF0000, 0xFFFFFFF1)  # the qdisc's handle and parent
_INGRESS = 0xFFFFFFF2  # the filters' parent
_HANDLE = 1
_TCA_CHAIN = 11
_BPF_ACTIONS, _BPF_LENGTH, _BPF_PROGRAM, _BPF_FLAGS, _BPF_GENERAL = 1, 4, 5, 8, 9
_SKIPPED = 2  # TCA_CLS_FLAGS_SKIP_SW
_ACT_KIND, _ACT_OPTIONS, _ACT_STATS, _ACT_COOKIE = 1, 2, 4, 6
_GACT_PARMS, _CSUM_PARMS, _MIRRED_PARMS = 2, 1, 2
_ACTION = struct.Struct("=IIiII")  # tc_gen: index, capabilities, action, references, bindings
_OK, _SHOT, _STOLEN = 0, 2, 4  # TC_ACT_OK, TC_ACT_SHOT, TC_ACT_STOLEN
_TO_EGRESS = 1  # TCA_EGRESS_REDIR
_SUMS = 2 | 8 | 16  # TCA_CSUM_UPDATE_FLAG_ICMP, _TCP, _UDP
_BASIC = 1
_COUNTS = struct.Struct("=QI")  # gnet_stats_basic: bytes, packets
_ETHERNET = 14  # bytes of a frame that tc does not count at ingress

BELIEF_SECONDS = 25
"""How long what was read of judges is believed, whoever says ``forget``; less than a daemon's look without cause comes after."""

FIRST_PREFERENCE = 0x100
"""Of the judge's filters; other people's may stand before them."""

_COOKIE = b"vnetd\0"
_WAYS = {Way.SUM: 0xFFF1, Way.COMPLETE: 0xFFF2, Way.OPEN: 0xFFF3}
"""What stands in the cookie where no reason does."""
_GONE = frozenset({errno.ENODEV, errno.ENXIO})


@dataclass(frozen=True, slots=True)
class SeenJudge:
    """What stands at a link's ingress: the digest of a judge, "" for none of vnetd's, and whether others' filters come before it."""

    digest: str = ""
    before: bool = False


@dataclass(frozen=True, slots=True)
class _Seen:
    """One filter; ``filter`` is None where it is not of a form that vnetd gives one."""

    preference: int
    ours: bool
    filter: Filter | None
    counts: tuple[int, int]


class Judges:
    """The judges of this host's links."""

    def __init__(self) -> None:
        self._rtnl = Rtnl()
        self._detour = Detour(self._rtnl)
        self._known: dict[tuple[str, int], SeenJudge] = {}
        self._believed = time.monotonic()
        self._doubtful = False

    def close(self) -> None:
        self._rtnl.close()

    @property
    def port_id(self) -> int:
        """What tells this socket's own changes from those of others (nlmsg_pid)."""
        return self._rtnl.port_id

    def forget(self) -> None:
        """Look at every link anew when next asked, if all have been believed for long enough."""
        if time.monotonic() - self._believed > BELIEF_SECONDS:
            self._known, self._believed = {}, time.monotonic()

    def doubt(self) -> None:
        """Look at every link anew when next asked, whatever was read before. From any thread."""
        self._doubtful = True

    def seen(self, links: Iterable[tuple[str, int]]) -> Mapping[tuple[str, int], SeenJudge]:
        """The judge of each link (name and index); only those not remembered are looked at. Raises WorldError."""
        links = list(links)
        if self._doubtful:
            self._doubtful, self._known = False, {}
        if self._detour.index != (index := self._detour.find()):
            # All judges lead there.
            self._detour.index, self._known = index, {}
        fresh = [link for link in links if link not in self._known]
        try:
            judged = self._with_ingress() if fresh else frozenset()
            found = {link: self._look(link[1]) if link[1] in judged else SeenJudge() for link in fresh}
        except OSError as error:
            raise untold(error) from None
        # What is not in ``links`` has gone and is not remembered any longer.
        self._known = {link: found.get(link) or self._known[link] for link in links}
        return self._known

    def put(self, name: str, judge: Judge) -> None:
        """Make this the judge of a link. One that has gone meanwhile is no error. Raises WorldError when the kernel refuses."""
        index = self._index(name)
        if index is None:
            return
        try:
            # Whoever made the qdisc that is there already, filters can be hung on it.
            with contextlib.suppress(FileExistsError):
                self._rtnl.ask(_NEW_QDISC, ACK | _CREATE | _EXCLUSIVE, TC.pack(0, index, *_CLSACT, 0) + attribute(TCA_KIND, b"clsact\0"))
            detour = self._detour.make() if any(one.way is Way.COMPLETE for one in judge.filters) else 0
            there = {one.preference: one.filter for one in self._filters(index) if one.ours}
            wanted = {FIRST_PREFERENCE + place: one for place, one in enumerate(judge.filters)}
            for preference, one in reversed(wanted.items()):
                if there.get(preference) != one:
                    self._rtnl.ask(_NEW_FILTER, ACK | _CREATE, _head(index, preference) + _rule(one, detour))
            for preference in there.keys() - wanted.keys():
                self._delete(index, preference)
        except OSError as error:
            if error.errno not in _GONE:
                why = f"tc takes no clsact with bpf filters and the actions gact and csum: {error.strerror}"
                raise WorldError(f"what {name} sends cannot be judged in the kernel, so that it stays closed; {why}") from None

    def drop(self, name: str) -> None:
        """Take the judge from a link, or the detour itself away. Raises WorldError when the kernel refuses."""
        index = self._index(name)
        if index is None:
            return
        try:
            if name == DETOUR:
                self._detour.drop()
                return
            # The last one drops all, so that it goes last.
            for one in sorted(self._filters(index), key=lambda one: -one.preference):
                if one.ours:
                    self._delete(index, one.preference)
        except OSError as error:
            if error.errno not in _GONE:
                raise WorldError(f"the judge of {name} cannot be taken away: {error.strerror}") from None

    def counts(self, names: Collection[str]) -> JudgeCounts:
        """What the judge of each of these links has dropped since it was put. Raises WorldError."""
        indexes = {name: index for name in names if (index := self._index(name, keep=True)) is not None}
        found: JudgeCounts = {}
        try:
            judged = self._with_ingress()
            for name, index in indexes.items():
                if index not in judged:
                    continue
                sums: dict[int, tuple[int, int]] = {}
                for one in self._filters(index):
                    if one.ours and one.filter is not None and one.filter.reason is not None and one.counts[0]:
                        before = sums.get(one.filter.reason, (0, 0))
                        sums[one.filter.reason] = before[0] + one.counts[0], before[1] + one.counts[1]
                if sums:
                    found[name] = sums
        except OSError as error:
            raise untold(error) from None
        return found

    def _index(self, name: str, keep: bool = False) -> int | None:
        try:
            index = socket.if_nametoindex(name)
        except OSError:
            return None
        if not keep:
            self._known.pop((name, index), None)
        return index

    def _with_ingress(self) -> frozenset[int]:
        """The links that have a clsact, by one dump."""
        return frozenset(index for index, _, _, attributes in qdiscs(self._rtnl) if kind_of(attributes) == "clsact")

    def _look(self, index: int) -> SeenJudge:
        try:
            filters = sorted(self._filters(index), key=lambda one: one.preference)
        except OSError as error:
            if error.errno in {*_GONE, errno.EINVAL}:
                return SeenJudge()
            raise
        ours = [one for one in filters if one.ours]
        if not ours:
            return SeenJudge()
        before = any(not one.ours and one.preference < ours[-1].preference for one in filters)
        places = [one.preference - FIRST_PREFERENCE for one in ours]
        known = [one.filter for one in ours if one.filter is not None]
        whole = len(known) == len(ours) and places == list(range(len(ours)))
        return SeenJudge(digest_of(tuple(known)) if whole else "otherwise", before)

    def _filters(self, index: int) -> Iterator[_Seen]:
        """The filters at a link's ingress. Raises OSError."""
        for kind, body in self._rtnl.ask(_GET_FILTER, DUMP, TC.pack(0, index, 0, _INGRESS, 0)):
            if kind == _NEW_FILTER and (seen := _seen(TC.unpack_from(body), attributes_of(body[TC.size :]), self._detour.index)):
                yield seen

    def _delete(self, index: int, preference: int) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._rtnl.ask(_DELETE_FILTER, ACK, TC.pack(0, index, 0, _INGRESS, _info(preference)))


def _info(preference: int) -> int:
    """Of every protocol."""
    return preference << 16 | socket.htons(3)


def _head(index: int, preference: int) -> bytes:
    return TC.pack(0, index, _HANDLE, _INGRESS, _info(preference)) + attribute(TCA_KIND, b"bpf\0")


def _rule(one: Filter, detour: int) -> bytes:
    number = _WAYS[one.way] if one.reason is None else one.reason
    kind, parms = _action(one.way, detour)
    cookie = attribute(_ACT_COOKIE, _COOKIE + struct.pack("!H", number))
    acts = attribute(1, attribute(_ACT_KIND, kind.encode() + b"\0") + attribute(_ACT_OPTIONS, parms) + cookie)
    length = struct.pack("=H", len(one.program) // 8)
    options = attribute(_BPF_ACTIONS, acts) + attribute(_BPF_LENGTH, length) + attribute(_BPF_PROGRAM, one.program)
    return attribute(TCA_OPTIONS, options)


def _action(way: Way, detour: int) -> tuple[str, bytes]:
    """The kind and the options of the action that a way is."""

    def parms(kind: int, action: int, more: bytes = b"") -> bytes:
        return attribute(kind, _ACTION.pack(0, 0, action, 0, 0) + more)

    match way:
        case Way.SUM:
            return "csum", parms(_CSUM_PARMS, _OK, struct.pack("=I", _SUMS))
        case Way.COMPLETE:
            return "mirred", parms(_MIRRED_PARMS, _STOLEN, struct.pack("=iI", _TO_EGRESS, detour))
        case Way.OPEN:
            return "gact", parms(_GACT_PARMS, _OK)
        case Way.DROP:
            return "gact", parms(_GACT_PARMS, _SHOT)


def _seen(head: tuple[int, ...], attributes: dict[int, bytes], detour: int) -> _Seen | None:
    """One message of a dump; None for the one that only tells that there is a preference, and for other chains."""
    handle, preference = head[2], head[4] >> 16
    if not handle or any(attributes.get(_TCA_CHAIN, b"")):
        return None
    options = attributes_of(attributes.get(TCA_OPTIONS, b""))
    actions = attributes_of(options.get(_BPF_ACTIONS, b"")) if kind_of(attributes) == "bpf" else {}
    first = attributes_of(actions.get(1, b""))
    cookie = first.get(_ACT_COOKIE, b"")
    if not cookie.startswith(_COOKIE) or len(cookie) != len(_COOKIE) + 2:
        return _Seen(preference, False, None, (0, 0))
    octets, packets = _COUNTS.unpack_from(attributes_of(first.get(_ACT_STATS, b"")).get(_BASIC, bytes(_COUNTS.size)))
    counts = packets, octets + _ETHERNET * packets
    usual = len(actions) == 1 and handle == _HANDLE and head[4] == _info(preference) and _is_usual(options)
    return _Seen(preference, True, _filter(options, first, cookie, detour) if usual else None, counts)


def _is_usual(options: dict[int, bytes]) -> bool:
    """Whether the filter does what its action says, and in software."""
    direct = struct.unpack("=I", options.get(_BPF_FLAGS, bytes(4)))[0]
    general = struct.unpack("=I", options.get(_BPF_GENERAL, bytes(4)))[0]
    return not direct and not general & _SKIPPED


def _filter(options: dict[int, bytes], action: dict[int, bytes], cookie: bytes, detour: int) -> Filter | None:
    """The filter as it was put; None where its action is another than its cookie says."""
    (number,) = struct.unpack("!H", cookie[len(_COOKIE) :])
    way = next((way for way, one in _WAYS.items() if one == number), Way.DROP)
    kind, wanted = _action(way, detour)
    ((option, parms),) = attributes_of(wanted).items()
    found = attributes_of(action.get(_ACT_OPTIONS, b"")).get(option, b"")
    # The first two numbers and the last two of tc_gen are the kernel's own.
    same = len(found) == len(parms) and found[8:12] == parms[8:12] and found[_ACTION.size :] == parms[_ACTION.size :]
    if kind_of({TCA_KIND: action.get(_ACT_KIND, b"")}) != kind or not same or (way is Way.COMPLETE and not detour):
        return None
    return Filter(options.get(_BPF_PROGRAM, b""), way, number if way is Way.DROP else None)


class JudgeWatch(threading.Thread):
    """Says (``doubt``) when somebody else than ``mine``, vnetd's own sockets, changes a filter or takes an ingress away."""

    def __init__(self, doubt: Callable[[], None], mine: Callable[[], Collection[int]]) -> None:
        super().__init__(name="judge-watch", daemon=True)
        self._doubt, self._mine = doubt, mine

    def run(self) -> None:
        while True:
            try:
                self._follow()
            except OSError as error:
                # A burst of events can overrun the socket: what was missed is unknown.
                LOG.debug("netlink: %s", error)
                self._doubt()
                time.sleep(0.2)

    def _follow(self) -> None:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as link:
            link.bind((0, 1 << 3))  # RTMGRP_TC
            while True:
                if any(self._concerns(*one) for one in messages(link.recv(1 << 17))):
                    self._doubt()

    def _concerns(self, kind: int, _: int, body: bytes, sender: int) -> bool:
        if kind not in {_NEW_FILTER, _DELETE_FILTER, _DELETE_QDISC} or sender in self._mine():
            return False
        # A link that goes takes its qdiscs along, and is told of as a link.
        return kind != _DELETE_QDISC or TC.unpack_from(body)[3] == _CLSACT[1]
