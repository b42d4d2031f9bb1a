"""``vnetctl lint``: what may be read and does not mean what it looks like, and what cannot go together.

Strategy: every text is read twice, as vnetd reads it and for its traps. A NIC's traps count
where the NIC is vnetd's: on a network or bridge of the texts at hand. Offline, a network
that is not among them is taken for one of vnetd's, since somebody asks vnetd about its guests.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from vnetd.errors import InputError, WorldError
from vnetd.model.network import Network, Nic, Overlay, PortGroup, Vlan, VlanMode
from vnetd.mtu import USUAL, overhead, tunnel_words
from vnetd.validate import Place, Reading, Seat, Text
from vnetd.xmlread import root_of
from vnetd.xmlread.traps import NetworkSheet, NicSheet, Trap, network_sheet, nic_sheets

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


@dataclass
class Lint:
    """Texts at hand, as vnetd reads them and as they stand. ``stranger`` says of an unknown network whether it is taken for vnetd's."""

    texts: Sequence[Text]
    reading: Reading
    underlay: Callable[[str], Underlay] = anywhere
    stranger: bool = True
    networks: dict[Place, NetworkSheet] = field(default_factory=dict)
    nics: dict[Place, list[NicSheet]] = field(default_factory=dict)
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
        return [*self._traps(), *self._limits(), *self._marks(), *self._mtus(), *self._same_macs()]

    def _in_order(self, found: Sequence[Finding]) -> list[Finding]:
        order = self.reading.order
        return sorted(dict.fromkeys(found), key=lambda one: (order[one.place], one.line or 0, one.text))

    def _stand(self, place: Place, data: bytes) -> None:
        try:
            if root_of(data, "network", "domain", "interface") == "network":
                self.networks[place] = network_sheet(data)
            else:
                self.nics[place] = nic_sheets(data)
                for sheet in self.nics[place]:
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
        for place, sheets in self.nics.items():
            yield from (_finding(place, trap) for sheet in sheets if self._is_ours(sheet) for trap in sheet.traps)

    def _is_ours(self, sheet: NicSheet) -> bool:
        if sheet.network is not None:
            return sheet.network in self.reading.networks or self.stranger
        if sheet.bridge is None:
            return False
        known = any(sheet.bridge == network.bridge for _, network in self.reading.networks.values())
        # Without a word of Open vSwitch it may well be on a bridge of the kernel's own.
        return known or sheet.marked or (self.stranger and sheet.virtualport == "openvswitch")

    def _limits(self) -> Iterator[Finding]:
        """Limits of a port beyond what all ports share."""
        for place, network in self.reading.networks.values():
            places = dict(self.networks[place].bandwidths)
            for group in network.portgroups:
                for direction in ("inbound", "outbound"):
                    text = _beyond_shared(network, group, direction)
                    at = places.get((group.name, direction))
                    if text is not None and at is not None:
                        yield _finding(place, at, text)

    def _marks(self) -> Iterator[Finding]:
        """A portgroup that trusts its guests, in a network that marks all packets."""
        for place, network in self.reading.networks.values():
            places = dict(self.networks[place].marks)
            for group in network.portgroups:
                if group.qos.trust and group.qos.dscp is None and network.qos.dscp is not None and group.name in places:
                    text = f"has trust='yes', but dscp='{network.qos.dscp}' of <vnet:network> replaces what the guest wrote"
                    yield _finding(place, places[group.name], f"{text}; write dscp in those portgroups that are to have it")

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
        """One MAC on two guests of a network and VLAN: the switch sends frames for it now here, now there."""
        taken: dict[tuple[str, str], dict[tuple[str, frozenset[int]], Place]] = {}
        for seat in self.reading.seats():
            place, nic, network = seat.place, seat.nic, seat.network
            name = network.name if network else nic.network or nic.bridge
            if nic.mac is None or name is None:
                continue
            vlans = _vlans(seat)
            rivals = taken.setdefault((name, nic.mac), {})
            met = ((owner, at) for (owner, others), at in rivals.items() if owner != nic.owner and _may_meet(vlans, others))
            if rival := next(met, None):
                owner, at = rival
                other = owner if str(at).endswith(owner) else f"{owner} ({at})"
                sheet = self._sheet(place, nic)
                text = f"has {nic.mac}, which {other} has already on network {name}; give each NIC its own <mac address='…'/>"
                yield _finding(place, sheet.place if sheet else Trap(None, "<interface>", ""), text)
            rivals.setdefault((nic.owner, vlans), place)


def _carriers(networks: Sequence[Network]) -> dict[str, list[tuple[Network, Overlay]]]:
    """By the bridge of each network, the overlays that its frames may take: its own, and those of networks that patches join to it."""
    neighbours: dict[str, set[str]] = {}
    for network in networks:
        neighbours.setdefault(network.bridge, set()).update(network.patches)
        for other in network.patches:
            neighbours.setdefault(other, set()).add(network.bridge)
    overlays: dict[str, tuple[Network, Overlay]] = {
        network.bridge: (network, network.overlay) for network in networks if network.overlay is not None
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


def _beyond_shared(network: Network, group: PortGroup, direction: str) -> str | None:
    own = getattr(group.bandwidth, direction)
    shared = {"its own": getattr(group.aggregate, direction), "its network's": getattr(network.aggregate, direction)}
    narrowest = min(((rate.average, whose) for whose, rate in shared.items() if rate is not None), default=None)
    if own is None or narrowest is None:
        return None
    word = "peak" if direction == "inbound" and own.peak else "average"
    limit, (most, whose) = getattr(own, word), narrowest
    if limit <= most:
        return None
    text = f"has {word}='{limit}', which no port of portgroup {group.name} can reach: together they have {most} by {whose} <vnet:aggregate>"
    return f"{text}; write {word}='{most}' or less, or a larger aggregate"


def _finding(place: Place, trap: Trap, text: str = "") -> Finding:
    return Finding(place, f"{trap.element}: {text or trap.text}", trap.line)


def _split(words: str) -> tuple[str, int | None]:
    """A reader's sentence without the line that it begins with, and that line."""
    found = _WHERE.fullmatch(words)
    return (found[2], int(found[1])) if found else (words, None)
