"""``vnetctl validate``: files read as vnetd would, offline, and held against each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vnetd.errors import InputError
from vnetd.model import names
from vnetd.model.network import Network, Nic
from vnetd.xmlread import read_domain, read_interface, read_network, root_of

MAX_READ = 4 * 1024 * 1024 + 1


def validate(paths: Sequence[Path]) -> list[tuple[Path, str, str | None]]:
    """(file, what it is, what is wrong or None) for each file and each thing wrong with it."""
    found: list[tuple[Path, str, str | None]] = []
    networks: dict[str, Network] = {}
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
    wrong = _cross_check(networks, nics)
    return [row for row in found if row[2] is not None or row[0] not in {path for path, _ in wrong}] + [
        (path, "", text) for path, text in wrong
    ]


def _read(path: Path, networks: dict[str, Network], nics: list[tuple[Path, Nic]]) -> tuple[str, list[str]]:
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
    networks[network.name] = network
    return f"network {network.name}", []


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_READ)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}") from None


def _cross_check(networks: dict[str, Network], nics: list[tuple[Path, Nic]]) -> list[tuple[Path, str]]:
    wrong = []
    for path, nic in nics:
        network = networks.get(nic.network or "")
        if network is not None and nic.portgroup is not None and network.portgroup(nic.portgroup) is None:
            known = ", ".join(group.name for group in network.portgroups) or "none"
            wrong.append(
                (path, f"<source portgroup={names.shown(nic.portgroup)}>: network {network.name} has no such portgroup; it has {known}")
            )
    return wrong
