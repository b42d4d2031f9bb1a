"""``vnetctl validate``: files read as vnetd would, offline, and held against each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from vnetd.errors import InputError, WorldError
from vnetd.intent import desire
from vnetd.model import names
from vnetd.model.names import IpPrefix
from vnetd.model.network import Inventory, Network, Nic, PortGroup, Vlan
from vnetd.model.state import Host, Link, Rows
from vnetd.policy import narrowed, vlan_of
from vnetd.xmlread import read_domain, read_interface, read_network, root_of

MAX_READ = 4 * 1024 * 1024 + 1

Place = Path | str
"""A file, or in words what else a text is of."""

Row = tuple[Place, str, str | None]
"""(place, what it is, what is wrong or None)."""

Concerns = Callable[[str | None, str | None], bool]
"""Whether a NIC on this network or bridge is vnetd's business."""


@dataclass(frozen=True, slots=True)
class Text:
    """What stands somewhere, or why it cannot be read. ``tap`` is whose file it is, should it be a tap's."""

    place: Place
    data: bytes | InputError
    tap: str = ""


@dataclass(frozen=True, slots=True)
class Wrong:
    """What is wrong with a text only beside the others; ``nic`` is the NIC that it is about, if it is about one."""

    place: Place
    text: str
    nic: Nic | None = None


@dataclass(frozen=True, slots=True)
class Seat:
    """A NIC and its network, where that is known. A ``scripted`` NIC has what the file of its tap says, which is at another place."""

    place: Place
    nic: Nic
    network: Network | None
    scripted: bool = False

    @property
    def group(self) -> PortGroup | None:
        """The NIC's portgroup: who names a bridge has none."""
        return self.network.portgroup(self.nic.portgroup) if self.network is not None and self.nic.network is not None else None

    def vlan(self) -> Vlan | None:
        """The VLANs of the port, where they are known. Raises WorldError where they contradict the portgroup."""
        if self.network is None or (self.group is None and self.nic.portgroup is not None):
            return None
        return vlan_of(self.nic, self.group, self.network)


@dataclass
class Reading:
    """Texts as vnetd reads them: ``rows`` has each of them and each fault of one by itself.

    ``judged``: its networks run here, so that vnetd has judged them itself, and ``status`` tells.
    """

    order: dict[Place, int]
    rows: list[Row] = field(default_factory=list)
    networks: dict[str, tuple[Place, Network]] = field(default_factory=dict)
    nics: list[tuple[Place, Nic]] = field(default_factory=list)
    judged: bool = False

    def together(self) -> list[Wrong]:
        """What is wrong with texts only when they are held against each other."""
        refused = [] if self.judged else _refused_networks(self.networks)
        return [
            *refused,
            *_unknown_portgroups(self.networks, self.nics),
            *_contradictions(self),
            *_shared_addresses(self.order, self.networks, self.nics),
        ]

    def seats(self) -> Iterator[Seat]:
        """All NICs, in order."""
        wired = {nic.tap: nic for _, nic in self.nics if nic.tap and (nic.network or nic.bridge)}
        by_bridge = {network.bridge: network for _, network in self.networks.values()}
        for place, nic in self.nics:
            file = wired.get(nic.tap) if nic.tap and nic.network is None and nic.bridge is None else None
            if file is not None:
                nic = replace(file, mac=nic.mac, mtu=nic.mtu, owner=nic.owner, qos=narrowed(file.qos, nic.qos))
            _, network = self.networks.get(nic.network or "", (None, None))
            if network is None and nic.bridge is not None:
                network = by_bridge.get(nic.bridge)
            yield Seat(place, nic, network, scripted=file is not None)


def texts_of(paths: Sequence[Path]) -> list[Text]:
    """What stands in these files."""
    return [Text(path, _bytes(path), path.stem) for path in paths]


def read(texts: Sequence[Text], concerns: Concerns = lambda network, bridge: True) -> Reading:
    """All texts, each by itself; of a guest's bad NICs only those that concern vnetd."""
    found = Reading({text.place: number for number, text in enumerate(texts)})
    for text in texts:
        try:
            what, faults = _read(text, found, concerns)
        except InputError as error:
            found.rows.append((text.place, "", str(error)))
            continue
        found.rows.extend((text.place, what, fault) for fault in faults)
        if not faults:
            found.rows.append((text.place, what, None))
    return found


def verdict(reading: Reading) -> list[Row]:
    """Each text that is good, and each thing that is wrong with one."""
    wrong = reading.together()
    places = {one.place for one in wrong}
    return [row for row in reading.rows if row[2] is not None or row[0] not in places] + [(one.place, "", one.text) for one in wrong]


def validate(paths: Sequence[Path]) -> list[Row]:
    """(file, what it is, what is wrong or None) for each file and each thing wrong with it."""
    return verdict(read(texts_of(paths)))


def _read(text: Text, found: Reading, concerns: Concerns) -> tuple[str, list[str]]:
    if isinstance(text.data, InputError):
        raise text.data
    root = root_of(text.data, "network", "domain", "interface")
    if root == "domain":
        reading = read_domain(text.data)
        found.nics.extend((text.place, nic) for nic in reading.domain.nics)
        return f"domain {reading.domain.name}", [str(error) for error in reading.errors(concerns)]
    if root == "interface":
        tap = names.ifname(text.tap, "the file's name, which is the tap's")
        found.nics.append((text.place, read_interface(text.data, tap)))
        return f"tap {tap}", []
    network = read_network(text.data)
    found.networks[network.name] = text.place, network
    return f"network {network.name}", []


def _bytes(path: Path) -> bytes | InputError:
    try:
        with path.open("rb") as file:
            return file.read(MAX_READ)
    except OSError as error:
        return InputError(f"cannot be read: {error.strerror}")


def _refused_networks(networks: dict[str, tuple[Place, Network]]) -> list[Wrong]:
    """What vnetd itself says of them on a host that has every NIC they name, and nothing else."""
    uplinks = (network.uplink for _, network in networks.values() if network.uplink)
    host = Host(links={dev: Link(up=True) for uplink in uplinks for dev in uplink.devs})
    desired = desire(Inventory(networks=tuple(network for _, network in networks.values())), host, Rows())
    hard = (one for one in desired.problems if one.name in networks and not one.soft)
    return [Wrong(networks[one.name][0], f"<network> {one.name}: {one.text}") for one in hard]


def _contradictions(reading: Reading) -> list[Wrong]:
    """NICs whose VLANs are not what their portgroup takes: vnetd refuses their guests."""
    found = []
    for seat in reading.seats():
        try:
            seat.vlan()
        except WorldError as error:
            if not seat.scripted:
                found.append(Wrong(seat.place, f"<interface>: {error}", seat.nic))
    return found


def _unknown_portgroups(networks: dict[str, tuple[Place, Network]], nics: list[tuple[Place, Nic]]) -> list[Wrong]:
    wrong = []
    for path, nic in nics:
        _, network = networks.get(nic.network or "", (None, None))
        if network is not None and nic.portgroup is not None and network.portgroup(nic.portgroup) is None:
            known = ", ".join(group.name for group in network.portgroups) or "none"
            text = f"<source portgroup={names.shown(nic.portgroup)}>: network {network.name} has no such portgroup; it has {known}"
            wrong.append(Wrong(path, text, nic))
    return wrong


@dataclass(frozen=True, slots=True)
class _Claim:
    """That a file gives an address to a NIC: ``owner`` is its MAC, or its tap where no file has the MAC."""

    path: Place
    owner: str
    address: IpPrefix
    bound: bool = False
    """Whether the network says so, and not the NIC."""

    def __str__(self) -> str:
        element = f"<vnet:binding mac='{self.owner}'" if self.bound else "<vnet:address"
        return f"{element} address='{names.written(self.address)}'>"


def _shared_addresses(order: dict[Place, int], networks: dict[str, tuple[Place, Network]], nics: list[tuple[Place, Nic]]) -> list[Wrong]:
    """An address that two NICs of a network have is a fault of the file that is given later."""
    wrong = []
    for network, claims in _claims(networks, nics).items():
        # Prefixes are apart or one holds the other, so in this order those that hold a claim's address are right before it.
        holders: list[_Claim] = []
        for claim in sorted(claims, key=lambda one: (*names.by_number(one.address), order[one.path])):
            while holders and not _holds(holders[-1], claim):
                holders.pop()
            rival = next((one for one in reversed(holders) if _are_rivals(one, claim)), None)
            if rival is not None:
                first, later = sorted((rival, claim), key=lambda one: order[one.path])
                text = (
                    f"{first.owner} has {names.written(first.address)} already, in {first.path}; give each NIC of network {network} its own"
                )
                wrong.append(Wrong(later.path, f"{later}: {text}"))
            holders.append(claim)
    return sorted(wrong, key=lambda one: order[one.place])


def _claims(networks: dict[str, tuple[Place, Network]], nics: list[tuple[Place, Nic]]) -> dict[str, list[_Claim]]:
    """Who claims what, by the network's name."""
    found = defaultdict[str, list[_Claim]](list)
    for network_name, (path, network) in networks.items():
        found[network_name] = [_Claim(path, binding.mac, binding.address, bound=True) for binding in network.bindings]
    by_bridge = {network.bridge: name for name, (_, network) in networks.items()}
    # A tap's own file may leave the MAC to its guest's, which in turn does not know the network.
    macs = {nic.tap: nic.mac for _, nic in nics if nic.tap and nic.network is None and nic.bridge is None}
    for path, nic in nics:
        name = nic.network or (by_bridge.get(nic.bridge, nic.bridge) if nic.bridge else None)
        if name is not None:
            owner = nic.mac or (macs.get(nic.tap) if nic.tap else None) or f"tap {nic.tap}"
            found[name].extend(_Claim(path, owner, address) for address in nic.addresses)
    return found


def _holds(one: _Claim, other: _Claim) -> bool:
    return one.address.version == other.address.version and names.bounds(one.address)[1] >= names.bounds(other.address)[0]


def _are_rivals(one: _Claim, other: _Claim) -> bool:
    """Whether they are of two NICs. A tap whose MAC no file has may be the one that a binding is for."""
    unknown = one.owner.startswith("tap ") or other.owner.startswith("tap ")
    return one.owner != other.owner and not (unknown and (one.bound or other.bound))
