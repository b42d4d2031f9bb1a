"""``vnetctl validate``: files read as vnetd would, offline, and held against each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vnetd.errors import InputError
from vnetd.model import names
from vnetd.model.names import IpPrefix
from vnetd.model.network import Network, Nic
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


@dataclass
class Reading:
    """Texts as vnetd reads them: ``rows`` has each of them and each fault of one by itself."""

    order: dict[Place, int]
    rows: list[Row] = field(default_factory=list)
    networks: dict[str, tuple[Place, Network]] = field(default_factory=dict)
    nics: list[tuple[Place, Nic]] = field(default_factory=list)

    def together(self) -> list[tuple[Place, str]]:
        """What is wrong with texts only when they are held against each other."""
        return _unknown_portgroups(self.networks, self.nics) + _shared_addresses(self.order, self.networks, self.nics)


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
    return [row for row in reading.rows if row[2] is not None or row[0] not in {place for place, _ in wrong}] + [
        (place, "", text) for place, text in wrong
    ]


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


def _unknown_portgroups(networks: dict[str, tuple[Place, Network]], nics: list[tuple[Place, Nic]]) -> list[tuple[Place, str]]:
    wrong = []
    for path, nic in nics:
        _, network = networks.get(nic.network or "", (None, None))
        if network is not None and nic.portgroup is not None and network.portgroup(nic.portgroup) is None:
            known = ", ".join(group.name for group in network.portgroups) or "none"
            wrong.append(
                (path, f"<source portgroup={names.shown(nic.portgroup)}>: network {network.name} has no such portgroup; it has {known}")
            )
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


def _shared_addresses(
    order: dict[Place, int], networks: dict[str, tuple[Place, Network]], nics: list[tuple[Place, Nic]]
) -> list[tuple[Place, str]]:
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
                wrong.append((later.path, f"{later}: {text}"))
            holders.append(claim)
    return sorted(wrong, key=lambda row: order[row[0]])


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
