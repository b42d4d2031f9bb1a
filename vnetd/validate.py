"""``vnetctl validate``: files read as vnetd would, offline, and held against each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vnetd.errors import InputError
from vnetd.model import names
from vnetd.model.names import IpPrefix
from vnetd.model.network import Network, Nic
from vnetd.xmlread import read_domain, read_interface, read_network, root_of

MAX_READ = 4 * 1024 * 1024 + 1


def validate(paths: Sequence[Path]) -> list[tuple[Path, str, str | None]]:
    """(file, what it is, what is wrong or None) for each file and each thing wrong with it."""
    found: list[tuple[Path, str, str | None]] = []
    networks: dict[str, tuple[Path, Network]] = {}
    nics: list[tuple[Path, Nic]] = []
    for path in paths:
        try:
            what, faults = _read(path, networks, nics)
        except InputError as error:
            found.append((path, "", str(error)))
            continue
        found.extend((path, what, fault) for fault in faults)
        if not faults:
            found.append((path, what, None))
    wrong = _unknown_portgroups(networks, nics) + _shared_addresses(paths, networks, nics)
    return [row for row in found if row[2] is not None or row[0] not in {path for path, _ in wrong}] + [
        (path, "", text) for path, text in wrong
    ]


def _read(path: Path, networks: dict[str, tuple[Path, Network]], nics: list[tuple[Path, Nic]]) -> tuple[str, list[str]]:
    data = _bytes(path)
    root = root_of(data, "network", "domain", "interface")
    if root == "domain":
        reading = read_domain(data)
        nics.extend((path, nic) for nic in reading.domain.nics)
        return f"domain {reading.domain.name}", [str(fault.error) for fault in reading.faults]
    if root == "interface":
        tap = names.ifname(path.stem, "the file's name, which is the tap's")
        nics.append((path, read_interface(data, tap)))
        return f"tap {tap}", []
    network = read_network(data)
    networks[network.name] = path, network
    return f"network {network.name}", []


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_READ)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}") from None


def _unknown_portgroups(networks: dict[str, tuple[Path, Network]], nics: list[tuple[Path, Nic]]) -> list[tuple[Path, str]]:
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

    path: Path
    owner: str
    address: IpPrefix
    bound: bool = False
    """Whether the network says so, and not the NIC."""

    def __str__(self) -> str:
        element = f"<vnet:binding mac='{self.owner}'" if self.bound else "<vnet:address"
        return f"{element} address='{names.written(self.address)}'>"


def _shared_addresses(
    paths: Sequence[Path], networks: dict[str, tuple[Path, Network]], nics: list[tuple[Path, Nic]]
) -> list[tuple[Path, str]]:
    """An address that two NICs of a network have is a fault of the file that is given later."""
    order = {path: number for number, path in enumerate(paths)}
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


def _claims(networks: dict[str, tuple[Path, Network]], nics: list[tuple[Path, Nic]]) -> dict[str, list[_Claim]]:
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
