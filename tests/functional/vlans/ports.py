"""The matrix's networks and ports: for every VLAN mode two ports on hv1, of which one sends, and one on hv2."""

from __future__ import annotations

from dataclasses import dataclass

from vlans.rules import C_TAG, Mode

HOSTS = ("hv1", "hv2")

PLAIN = (
    Mode("untagged"),
    Mode("access-10", tag=10),
    Mode("access-20", tag=20),
    Mode("trunk", "trunk", trunks=(10, 20)),
    Mode("native-tagged", "native-tagged", 10, (10, 20)),
    Mode("native-untagged", "native-untagged", 10, (10, 20)),
)
SERVICE = (
    Mode("access-100", tag=100),
    Mode("trunk-100", "trunk", trunks=(10, 100)),
    Mode("tunnel-some", "dot1q-tunnel", 100, customers=(10, 20)),
    Mode("tunnel-all", "dot1q-tunnel", 100),
    Mode("tunnel-8100", "dot1q-tunnel", 100, tpid=C_TAG),
)
"""Ports of service VLAN 100: as its operator sees it, and as its customers do."""


@dataclass(frozen=True, slots=True)
class Port:
    """A tap that the test holds the other end of."""

    mode: Mode
    host: str
    sends: bool
    number: int
    """Unlike any other port's of all networks."""

    @property
    def tap(self) -> str:
        return f"mx{self.number}"

    @property
    def mac(self) -> str:
        return f"52:54:00:b4:00:{self.number:02x}"

    @property
    def name(self) -> str:
        return f"{self.mode.name} on {self.host}"

    def xml(self, network: str) -> str:
        """The tap's own file. A burst of the matrix is no flood."""
        return f"""<interface type='network'><mac address='{self.mac}'/><source network='{network}' portgroup='{self.mode.name}'/>
  <vnet:interface xmlns:vnet='urn:vnetd:domain:1'><vnet:policy guard='mac' flood='none' neighbour='none'/></vnet:interface>
</interface>"""


@dataclass(frozen=True, slots=True)
class Arena:
    """A network and how it gets from host to host."""

    name: str
    way: str
    ports: tuple[Port, ...]

    def xml(self) -> str:
        modes = tuple(dict.fromkeys(port.mode for port in self.ports))
        return f"""<network><name>{self.name}</name>
  <metadata><vnet:network xmlns:vnet='urn:vnetd:network:1'>{_WAYS[self.way]}{"".join(map(_ours, modes))}</vnet:network></metadata>
  <forward mode='bridge'/><bridge name='br-{self.name}'/><virtualport type='openvswitch'/>
  {"".join(map(_portgroup, modes))}
</network>"""


def arenas(modes: tuple[Mode, ...]) -> tuple[Arena, ...]:
    """A network for each way between the hosts, each with all ports."""
    found, number = [], 0
    for way in ("uplink", "gre"):
        ports = []
        for mode in modes:
            for host, sends in (("hv1", True), ("hv1", False), ("hv2", False)):
                number += 1
                ports.append(Port(mode, host, sends, number))
        found.append(Arena(f"by-{way}", way, tuple(ports)))
    return tuple(found)


_WAYS = {
    "uplink": "<vnet:uplink dev='eth1'/>",
    "gre": """<vnet:overlay type='gre' segment='7'>
      <vnet:peer name='hv1' address='192.0.2.11'/><vnet:peer name='hv2' address='192.0.2.12'/></vnet:overlay>""",
    "joint": "<vnet:patch bridge='br-by-gre'/>",
    "far": "<vnet:patch bridge='br-by-joint'/>",
}


def _portgroup(mode: Mode) -> str:
    """libvirt's own element."""
    native = f" nativeMode='{mode.kind.removeprefix('native-')}'" if mode.kind.startswith("native-") else ""
    tags = "".join(f"<tag id='{number}'{native if number == mode.tag else ''}/>" for number in mode.trunks)
    if not mode.trunks and mode.tag is not None:
        tags = f"<tag id='{mode.tag}'/>"
    vlan = f"<vlan{' trunk=' + repr('yes') if mode.trunks else ''}>{tags}</vlan>" if tags else ""
    return f"<portgroup name='{mode.name}'>{vlan}</portgroup>\n  "


def _ours(mode: Mode) -> str:
    """What libvirt's element cannot say."""
    if not mode.tunnel:
        return ""
    customers = "".join(f"<vnet:tag id='{number}'/>" for number in mode.customers)
    tpid = " ethertype='802.1q'" if mode.tpid == C_TAG else ""
    return f"<vnet:portgroup name='{mode.name}'><vnet:vlan mode='dot1q-tunnel'{tpid}>{customers}</vnet:vlan></vnet:portgroup>"
