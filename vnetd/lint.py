"""``vnetctl lint``: what may be read and does not mean what it looks like, and what cannot go together.

Strategy: every text is read twice, as vnetd reads it and for its traps. A NIC's traps count
where the NIC is vnetd's: on a network or bridge of the texts at hand. Offline, a network
that is not among them is taken for one of vnetd's, since somebody asks vnetd about its guests.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from vnetd.errors import InputError, WorldError
from vnetd.model.names import IpAddress
from vnetd.model.network import Bandwidth, Network, Nic, Overlay, Peer, Qos, Rate, Vlan, VlanMode
from vnetd.model.state import Learned
from vnetd.mtu import USUAL, overhead, tunnel_words
from vnetd.policy import narrowed
from vnetd.validate import Place, Reading, Seat, Text
from vnetd.xmlread import root_of
from vnetd.xmlread.traps import GuestSheet, NetworkSheet, NicSheet, Trap, guest_sheet, network_sheet

_WHERE = re.compile(r"line (\d+), (.*)", re.DOTALL)
_ELEMENT = re.compile(r"<[^<>]+>")


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence about a place. ``refused``: an error of ``validate``'s, too; of the others some may even be meant."""

    place: Place
    text: str
    line: int | None = None
    refused: bool = False

    def __str__(self) -> str:
        return f"{self.place}:{self.line}: {self.text}" if self.line else f"{self.place}: {self.text}"

    @property
    def words(self) -> str:
        """The sentence and its line, as vnetd's readers say it."""
        return f"line {self.line}, {self.text}" if self.line else self.text

    @property
    def element(self) -> str | None:
        """The element that the sentence begins with."""
        found = _ELEMENT.match(self.text)
        return found[0] if found else None


@dataclass(frozen=True, slots=True)
class Underlay:
    """How large a packet between the hypervisors may be, and how that is known."""

    mtu: int = USUAL
    words: str = "an underlay whose MTU is {mtu}"

    def __str__(self) -> str:
        return self.words.format(mtu=self.mtu)


def anywhere(network: str) -> Underlay:
    """What an underlay carries where nobody has looked."""
    return Underlay()


def as_measured(reading: Reading, learned: Learned) -> Callable[[str], Underlay]:
    """What underlays carry, as the daemon of this host has found the paths to a network's peers; as anywhere where it has not."""
    networks = {network.name: network for _, network in reading.networks.values()}

    def underlay(name: str) -> Underlay:
        overlay = networks[name].overlay if name in networks else None
        peers = overlay.peers if overlay else ()
        ends = ((peer, one) for peer in peers for one in _ends(peer, learned))
        paths = [(learned.paths[one], peer.name) for peer, one in ends if one in learned.paths]
        if not paths:
            return anywhere(name)
        mtu, worst = min(paths)
        return Underlay(mtu, f"a path of {{mtu}} to {worst}")

    return underlay


def _ends(peer: Peer, learned: Learned) -> tuple[IpAddress, ...]:
    return learned.names.get(peer.address, ()) if isinstance(peer.address, str) else (peer.address,)


@dataclass
class Lint:
    """Texts at hand, as vnetd reads them and as they stand. ``stranger`` says of an unknown network whether it is taken for vnetd's."""

    texts: Sequence[Text]
    reading: Reading
    underlay: Callable[[str], Underlay] = anywhere
    stranger: bool = True
    networks: dict[Place, NetworkSheet] = field(default_factory=dict)
    guests: dict[Place, GuestSheet] = field(default_factory=dict)
    places: dict[tuple[Place, str | None, str | None], NicSheet] = field(default_factory=dict)
    """The NICs by their place, MAC and network."""

    def findings(self) -> list[Finding]:
        """All of them, in the order of the texts and their lines; each once."""
        return self._in_order([*self._beyond_reading(), *self._refused(), *self._wrong_together()])

    def beyond_errors(self) -> list[Finding]:
        """Those that ``validate`` does not count among its errors."""
        return self._in_order(self._beyond_reading())

    def _beyond_reading(self) -> list[Finding]:
        for text in self.texts:
            if isinstance(text.data, bytes):
                self._stand(text.place, text.data)
        return [*self._traps(), *self._strays(), *self._limits(), *self._marks(), *self._segments(), *self._mtus(), *self._same_macs()]

    def _in_order(self, found: Sequence[Finding]) -> list[Finding]:
        order = self.reading.order
        return sorted(dict.fromkeys(found), key=lambda one: (order[one.place], one.line or 0, one.text))

    def _stand(self, place: Place, data: bytes) -> None:
        try:
            if root_of(data, "network", "domain", "interface") == "network":
                self.networks[place] = network_sheet(data)
            else:
                self.guests[place] = guest_sheet(data)
                for sheet in self.guests[place].nics:
                    self.places.setdefault((place, sheet.mac, sheet.network), sheet)
        except InputError:
            return  # The reading says what is wrong.

    def _refused(self) -> Iterator[Finding]:
        for place, _, fault in self.reading.rows:
            if fault is not None:
                yield Finding(place, *_split(fault), refused=True)

    def _wrong_together(self) -> Iterator[Finding]:
        for one in self.reading.together():
            sheet = self._sheet(one.place, one.nic) if one.nic is not None else None
            yield Finding(one.place, one.text, sheet.place.line if sheet else None, refused=True)

    def _traps(self) -> Iterator[Finding]:
        for place, sheet in self.networks.items():
            yield from (_finding(place, trap) for trap in sheet.traps)
        for place, guest in self.guests.items():
            yield from (_finding(place, trap) for nic in guest.nics if self._is_ours(nic) for trap in nic.traps)

    def _strays(self) -> Iterator[Finding]:
        """What is said of a NIC that the guest does not have."""
        known: set[tuple[Place, str | None]] = {(place, nic.mac) for place, nic in self.reading.nics}
        known.update((place, nic.mac) for place, guest in self.guests.items() for nic in guest.nics)
        for place, guest in self.guests.items():
            for mac, at in guest.spoken_of:
                if (place, mac) not in known:
                    text = f"is for {mac}, which no <interface> of the guest has as its <mac address='…'/>, so it does nothing"
                    yield _finding(place, at, f"{text}; write the MAC of one that it has, or leave it out")

    def _is_ours(self, sheet: NicSheet) -> bool:
        if sheet.network is not None:
            return sheet.network in self.reading.networks or self.stranger
        if sheet.bridge is None:
            return False
        known = any(sheet.bridge == network.bridge for _, network in self.reading.networks.values())
        # Without a word of Open vSwitch it may well be on a bridge of the kernel's own.
        return known or sheet.marked or (self.stranger and sheet.virtualport == "openvswitch")

    def _limits(self) -> Iterator[Finding]:
        """Limits beyond what is shared: of ports, and of a portgroup's ports together."""
        for place, network in self.reading.networks.values():
            sheet, whole = self.networks[place], {"its network's": network.aggregate}
            ports, shared = dict(sheet.bandwidths), dict(sheet.aggregates)
            for group, direction in ((group, direction) for group in network.portgroups for direction in ("inbound", "outbound")):
                if at := ports.get((group.name, direction)):
                    who = f"no port of portgroup {group.name} can reach: together they have"
                    yield from _beyond(place, at, group.bandwidth, direction, who, {"its own": group.aggregate, **whole})
                if at := shared.get((group.name, direction)):
                    who = f"the ports of portgroup {group.name} cannot reach: with all others they have"
                    yield from _beyond(place, at, group.aggregate, direction, who, whole)
        for seat in self.reading.seats():
            nic = self._sheet(seat.place, seat.nic)
            if seat.network is None or nic is None or seat.scripted:
                continue  # Of a NIC that a script wires, the limit stands in its tap's own file.
            wider = {"its network's": seat.network.aggregate} | ({"its portgroup's": seat.group.aggregate} if seat.group else {})
            for direction, at in nic.bandwidths:
                who = "the NIC cannot reach: with all others it has"
                yield from _beyond(seat.place, at, seat.nic.bandwidth, direction, who, wider)

    def _marks(self) -> Iterator[Finding]:
        """Who is trusted with marks, where all packets are marked."""
        for place, network in self.reading.networks.values():
            places = dict(self.networks[place].marks)
            for group in network.portgroups:
                if group.qos.trust and group.qos.dscp is None and group.name in places:
                    yield from _marked(place, places[group.name], {"<vnet:network>": network.qos})
        for seat in self.reading.seats():
            nic = self._sheet(seat.place, seat.nic)
            if seat.network is None or nic is None or nic.trust is None:
                continue
            wider = {f"<vnet:portgroup name='{seat.group.name}'>": seat.group.qos} if seat.group else {}
            own = {"its tap's own file": seat.nic.qos}
            yield from _marked(seat.place, nic.trust, {**own, **wider, "<vnet:network>": seat.network.qos})

    def _segments(self) -> Iterator[Finding]:
        """What a limit on packets counts, where a guest hands over many at once."""
        for seat in self.reading.seats():
            sheet = self._sheet(seat.place, seat.nic)
            if seat.network is None or sheet is None or not sheet.segments:
                continue
            pps = narrowed(seat.nic.qos, *([seat.group.qos] if seat.group else []), seat.network.qos).pps
            if pps:
                text = (
                    f"may hand over 64 KiB at once (TSO), which the kernel's data plane counts as one packet of its pps='{pps}', so that "
                    f"only the bytes of {pps} whole packets/s limit it; "
                    "write <driver><host tso4='off' tso6='off' ufo='off' gso='off'/></driver> in it"
                )
                yield _finding(seat.place, sheet.place, text)

    def _mtus(self) -> Iterator[Finding]:
        carriers = _carriers([network for _, network in self.reading.networks.values()])
        for seat in self.reading.seats():
            place, nic, network = seat.place, seat.nic, seat.network
            sheet, vlan = self._sheet(place, nic), _vlan(seat)
            if network is None or sheet is None or vlan is None:
                continue
            rooms = ((self._room(carrier, overlay, vlan), carrier, overlay) for carrier, overlay in carriers[network.bridge])
            fits, carrier, overlay = min(rooms, key=lambda one: one[0], default=(None, network, None))
            if fits is None or overlay is None or (nic.mtu or USUAL) <= fits:
                continue
            name = carrier.name if carrier == network else f"{carrier.name}, to which patches lead from network {network.name},"
            why = f"than {fits}, which is what network {name} carries ({tunnel_words(overlay, vlan)}, over {self.underlay(carrier.name)})"
            if nic.mtu is None:
                yield _finding(place, sheet.place, f"has no <mtu>, so it is {USUAL} and larger {why}; write <mtu size='{fits}'/> in it")
            else:
                yield _finding(place, sheet.mtu or sheet.place, f"has size='{nic.mtu}', which is larger {why}; write <mtu size='{fits}'/>")

    def _room(self, network: Network, overlay: Overlay, vlan: Vlan) -> int:
        """The largest packet of a port of this VLAN that the network's overlay carries."""
        return self.underlay(network.name).mtu - overhead(overlay, vlan)

    def _sheet(self, place: Place, nic: Nic) -> NicSheet | None:
        return self.places.get((place, nic.mac, nic.network)) or self.places.get((place, nic.mac, None))

    def _same_macs(self) -> Iterator[Finding]:
        """One MAC on two NICs of a network and VLAN: the switch sends frames for it now here, now there."""
        taken: dict[tuple[str, str], dict[tuple[object, ...], tuple[Seat, frozenset[int]]]] = {}
        for seat in self.reading.seats():
            place, nic = seat.place, seat.nic
            name = seat.network.name if seat.network else nic.network or nic.bridge
            if nic.mac is None or name is None:
                continue
            vlans = _vlans(seat)
            rivals = taken.setdefault((name, nic.mac), {})
            if rival := next((one for one, others in rivals.values() if _are_rivals(seat, vlans, one, others)), None):
                owner = rival.nic.owner
                other = owner if str(rival.place).endswith(owner) else f"{owner} ({rival.place})"
                sheet = self._sheet(place, nic)
                other = f"another NIC of {owner}" if owner == nic.owner else other
                text = f"has {nic.mac}, which {other} has already on network {name}; give each NIC its own <mac address='…'/>"
                yield _finding(place, sheet.place if sheet else Trap(None, "<interface>", ""), text)
            rivals.setdefault((nic.owner, place, nic.tap, nic.network, vlans), (seat, vlans))


def _are_rivals(one: Seat, vlans: frozenset[int], other: Seat, others: frozenset[int]) -> bool:
    """Whether both are there, and would be taken for one another."""
    if one.nic.owner == other.nic.owner:
        # Otherwise it is a copy of the guest's file, or its reader has refused it.
        known_apart = one.scripted or other.scripted or (one.nic.network or one.nic.bridge) != (other.nic.network or other.nic.bridge)
        return one.place == other.place and known_apart
    of_tap = any(this.scripted and that.nic.owner == that.nic.tap == this.nic.tap for this, that in ((one, other), (other, one)))
    # The file of a tap and the guest that it is for speak of one NIC.
    return not of_tap and _may_meet(vlans, others)


def _carriers(networks: Sequence[Network]) -> dict[str, list[tuple[Network, Overlay]]]:
    """By the bridge of each network, the overlays that its frames may take: its own, and those of networks that patches join to it."""
    neighbours: dict[str, set[str]] = {}
    for network in networks:
        neighbours.setdefault(network.bridge, set()).update(network.patches)
        for other in network.patches:
            neighbours.setdefault(other, set()).add(network.bridge)
    overlays: dict[str, tuple[Network, Overlay]] = {
        network.bridge: (network, network.overlay)
        for network in networks
        if network.overlay is not None and network.overlay.encapsulation.df is not False
    }
    found: dict[str, list[tuple[Network, Overlay]]] = {}
    for start in neighbours:
        if start in found:
            continue
        joined, ahead = {start}, [start]
        while ahead:
            new = neighbours[ahead.pop()] - joined
            joined |= new
            ahead += new
        carriers = [overlays[bridge] for bridge in sorted(joined) if bridge in overlays]
        found.update((bridge, carriers) for bridge in joined)
    return found


def _may_meet(one: frozenset[int], other: frozenset[int]) -> bool:
    """Whether two NICs have a VLAN in common, or of one of them nobody knows."""
    return not one or not other or bool(one & other)


def _vlan(seat: Seat) -> Vlan | None:
    """The VLANs of a NIC's port, where they are known."""
    try:
        return seat.vlan()
    except WorldError:
        return None  # An error, and said as one.


def _vlans(seat: Seat) -> frozenset[int]:
    """The VLANs that a NIC is in, 0 for none; empty where that is not known."""
    vlan = _vlan(seat)
    if vlan is None:
        return frozenset()
    return frozenset(vlan.trunks) if vlan.mode not in (VlanMode.ACCESS, VlanMode.DOT1Q_TUNNEL) else frozenset({vlan.tag or 0})


def _beyond(place: Place, at: Trap, own: Bandwidth, direction: str, who: str, shared: Mapping[str, Bandwidth]) -> Iterator[Finding]:
    """That a limit is larger than the least of those that are shared."""
    rate: Rate | None = getattr(own, direction)
    rates = ((getattr(limit, direction), whose) for whose, limit in shared.items())
    narrowest = min(((one.average, whose) for one, whose in rates if one is not None), default=None)
    if rate is None or narrowest is None:
        return
    word, limit = ("peak", rate.peak) if direction == "inbound" and rate.peak else ("average", rate.average)
    most, whose = narrowest
    if limit > most:
        text = f"has {word}='{limit}', which {who} {most} by {whose} <vnet:aggregate>"
        yield _finding(place, at, f"{text}; write {word}='{most}' or less, or a larger aggregate")


def _marked(place: Place, at: Trap, wider: Mapping[str, Qos]) -> Iterator[Finding]:
    """That trust does nothing, since one of the wider places has a mark."""
    whose = next((name for name, qos in wider.items() if qos.dscp is not None), None)
    if whose is not None:
        text = f"has trust='yes', but dscp='{wider[whose].dscp}' of {whose} replaces what the guest wrote"
        yield _finding(place, at, f"{text}; write dscp only where the packets are to have it")


def _finding(place: Place, trap: Trap, text: str = "") -> Finding:
    return Finding(place, f"{trap.element}: {text or trap.text}", trap.line)


def _split(words: str) -> tuple[str, int | None]:
    """A reader's sentence without the line that it begins with, and that line."""
    found = _WHERE.fullmatch(words)
    return (found[2], int(found[1])) if found else (words, None)
