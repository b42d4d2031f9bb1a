"""``vnetctl lint`` without files: this host's own definitions, and what is done with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from vnetd.errors import InputError
from vnetd.lint import Finding, Lint, Underlay
from vnetd.model.names import shown
from vnetd.model.network import Nic
from vnetd.model.shaping import Mtus
from vnetd.model.state import Desired, Observed
from vnetd.readback import differences
from vnetd.shaping import Tc, guest_links
from vnetd.validate import Place, Text, read, texts_of
from vnetd.xmlread import is_vnetd_network, read_domain, read_network


class Links(Tc, Protocol):
    """And links' MTUs."""

    def mtus(self) -> Mtus: ...


class Definitions(Protocol):
    """libvirt: XML by name. ``networks`` are those that run, ``guests`` all, and ``running`` has guests as they are now."""

    @property
    def networks(self) -> Mapping[str, bytes]: ...

    @property
    def guests(self) -> Mapping[str, bytes]: ...

    @property
    def running(self) -> Mapping[str, bytes]: ...


def lint_host(
    desired: Desired, observed: Observed, tc: Links, definitions: Definitions, taps: list[Path], underlay: Underlay | None
) -> list[Finding]:
    """The traps in what is defined here for vnetd, then all that is done otherwise than it was asked. Raises WorldError."""
    mtus = tc.mtus()
    seen = tc.taps(guest_links(desired, observed))
    written = _lint(definitions, taps, lambda network: underlay or underlay_of(network, desired, mtus)).findings()
    return written + [Finding(f"{one.kind} {one.name}", one.text) for one in differences(desired, observed, seen, mtus)]


def underlay_of(network: str, desired: Desired, mtus: Mtus) -> Underlay:
    """What the paths to the network's living peers carry; while none was measured, the NIC with this host's address in the overlay."""
    mine = [facts for facts in desired.tunnels.values() if network in facts.networks and facts.wire.alive]
    measured = [(facts.path_mtu, facts) for facts in mine if facts.path_mtu is not None]
    if measured:
        mtu, worst = min(measured, key=lambda one: one[0])
        return Underlay(mtu, f"a path of {{mtu}} to {', '.join(worst.peers)}")
    local = desired.locals.get(network)
    link = mtus.homes.get(local) if local is not None else None
    if link is None or link not in mtus.links:
        return Underlay()
    return Underlay(mtus.links[link], f"{link}, whose MTU is {{mtu}}")


def _lint(definitions: Definitions, taps: list[Path], underlay: Callable[[str], Underlay]) -> Lint:
    networks = {name: data for name, data in definitions.networks.items() if is_vnetd_network(data)}
    bridges = {bridge for data in networks.values() if (bridge := _bridge_of(data)) is not None}
    texts = [Text(_place("network", name), data) for name, data in sorted(networks.items())]
    texts += (Text(_place("guest", name), data) for name, data in sorted(definitions.guests.items()))
    texts += texts_of(taps)
    reading = read(texts, lambda network, bridge: network in networks or bridge in bridges)
    reading.judged = True
    known: dict[Place, set[str | None]] = {}
    for place, nic in reading.nics:
        known.setdefault(place, set()).add(nic.mac)
    for name, data in sorted(definitions.running.items()):
        place = _place("guest", name)
        reading.nics += ((place, nic) for nic in _nics_of(data) if nic.mac not in known.get(place, ()))
    # A NIC on somebody else's network is nobody's rival here.
    reading.nics = [
        (place, nic) for place, nic in reading.nics if nic.network in networks or nic.bridge in bridges or (nic.tap and not nic.network)
    ]
    return Lint(texts, reading, underlay, stranger=False)


def _place(kind: str, name: str) -> str:
    return f"{kind} {shown(name)[1:-1]}"


def _bridge_of(network: bytes) -> str | None:
    try:
        return str(read_network(network).bridge)
    except InputError:
        return None


def _nics_of(guest: bytes) -> tuple[Nic, ...]:
    try:
        return read_domain(guest).domain.nics
    except InputError:
        return ()
