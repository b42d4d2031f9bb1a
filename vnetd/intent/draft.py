"""Desired state in the making: what has been decided so far, and who may have what."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from vnetd.errors import WorldError
from vnetd.judge.host import host_judge
from vnetd.model.dataplane import USERSPACE
from vnetd.model.judge import Judge
from vnetd.model.names import IpAddress, IpPrefix, Mac
from vnetd.model.network import Inventory, Network, Overlay, OverlayType, Problem, Vlan
from vnetd.model.state import (
    TUNNELS,
    Answer,
    Bridge,
    Desired,
    GuestWire,
    Host,
    NetworkWiring,
    Port,
    PortFacts,
    Quiet,
    Role,
    Rows,
    SeenPort,
    SegmentWire,
    TunnelFacts,
)
from vnetd.mtu import tunnel_words, within
from vnetd.policy import pools_of


@dataclass
class Wires:
    """One bridge's wiring in the making. ``networks`` has its own network first, then those of its VLANs."""

    networks: list[Network]
    guests: list[GuestWire] = field(default_factory=list)
    uplinks: list[str] = field(default_factory=list)
    patches: list[str] = field(default_factory=list)
    joints: list[str] = field(default_factory=list)
    way_out: str = ""
    """The joint that leads to the overlay of what is joined."""
    answers: tuple[Answer, ...] = ()

    def finished(self, hidden_tags: bool) -> NetworkWiring:
        return NetworkWiring(
            guests=tuple(sorted(self.guests, key=lambda wire: wire.port)),
            uplinks=tuple(sorted(self.uplinks)),
            patches=tuple(sorted(self.patches)),
            host=bool(self.networks[0].policy.host),
            isolating=any(network.isolating for network in self.networks),
            joints=tuple(sorted(self.joints, key=lambda name: (name == self.way_out, name))),
            pools=tuple(pool for network in self.networks for pool in pools_of(network)),
            answers=self.answers,
            hidden_tags=hidden_tags,
        )


@dataclass(frozen=True)
class Carrier:
    """What carries a bridge's frames to other hosts, and the largest frame in bytes, tags and all."""

    network: str
    overlay: Overlay
    version: int
    room: int

    def fits(self, vlan: Vlan) -> int:
        """The largest packet in bytes of a port in this VLAN."""
        return self.room - within(vlan)

    def words(self, vlan: Vlan) -> str:
        """What it is, for people."""
        return tunnel_words(self.overlay, vlan, self.version)


@dataclass
class Draft:
    """Everything that was decided for this host so far."""

    host: Host
    rows: Rows
    inventory: Inventory
    problems: list[Problem] = field(default_factory=list)
    networks: dict[str, Network] = field(default_factory=dict)
    by_bridge: dict[str, Network] = field(default_factory=dict)
    homes: dict[str, str] = field(default_factory=dict)
    tags: dict[str, int] = field(default_factory=dict)
    """The VLAN of each network whose bridge is a VLAN of another's, by the network's name."""
    bridges: dict[str, Bridge] = field(default_factory=dict)
    bond_bridges: dict[str, str] = field(default_factory=dict)
    ports: dict[str, Port] = field(default_factory=dict)
    nics: dict[str, str] = field(default_factory=dict)
    """The NICs that are uplinks, each with the network's bridge that it is for."""
    wires: dict[str, Wires] = field(default_factory=dict)
    bound: dict[str, Mapping[Mac, Sequence[IpPrefix]]] = field(default_factory=dict)
    segments: dict[tuple[OverlayType, int], tuple[Network, SegmentWire]] = field(default_factory=dict)
    claims: dict[tuple[str, Vlan, Mac | IpPrefix], str] = field(default_factory=dict)
    links_up: set[str] = field(default_factory=set)
    guests: dict[str, PortFacts] = field(default_factory=dict)
    tunnels: dict[str, TunnelFacts] = field(default_factory=dict)
    deciders: dict[str, tuple[Network, Overlay]] = field(default_factory=dict)
    """Of the networks that share a tunnel, the first: its overlay says how packets are put into it, and how it is watched."""
    locals: dict[str, IpAddress] = field(default_factory=dict)
    carriers: dict[str, Carrier] = field(default_factory=dict)
    """The measured overlay of each bridge that has one."""
    mtus: dict[str, int] = field(default_factory=dict)
    judges: dict[str, Judge] = field(default_factory=dict)

    def attempt(self, kind: str, name: str, action: Callable[[], None]) -> None:
        """Run ``action``; what it raises is a problem of this object alone."""
        try:
            action()
        except WorldError as error:
            self.problems.append(Problem(kind, name, str(error)))

    def notice(self, kind: str, name: str, text: str) -> None:
        """Something to know that stops nothing."""
        self.problems.append(Problem(kind, name, text, soft=True))

    def add_patch(self, one: tuple[str, str], other: tuple[str, str]) -> None:
        """A patch pair; each end is (port, bridge). Raises WorldError where somebody else has a port of that name."""
        for name, _ in (one, other):
            seen = self.rows.ports.get(name)
            if seen is not None and not seen.marked:
                raise WorldError(f"a port called {name} is in bridge {seen.port.bridge} already, by hand; remove it there first")
        for (name, bridge), (peer, _) in ((one, other), (other, one)):
            self.ports[name] = Port(name, bridge, Role.PATCH, "patch", (("peer", peer),))

    def is_the_hosts(self, bridge: str) -> bool:
        """Whether the host itself may live on this bridge, with addresses and routes of its own, and guests cannot reach it there."""
        network = self.by_bridge.get(bridge)
        return network is not None and network.uplink is not None and not network.policy.host

    @cached_property
    def holders(self) -> Mapping[str, SeenPort]:
        """The port that has each interface in Open vSwitch."""
        return {name: seen for seen in self.rows.ports.values() for name, _ in seen.interfaces}

    @cached_property
    def known(self) -> Mapping[str, Network]:
        """Every network that a source has named, by what stands as the owner on its bridges."""
        return {network.uuid or network.name: network for network in self.inventory.networks}

    @cached_property
    def complete(self) -> bool:
        """Whether nobody is unknown: while OVSDB has a bridge whose network no source has named, more may be."""
        owners = {seen.owner for seen in self.rows.bridges.values() if seen.owner not in ("", TUNNELS)}
        return self.inventory.complete or owners - self.known.keys() <= self.inventory.gone_networks

    def owner_of(self, bridge: str) -> str:
        """Whose bridge it is; nobody's of vnetd's is ""."""
        seen = self.rows.bridges.get(bridge)
        return seen.owner if seen is not None else ""

    def is_gone(self, owner: str) -> bool:
        """Whether the network that has a bridge is no more, and what it had may be taken."""
        if owner in ("", TUNNELS) or owner in self.known:
            return False
        return self.complete or owner in self.inventory.gone_networks

    def is_bridge(self, name: str) -> bool:
        """Whether a bridge of Open vSwitch's has this name, and so its own port, too."""
        return name == self.host.tunnel_bridge or any(name in one for one in (self.bridges, self.rows.bridges, self.rows.fakes))

    @cached_property
    def _hidden_tags(self) -> bool:
        """Where it looks at two tags, Open vSwitch's cache gives a frame the verdict of one with the first tag alone."""
        return self.rows.vlan_limit not in (None, 1)

    def _check_settings(self) -> None:
        if not self._hidden_tags or not (self.bridges or any(seen.owner for seen in self.rows.bridges.values())):
            return
        fact = f"its other_config:vlan-limit is {self.rows.vlan_limit} and not 1, so each tagged frame is parsed twice"
        words = f"{fact}, to see whether there is another tag behind the first; ovs-vsctl remove Open_vSwitch . other_config vlan-limit"
        self.problems.append(Problem("switch", "Open vSwitch", words, soft=True))

    def _host_judges(self, wirings: Mapping[str, NetworkWiring]) -> dict[str, Judge]:
        """The bridges by which guests reach the host, and nobody else does: what an uplink brings may be for the host's tunnels."""
        return {
            bridge: host_judge()
            for bridge, wiring in wirings.items()
            if wiring.host and not wiring.uplinks and self.bridges[bridge].datapath != USERSPACE
        }

    def finish(self) -> Desired:
        self._check_settings()
        wirings = {bridge: wires.finished(self._hidden_tags) for bridge, wires in self.wires.items()}
        return Desired(
            bridges=self.bridges,
            ports=self.ports,
            wirings=wirings,
            bond_bridges=self.bond_bridges,
            homes=self.homes,
            tunnel_bridge=self.host.tunnel_bridge,
            segments=tuple(dict.fromkeys(wire for _, (_, wire) in sorted(self.segments.items(), key=lambda item: item[0]))),
            links_up=frozenset(self.links_up),
            quiet={
                **{name: Quiet.BRIDGE for name in self.bridges if not self.is_the_hosts(name)},
                **{name: Quiet.PORT for name, port in self.ports.items() if port.role is Role.GUEST},
            },
            judges={**self.judges, **self._host_judges(wirings)},
            gone_networks=self.inventory.gone_networks,
            gone_taps=self.inventory.gone_taps,
            complete=self.complete,
            networks={network.name: network for network in self.inventory.networks},
            guests=self.guests,
            tunnels=self.tunnels,
            locals=self.locals,
            mtus=self.mtus,
            problems=tuple(sorted(set(self.problems))),
        )
