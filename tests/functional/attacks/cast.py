"""Who plays: the ports of the attacks' lab, their addresses, and the XML that makes them.

P is the port under attack control. V1 and V2 are its victims; their guard is 'none',
so that nothing which left P is hidden from the test by what protects a victim.
S1 and S2 are the strict victims, for what may be sent towards one.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import ClassVar

HOSTS = ("hv1", "hv2")
ARENA, HOSTED = "arena", "hosted"

BRIDGES = {"host1": ("hv1", "br-arena"), "host2": ("hv2", "br-arena"), "hosted1": ("hv1", "br-hosted")}
"""The bridges' own ports: packet sockets of the hosts, under these names."""

BRIDGE_MACS = {name: f"52:54:00:a7:ff:{number:02x}" for number, name in enumerate(BRIDGES, 1)}
"""Stand-ins in the tables; the stage puts in the address that the bridge turns out to have."""


class Numbered:
    """Whoever has a number in the arena, and by it an address of each kind."""

    __slots__ = ()
    number: int
    series: ClassVar[int]
    """The MAC addresses' last byte but one."""

    @property
    def mac(self) -> str:
        return f"52:54:00:a7:{self.series:02x}:{self.number:02x}"

    @property
    def ip(self) -> str:
        return f"10.0.0.{self.number}"

    @property
    def ip6(self) -> str:
        return f"2001:db8:1::{self.number:x}"


def link_local(mac: str) -> str:
    """RFC 4291, appendix A: the MAC with ff:fe inside and the universal bit turned."""
    one = bytes.fromhex(mac.replace(":", ""))
    return str(IPv6Address(b"\xfe\x80" + bytes(6) + bytes([one[0] ^ 2]) + one[1:3] + b"\xff\xfe" + one[3:]))


@dataclass(frozen=True, slots=True)
class Port(Numbered):
    """A tap that the test holds the other end of."""

    series = 0

    nick: str
    host: str
    number: int
    group: str = "red"
    guard: str = "strict"
    owns: bool = True
    """Whether it has addresses of its own besides the link-local one."""
    network: str = ARENA
    limits: str = "flood='none' neighbour='none'"
    mtu: int | None = None

    @property
    def tap(self) -> str:
        return f"atk-{self.nick.lower()}"

    @property
    def link_local(self) -> str:
        return link_local(self.mac)

    def xml(self) -> str:
        """The tap's own file."""
        addresses = f"<vnet:address address='{self.ip}'/><vnet:address address='{self.ip6}'/>" if self.owns else ""
        mtu = f"<mtu size='{self.mtu}'/>" if self.mtu else ""
        return f"""<interface type='network'><mac address='{self.mac}'/><source network='{self.network}' portgroup='{self.group}'/>{mtu}
  <vnet:interface xmlns:vnet='urn:vnetd:domain:1'><vnet:policy guard='{self.guard}' {self.limits}/>{addresses}</vnet:interface>
</interface>"""


_ALL = (
    Port("P", "hv1", 1, mtu=9000),
    Port("S1", "hv1", 2, mtu=9000),
    Port("S2", "hv2", 3),
    Port("V1", "hv1", 4, guard="none", mtu=9000),
    Port("V2", "hv2", 5, guard="none"),
    Port("P0", "hv1", 6, owns=False),
    Port("T", "hv1", 7, group="both"),
    Port("W1", "hv1", 8, group="green", guard="none"),
    Port("W2", "hv2", 9, group="green", guard="none"),
    Port("I1", "hv1", 10, group="alone"),
    Port("I2", "hv1", 11, group="alone", guard="none"),
    Port("I3", "hv2", 12, group="alone", guard="none"),
    Port("H", "hv1", 13, network=HOSTED),
    Port("HV", "hv1", 14, network=HOSTED, guard="none"),
    Port("L", "hv1", 15, limits=""),
    Port("M", "hv1", 16, guard="mac"),
    Port("HM", "hv1", 17, group="plain", network=HOSTED, guard="mac"),
    Port("HT", "hv1", 18, group="both", network=HOSTED, guard="mac"),
    Port("HW", "hv1", 19, group="plain", network=HOSTED, guard="none"),
)
PORTS = {port.nick: port for port in _ALL}

RED = frozenset(port.nick for port in _ALL if port.network == ARENA and port.group in ("red", "both", "alone"))
"""Whoever may hear a broadcast of VLAN 10."""

HOSTED_RED = frozenset(port.nick for port in _ALL if port.network == HOSTED and port.group != "plain") | {"hosted1"}
"""The same in the network whose guests may reach the host."""

WITNESSES = {
    "V1": ("V2", "S1"),
    "V2": ("V1", "S2"),
    "W1": ("W2",),
    "W2": ("W1",),
    "H": ("HV",),
    "HV": ("H",),
    "HM": ("HW",),
    "HW": ("HM",),
    "HT": ("HV",),
}
"""At whom a port's sentinel must arrive; V1 and V2 for all others. One on each host that frames may leave to."""


def witnesses(nick: str) -> tuple[str, ...]:
    return WITNESSES.get(nick, ("V1", "V2"))


@dataclass(frozen=True, slots=True)
class RealGuest(Numbered):
    """A whole guest, whose addresses stand in the network as bindings."""

    series = 1

    name: str
    host: str
    number: int

    def xml(self) -> str:
        return "".join(f"<vnet:binding mac='{self.mac}' address='{address}'/>" for address in (self.ip, self.ip6))


EVE, BOB, CAROL = GUESTS = (RealGuest("eve", "hv1", 101), RealGuest("bob", "hv2", 102), RealGuest("carol", "hv1", 103))
"""Eve attacks Bob, who is on the other host and talks to Carol."""

_GROUPS = """<portgroup name='red' default='yes'><vlan><tag id='10'/></vlan></portgroup>
  <portgroup name='plain'/>
  <portgroup name='green'><vlan><tag id='20'/></vlan></portgroup>
  <portgroup name='alone'><vlan><tag id='10'/></vlan></portgroup>
  <portgroup name='both'><vlan trunk='yes'><tag id='10'/><tag id='20'/></vlan></portgroup>"""


def network_xml(name: str) -> str:
    """The arena joins both hosts over GRE; the hosted network is one host's, and lets guests reach it."""
    if name == ARENA:
        ours = """<vnet:policy guard='strict'/>
      <vnet:overlay type='gre' segment='7'>
        <vnet:peer name='hv1' address='192.0.2.11'/><vnet:peer name='hv2' address='192.0.2.12'/>
      </vnet:overlay>
      <vnet:portgroup name='alone'><vnet:policy isolated='yes'/></vnet:portgroup>
      """
        ours += "".join(one.xml() for one in GUESTS)
    else:
        ours = "<vnet:policy guard='strict' host='yes'/>"
    return f"""<network><name>{name}</name>
  <metadata><vnet:network xmlns:vnet='urn:vnetd:network:1'>{ours}</vnet:network></metadata>
  <forward mode='bridge'/><bridge name='br-{name}'/><virtualport type='openvswitch'/>
  {_GROUPS}
</network>"""
