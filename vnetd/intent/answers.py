"""Which bindings a host answers for, when a guest of its own asks everybody who has an address."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from vnetd.intent.draft import Draft, Wires
from vnetd.model.names import IpAddress, IpPrefix, Mac
from vnetd.model.network import UNTAGGED, Network, Vlan, VlanMode
from vnetd.model.state import Answer


def add_answers(draft: Draft) -> None:
    """For every bridge with an overlay whose responder is on. Comes after the guests, whose VLANs are asked for."""
    for wires in draft.wires.values():
        home = wires.networks[0]
        # Behind a service VLAN's tag each customer has addresses of its own.
        nested = any(group.qinq is not None for network in wires.networks for group in network.portgroups)
        if home.overlay is not None and home.overlay.responder and not nested:
            found = [one for network in wires.networks for one in _of(draft, wires, network)]
            # A network gives no address to two, and the order of its bindings is the same on every run.
            wires.answers = tuple(found) if len(wires.networks) == 1 else _undisputed(found)


def _of(draft: Draft, wires: Wires, network: Network) -> Iterator[Answer]:
    """One for each address that a network binds; a prefix may hold many that nobody has."""
    vlan = draft.tags[network.name] if network.name in draft.tags else _only_vlan(draft, wires, network)
    for binding in network.bindings:
        prefix = binding.address
        if prefix.prefixlen == prefix.max_prefixlen and not _is_link_local(prefix):
            yield Answer(binding.mac, prefix.network_address, vlan)


def _is_link_local(prefix: IpPrefix) -> bool:
    """As the standard library says it, in a tenth of the time."""
    value = int(prefix.network_address)
    return value >> 118 == 0xFE80 >> 6 if prefix.version == 6 else value >> 16 == 0xA9FE


def _only_vlan(draft: Draft, wires: Wires, network: Network) -> int | None:
    """The one VLAN that the network's ports can be in, as far as its XML and this host's guests say; 0 is untagged."""
    wider = network.vlan or UNTAGGED
    places: set[Vlan] = {group.vlan or wider for group in network.portgroups}
    if network.portgroup(None) is None:
        places.add(wider)
    places.update(guest.vlan for guest in wires.guests if draft.guests[guest.port].network == network.name)
    (first, *others) = places
    return None if others or first.mode is not VlanMode.ACCESS else first.tag or 0


def _undisputed(answers: Iterable[Answer]) -> tuple[Answer, ...]:
    """Without those that two networks of one VLAN give to two MACs: whoever has the address may say so itself."""
    found: dict[tuple[int | None, IpAddress], set[Mac]] = {}
    for one in answers:
        found.setdefault((one.vlan, one.address), set()).add(one.mac)
    sole = [Answer(next(iter(macs)), address, vlan) for (vlan, address), macs in found.items() if len(macs) == 1]
    return tuple(sorted(sole, key=lambda one: (one.address.version, int(one.address), -1 if one.vlan is None else one.vlan)))
