"""What the XML says: networks, portgroups and the NICs of guests, as values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from vnetd.model.names import HostName, IfName, IpAddress, IpPrefix, Mac


class VlanMode(StrEnum):
    """How a port treats 802.1Q tags; the words are OVS's own (Port.vlan_mode)."""

    ACCESS = "access"
    TRUNK = "trunk"
    NATIVE_TAGGED = "native-tagged"
    NATIVE_UNTAGGED = "native-untagged"
    DOT1Q_TUNNEL = "dot1q-tunnel"


@dataclass(frozen=True, slots=True)
class Vlan:
    """A port's VLANs. ``tag`` is the access, native or service VLAN ID; only trunks have ``trunks``.

    ``customers`` are the customer VLANs that may pass inside the service VLAN of a
    dot1q-tunnel port (IEEE 802.1Q, 802.1ad); none named means all, and untagged frames
    too. ``tpid`` is the EtherType of the tag that the port's frames get.
    """

    mode: VlanMode
    tag: int | None = None
    trunks: tuple[int, ...] = ()
    customers: tuple[int, ...] = ()
    tpid: int = 0x8100

    def __str__(self) -> str:
        if self.mode is VlanMode.DOT1Q_TUNNEL:
            inside = f" for customer VLANs {','.join(map(str, self.customers))}" if self.customers else ""
            return f"dot1q-tunnel {self.tag}{inside}"
        if self.mode is VlanMode.ACCESS:
            return f"VLAN {self.tag}" if self.tag else "untagged"
        native = f", {self.mode} {self.tag}" if self.tag else ""
        return f"trunk {','.join(map(str, self.trunks))}{native}"


@dataclass(frozen=True, slots=True)
class QinQ:
    """What makes a portgroup's access ports dot1q-tunnel ports: see ``Vlan``."""

    customers: tuple[int, ...] = ()
    tpid: int = 0x88A8


UNTAGGED = Vlan(VlanMode.ACCESS)
"""A guest port that no XML puts into a VLAN: untagged frames only, never a trunk by omission."""


@dataclass(frozen=True, slots=True)
class Rate:
    """One direction of libvirt's ``<bandwidth>``: kilobytes/s, kilobytes/s and KiB."""

    average: int
    peak: int | None = None
    burst: int | None = None


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """``inbound`` is toward the guest, ``outbound`` from it, as in libvirt."""

    inbound: Rate | None = None
    outbound: Rate | None = None


@dataclass(frozen=True, slots=True)
class Qos:
    """vnetd's own limits and marks for what a guest sends; ``None`` leaves the choice to the next wider place.

    ``pps`` is packets/s, 0 for no limit. ``dscp`` (0 to 63, RFC 2474) is written into every
    IP packet; where there is none, ``trust`` says whether what the guest wrote there stays.
    """

    pps: int | None = None
    dscp: int | None = None
    trust: bool | None = None


class Guard(StrEnum):
    """What a guest port is held to: its MAC, VLAN and IP addresses; its MAC and VLAN; or its VLAN alone."""

    STRICT = "strict"
    MAC = "mac"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Policy:
    """vnetd's rules for a port; ``None`` leaves the choice to the next wider place.

    ``flood`` and ``neighbour`` are packets/s that one port may send: to everybody
    (broadcast, multicast, and unicast that nobody is known for), and of ARP, RARP and
    neighbour discovery; 0 is no limit. ``isolated`` is said of a network or a
    portgroup, since other hosts must know it too; ``host``, of a network alone, lets
    guests reach the bridge's own port.
    """

    guard: Guard | None = None
    isolated: bool | None = None
    flood: int | None = None
    neighbour: int | None = None
    host: bool | None = None


@dataclass(frozen=True, slots=True)
class Binding:
    """That the guest NIC with this MAC owns this address or prefix, said once for all hosts."""

    mac: Mac
    address: IpPrefix


class OverlayType(StrEnum):
    """Tunnel protocols, as OVS names its interface types (RFC 2784/2890, RFC 7348, RFC 8926)."""

    GRE = "gre"
    VXLAN = "vxlan"
    GENEVE = "geneve"

    @property
    def segment_limit(self) -> int:
        """The largest segment: a GRE key has 32 bits, a VNI 24."""
        return 0xFFFF_FFFF if self is OverlayType.GRE else 0xFF_FFFF


@dataclass(frozen=True, slots=True)
class Peer:
    """A hypervisor of an overlay and the address its tunnels end at (its VTEP), or the name that this is looked up by."""

    name: str
    address: IpAddress | HostName


@dataclass(frozen=True, slots=True)
class Encapsulation:
    """How packets are put into tunnels; ``None`` is Open vSwitch's own way (ovs-vswitchd.conf.db(5), options of tunnels).

    ``csum``: a checksum over what is inside (RFC 2784; UDP's for VXLAN and Geneve). ``df``: the outer
    packet must not be fragmented. ``ttl`` (1 to 255) and ``tos`` (0 to 252, the ECN bits
    zero) are numbers, or "inherit" for those of the packet inside.
    """

    csum: bool | None = None
    df: bool | None = None
    ttl: str | None = None
    tos: str | None = None

    @property
    def options(self) -> tuple[tuple[str, str], ...]:
        """What of it is said, as keys and values of Interface.options."""
        flags = (("csum", self.csum), ("df_default", self.df))
        words = [(key, "true" if flag else "false") for key, flag in flags if flag is not None]
        return (*words, *((key, text) for key, text in (("tos", self.tos), ("ttl", self.ttl)) if text is not None))


@dataclass(frozen=True, slots=True)
class Bfd:
    """How a tunnel is watched (RFC 5880): a packet each ``interval`` ms; after ``multiplier`` of them missed the peer is dead."""

    interval: int = 300
    multiplier: int = 3


@dataclass(frozen=True, slots=True)
class Overlay:
    """A network's tunnel mesh: one segment among all peers, this host included."""

    type: OverlayType
    segment: int
    peers: tuple[Peer, ...]
    encapsulation: Encapsulation = Encapsulation()
    bfd: Bfd | None = Bfd()
    """None where nobody watches the tunnels, and all peers are held to be alive."""
    responder: bool = True
    """Whether each host answers for the network's bindings when its guests ask who has an address."""

    @property
    def isolated_segment(self) -> int:
        """The segment for frames from isolated ports: this one with its highest bit turned over."""
        return self.segment ^ ((self.type.segment_limit + 1) >> 1)


class BondMode(StrEnum):
    """How a bond shares its frames among its NICs; the words are OVS's own (Port.bond_mode)."""

    ACTIVE_BACKUP = "active-backup"
    BALANCE_SLB = "balance-slb"
    BALANCE_TCP = "balance-tcp"


class Lacp(StrEnum):
    """Whether a bond negotiates with the physical switch (IEEE 802.1AX); the words are OVS's own (Port.lacp)."""

    OFF = "off"
    ACTIVE = "active"
    PASSIVE = "passive"


@dataclass(frozen=True, slots=True)
class Bond:
    """What makes several NICs one uplink; ``name`` is its port's."""

    name: IfName
    mode: BondMode = BondMode.ACTIVE_BACKUP
    lacp: Lacp = Lacp.OFF


@dataclass(frozen=True, slots=True)
class Uplink:
    """The NIC that joins the bridge, or those of a ``bond``. ``force`` allows the one that carries the default route."""

    devs: tuple[IfName, ...]
    force: bool = False
    bond: Bond | None = None


@dataclass(frozen=True, slots=True)
class PortGroup:
    """A libvirt ``<portgroup>`` and what vnetd's element of the same name adds to it."""

    name: str
    default: bool = False
    vlan: Vlan | None = None
    bandwidth: Bandwidth = Bandwidth()
    policy: Policy = Policy()
    qinq: QinQ | None = None
    qos: Qos = Qos()
    aggregate: Bandwidth = Bandwidth()
    """What all its ports of one host share; only averages and bursts."""


@dataclass(frozen=True, slots=True)
class Network:
    """A libvirt network that carries ``<vnet:network>``; ``uuid`` is empty before libvirt has given one."""

    name: str
    uuid: str
    bridge: IfName
    vlan: Vlan | None = None
    portgroups: tuple[PortGroup, ...] = ()
    overlay: Overlay | None = None
    uplink: Uplink | None = None
    policy: Policy = Policy()
    bindings: tuple[Binding, ...] = ()
    patches: tuple[IfName, ...] = ()
    """Other bridges of the host that its bridge is joined to."""
    qos: Qos = Qos()
    aggregate: Bandwidth = Bandwidth()
    """What all its ports of one host share; only averages and bursts."""

    @property
    def isolating(self) -> bool:
        """Whether any of its ports may be isolated, on this host or another: the network's own XML says so."""
        return bool(self.policy.isolated) or any(group.policy.isolated for group in self.portgroups)

    def portgroup(self, name: str | None) -> PortGroup | None:
        """The portgroup called ``name``, or the default one for ``None``, or ``None``."""
        for group in self.portgroups:
            if group.name == name or (name is None and group.default):
                return group
        return None


@dataclass(frozen=True, slots=True)
class Nic:
    """One NIC that asks for a port: from a domain, a libvirt network port or a tap's own file.

    ``network`` or ``bridge`` says where; ``tap`` is known once the NIC exists.
    ``iface_id`` is libvirt's interfaceid, by which a tap is found in OVSDB.
    """

    mac: Mac | None
    network: str | None = None
    bridge: IfName | None = None
    portgroup: str | None = None
    tap: IfName | None = None
    iface_id: str | None = None
    portid: str | None = None
    vlan: Vlan | None = None
    bandwidth: Bandwidth = Bandwidth()
    mtu: int | None = None
    policy: Policy = Policy()
    qos: Qos = Qos()
    settled: frozenset[str] = frozenset()
    """Of "vlan" and "bandwidth", what libvirt has settled for this NIC alone: its portgroup has no say in it, even where it is empty."""
    addresses: tuple[IpPrefix, ...] = ()
    """What ``<vnet:address>`` gives it; its network's bindings come on top."""
    owner: str = ""
    owner_uuid: str | None = None
    ifindex: int | None = None
    """The kernel's number of the tap that ovs-ifup was called for: a later tap of that name has another."""


@dataclass(frozen=True, slots=True)
class Domain:
    """A guest and those of its NICs that may be vnetd's."""

    name: str
    uuid: str
    nics: tuple[Nic, ...] = ()


@dataclass(frozen=True, slots=True)
class NetworkPort:
    """libvirt's ``<networkport>``: a NIC announced before (or without) its domain's XML."""

    portid: str
    nic: Nic


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """What is wrong with one object, in words: ``kind`` is network, guest, port, tunnel, bridge, switch or source.

    A ``soft`` one is worth knowing and no reason to refuse the object.
    """

    kind: str
    name: str
    text: str
    soft: bool = False

    def __str__(self) -> str:
        return f"{self.kind} {self.name}: {self.text}"


@dataclass(frozen=True, slots=True)
class Inventory:
    """All that the sources say at one moment; ``gone_*`` is what they just said is no more."""

    networks: tuple[Network, ...] = ()
    nics: tuple[Nic, ...] = ()
    gone_networks: frozenset[str] = frozenset()
    gone_taps: frozenset[str] = frozenset()
    complete: bool = False
    problems: tuple[Problem, ...] = ()
