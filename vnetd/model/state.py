"""The two states, desired and observed, in the same values so that they can be held together.

``Desired`` is what the sources ask for; ``Rows``, ``Tables`` and ``Links`` are
what OVSDB, the switch and the kernel say. Whose a row is stands on the row itself:
``OWNER`` on a bridge names its network, ``ROLE`` on a port says what it is there for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from vnetd.model.dataplane import DataPlane
from vnetd.model.judge import Judge
from vnetd.model.names import IpAddress, IpInterface, IpPrefix, Mac
from vnetd.model.network import Guard, Network, OverlayType, Problem, Vlan
from vnetd.model.shaping import Leaf

OWNER = "vnetd-network"
ROLE = "vnetd-role"
TUNNELS = "tunnels"
"""The value of ``OWNER`` on the one bridge that carries every overlay."""


FRAGMENTS = "nx-match"
"""How vnetd's bridges handle IP fragments: flows see the ports of a first fragment, and tell it from later ones."""


class Role(StrEnum):
    """What a port is in a bridge for."""

    GUEST = "guest"
    UPLINK = "uplink"
    BOND = "bond"
    PATCH = "patch"
    TUNNEL = "tunnel"


@dataclass(frozen=True, slots=True)
class Bridge:
    """A bridge of vnetd's; ``owner`` is its network's UUID, or ``TUNNELS``. A bond's bridge has its network's, too.

    The own port of a ``sealed`` one is in no VLAN that a frame may have, and what NORMAL learns there does not last.
    """

    name: str
    owner: str
    datapath: str
    sealed: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """linux-htb on a port, toward the guest: bit/s, bit/s and bit (ovs-vswitchd.conf.db(5), QoS)."""

    min_rate: int
    max_rate: int
    burst: int | None = None


@dataclass(frozen=True, slots=True)
class Port:
    """A port with its one interface, or a bond with its ``members``. ``ids`` must be on the Interface row; others may be too.

    ``bond`` holds columns of the Port row and their values.
    """

    name: str
    bridge: str
    role: Role
    type: str = ""
    options: tuple[tuple[str, str], ...] = ()
    vlan: Vlan | None = None
    ids: tuple[tuple[str, str], ...] = ()
    mtu: int | None = None
    shape: Shape | None = None
    policing: int = 0
    members: tuple[str, ...] = ()
    bond: tuple[tuple[str, str], ...] = ()
    bfd: tuple[tuple[str, str], ...] = ()
    """How a tunnel is watched: Interface.bfd, keys and values."""


@dataclass(frozen=True, slots=True)
class Meter:
    """What a guest may send, by the switch's own meter (OpenFlow 1.3, 5.7), in the units that ovs-ofctl names.

    ``rate`` and ``burst`` are kbit/s and kbit where ``unit`` is "kbps", packets/s and packets where it is "pktps".
    """

    rate: int
    burst: int
    unit: str = "kbps"

    def __str__(self) -> str:
        return f"{self.rate} {'packets/s' if self.unit == 'pktps' else 'kbit/s'}"


class GroupKind(StrEnum):
    """What a group does with its one bucket (OpenFlow 1.4, 5.6.1).

    SELECT: the frame goes through the data plane once more and is parsed anew, since that is how Open vSwitch
    comes by the hash that it chooses a bucket with. INDIRECT: what the bucket ends does not end
    the actions that follow the group.
    """

    SELECT = "select"
    INDIRECT = "indirect"


@dataclass(frozen=True, slots=True)
class Group:
    """A group with one bucket, in which the frame goes on in ``table``."""

    kind: GroupKind
    table: int

    def __str__(self) -> str:
        return f"{self.kind}, to table {self.table}"


@dataclass(frozen=True, slots=True)
class GuestWire:
    """What the pipeline must know about a guest's port. Without ``mac`` only ``guard='none'`` lets it speak."""

    port: str
    mac: Mac | None
    vlan: Vlan
    guard: Guard
    meter: Meter | None = None
    """The limit on bandwidth from the guest."""
    addresses: tuple[IpPrefix, ...] = ()
    isolated: bool = False
    flood: Meter | None = None
    neighbour: Meter | None = None
    packets: Meter | None = None
    """The limit on packets from the guest."""
    dscp: int | None = None
    """What every IP packet from the guest is marked with; None leaves what the guest wrote."""
    pools: tuple[str, ...] = ()
    """The names of the pools that the port shares in, the narrowest first."""


@dataclass(frozen=True, slots=True)
class Pool:
    """A limit that ports of one bridge share: ``inbound`` toward the guests, ``outbound`` from them.

    ``name`` is for people; ``number`` gives its meters their numbers.
    """

    name: str
    number: int
    inbound: Meter | None = None
    outbound: Meter | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What guests of this host are told when they ask everybody who has ``address``.

    ``vlan`` is the VLAN in which they are told, 0 untagged; None means in any in which ``mac`` has been heard lately.
    """

    mac: Mac
    address: IpAddress
    vlan: int | None


@dataclass(frozen=True, slots=True)
class NetworkWiring:
    """One network's bridge: its guests and the ports that lead elsewhere.

    ``uplinks`` are NICs, or the patch to a bond's bridge; ``joints`` are patches to other
    bridges of the host, that to another's overlay last, ``patches`` the one to the tunnels. ``host`` lets guests reach the
    bridge's own port; ``isolating`` is whether the network has isolated ports, here or on
    another host. ``hidden_tags``: Open vSwitch does not tell a frame with two tags from one with the first alone.
    """

    guests: tuple[GuestWire, ...] = ()
    uplinks: tuple[str, ...] = ()
    patches: tuple[str, ...] = ()
    host: bool = False
    isolating: bool = False
    joints: tuple[str, ...] = ()
    pools: tuple[Pool, ...] = ()
    answers: tuple[Answer, ...] = ()
    hidden_tags: bool = False


@dataclass(frozen=True, slots=True)
class SegmentWire:
    """One overlay on the tunnel bridge: its patch, its segment and the tunnels to its peers.

    ``isolated`` is the segment in which frames from isolated ports travel, where the network has such.
    """

    patch: str
    segment: int
    tunnels: tuple[str, ...]
    isolated: int | None = None


@dataclass(frozen=True, slots=True)
class PortFacts:
    """What ``status`` tells about a guest's port and nobody else needs."""

    guest: str
    network: str
    portgroup: str | None
    mac: Mac | None
    guard: Guard
    addresses: tuple[IpPrefix, ...] = ()
    isolated: bool = False


@dataclass(frozen=True, slots=True)
class TunnelWire:
    """What the pipeline must know about a tunnel: whether its peer is ``alive``, and how much fits through.

    ``room`` is the length in bytes of the largest frame, tags and all, that the path to the
    peer carries inside the tunnel; None where that is not known, or the underlay may fragment.
    """

    alive: bool = True
    room: int | None = None


@dataclass(frozen=True, slots=True)
class TunnelFacts:
    """A tunnel port: its ends, who and what it is for, and how it is.

    ``path_mtu`` is the largest IP packet in bytes that gets to the peer whole, None until that was measured.
    """

    type: OverlayType
    local: IpAddress
    remote: IpAddress
    peers: tuple[str, ...]
    networks: tuple[str, ...]
    watched: bool = True
    """Whether BFD tells if the peer is alive."""
    wire: TunnelWire = TunnelWire()
    path_mtu: int | None = None


@dataclass(frozen=True, slots=True)
class Desired:
    """Everything that should be, and what in the sources could not be had."""

    bridges: Mapping[str, Bridge] = field(default_factory=dict)
    ports: Mapping[str, Port] = field(default_factory=dict)
    wirings: Mapping[str, NetworkWiring] = field(default_factory=dict)
    bond_bridges: Mapping[str, str] = field(default_factory=dict)
    """The bridges that hold a bond and nothing else, each with the patch that leads to its network's bridge."""
    homes: Mapping[str, str] = field(default_factory=dict)
    """The bridge that carries each network that is served: its own, or the one of which its own is a VLAN."""
    tunnel_bridge: str = ""
    segments: tuple[SegmentWire, ...] = ()
    links_up: frozenset[str] = frozenset()
    quiet: Mapping[str, Quiet] = field(default_factory=dict)
    """Links that the kernel itself must keep out of, by how far."""
    judges: Mapping[str, Judge] = field(default_factory=dict)
    """Links at which the kernel holds each frame to a policy, before Open vSwitch or the host's own stack gets it."""
    gone_networks: frozenset[str] = frozenset()
    gone_taps: frozenset[str] = frozenset()
    complete: bool = False
    networks: Mapping[str, Network] = field(default_factory=dict)
    guests: Mapping[str, PortFacts] = field(default_factory=dict)
    tunnels: Mapping[str, TunnelFacts] = field(default_factory=dict)
    locals: Mapping[str, IpAddress] = field(default_factory=dict)
    mtus: Mapping[str, int] = field(default_factory=dict)
    """The largest packet in bytes that every port of a network can send to every living peer, by the network's name."""
    problems: tuple[Problem, ...] = ()

    def behind(self, patch: str) -> str:
        """The bridge at the other end of a patch."""
        return self.ports[dict(self.ports[patch].options)["peer"]].bridge


@dataclass(frozen=True, slots=True)
class SeenBridge:
    """A bridge as OVSDB has it; ``owner`` is empty on one that vnetd did not make."""

    name: str
    owner: str
    datapath: str
    fail_mode: str
    protocols: tuple[str, ...] = ()
    """The OpenFlow versions it speaks; none named means all."""
    sealed: bool = False
    ageing: str = ""
    """other_config:mac-aging-time, "" where nothing is written."""


@dataclass(frozen=True, slots=True)
class SeenMember:
    """One interface of a bond. ``lacp`` is whether it negotiates with its partner, None where LACP is off."""

    name: str
    ofport: int | None = None
    error: str = ""
    lacp: bool | None = None


@dataclass(frozen=True, slots=True)
class SeenPort:
    """A port as OVSDB has it. ``port.role`` is a guess on a row without vnetd's mark: see ``marked``.

    A bond has no number of its own; its ``members`` have.
    """

    port: Port
    marked: bool
    ofport: int | None = None
    error: str = ""
    members: tuple[SeenMember, ...] = ()
    bfd_state: str = ""
    """Of a tunnel that is watched: admin_down, down, init or up; "" before Open vSwitch has said."""
    bfd_why: str = ""
    """What ended the last session, in the words of RFC 5880, section 4.1."""
    bfd_heard: str = ""
    """What the peer says ended it, in the same words."""

    @property
    def live(self) -> bool:
        """Whether ovs-vswitchd has made the port, whatever the transaction said; of a bond, every member."""
        return all(number is not None and number > 0 for _, number in self.interfaces)

    @property
    def interfaces(self) -> list[tuple[str, int | None]]:
        """The interfaces of the port, each with its OpenFlow number."""
        return [(one.name, one.ofport) for one in self.members] or [(self.port.name, self.ofport)]

    @property
    def libvirts(self) -> bool:
        """Whether libvirt wrote the row, by the names of Documentation/topics/integration.rst."""
        return any(key == "vm-id" for key, _ in self.port.ids)


@dataclass(frozen=True, slots=True)
class FakeBridge:
    """A bridge that is one VLAN of another (Port.fake_bridge in ovs-vswitchd.conf.db(5), "ovs-vsctl add-br NAME PARENT VLAN")."""

    parent: str
    tag: int


@dataclass(frozen=True, slots=True)
class Rows:
    """All bridges and ports in OVSDB, vnetd's and others'; ``stray_shapes`` are QoS rows of vnetd's that no port uses."""

    bridges: Mapping[str, SeenBridge] = field(default_factory=dict)
    ports: Mapping[str, SeenPort] = field(default_factory=dict)
    stray_shapes: int = 0
    fakes: Mapping[str, FakeBridge] = field(default_factory=dict)
    vlan_limit: int | None = None
    """other_config:vlan-limit, None where nothing is written, which means 1 (ovs-vswitchd.conf.db(5))."""
    acted: bool = True
    """Whether ovs-vswitchd has acted on the rows, as far as those who wrote them have asked it to."""
    restoring: bool = False
    """Whether an ovs-vswitchd that starts waits for its flows to be put back (other_config:flow-restore-wait)."""

    def numbers(self, bridge: str) -> dict[str, int]:
        """OpenFlow port numbers of the live interfaces of ``bridge``: a bond's members have one each."""
        found = {}
        for seen in self.ports.values():
            if seen.port.bridge == bridge:
                found.update({name: number for name, number in seen.interfaces if number is not None and number > 0})
        return found


@dataclass(frozen=True, slots=True)
class Table:
    """The flows, meters and groups of one bridge, and what it makes of fragments (``ovs-ofctl get-frags``).

    Flows are as the switch prints them; of the groups only those are here that are of the form of ``Group``.
    """

    flows: frozenset[str] = frozenset()
    meters: Mapping[int, Meter] = field(default_factory=dict)
    fragments: str = FRAGMENTS
    groups: Mapping[int, Group] = field(default_factory=dict)


class Quiet(StrEnum):
    """How far the kernel's own network stack keeps off a link; PORT is the stricter one.

    BRIDGE: no link-local address, and no router's announcement is believed; addresses that people give it stay.
    PORT: no IPv6 at all, and no frame that a guest sends there gets into the host's stack.
    """

    BRIDGE = "bridge"
    PORT = "port"


@dataclass(frozen=True, slots=True)
class Link:
    """A network device of the kernel's; ``index`` tells it from a later one of the same name, 0 where unknown.

    ``quiet`` is the strictest level of ``Quiet`` that it has, "" for none. ``carrier`` is whether there is a signal on the wire.
    ``judge`` is the digest of its judge, "" for none; ``outrun`` is whether a filter of somebody else's stands before that.
    """

    up: bool
    index: int = 0
    quiet: str = ""
    carrier: bool = True
    judge: str = ""
    outrun: bool = False

    def is_quiet(self, level: str) -> bool:
        """Whether it is at least this quiet: somebody may have turned IPv6 off on a bridge altogether."""
        return self.quiet in (level, Quiet.PORT)


@dataclass(frozen=True, slots=True)
class Path:
    """The way to a remote: bytes of the largest IP packet that gets there unfragmented, and the round trip in milliseconds.

    The round trip is None where the path is known from before this process, and has not been measured since.
    """

    mtu: int
    rtt_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Learned:
    """What was found out by asking, and takes time to find out anew: path MTUs in bytes by remote, and addresses by host name.

    ``silent`` are remotes that answer no probe, ``failing`` names that cannot be looked up now, and why.
    """

    paths: Mapping[IpAddress, int] = field(default_factory=dict)
    names: Mapping[str, tuple[IpAddress, ...]] = field(default_factory=dict)
    silent: frozenset[IpAddress] = frozenset()
    failing: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Host:
    """What this host is: its addresses, its links, the NIC of its default route and its settings."""

    addresses: frozenset[IpAddress] = frozenset()
    links: Mapping[str, Link] = field(default_factory=dict)
    default_route: frozenset[str] = frozenset()
    datapath: str = "system"
    tunnel_bridge: str = "br-tun"
    local_address: IpAddress | None = None
    carried: Mapping[str, tuple[IpInterface, ...]] = field(default_factory=dict)
    """The addresses of each link that has any."""
    learned: Learned = Learned()
    dataplane: DataPlane = field(default_factory=DataPlane)
    """What the data plane can do; an empty value before it has a bridge of vnetd's."""


@dataclass(frozen=True, slots=True)
class Observed:
    """One look at the world."""

    rows: Rows
    tables: Mapping[str, Table]
    host: Host
    silent: Mapping[str, str] = field(default_factory=dict)
    """Bridges of vnetd's whose tables could not be read, and why."""
    leaves: Mapping[str, Leaf] = field(default_factory=dict)
    """The queues of limited links in the userspace datapath, where tc limits them already."""
