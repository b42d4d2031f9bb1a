"""The mesh's networks and guests: of each network one guest on every host, and a number for each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Net:
    """A network that is nothing but an overlay. ``number`` tells its guests from others'."""

    name: str
    type: str
    segment: int
    number: int

    def xml(self, peers: Iterable[int], version: int = 4, uuid: str = "") -> str:
        """With these hosts, by their numbers, as peers."""
        lines = "".join(f"<vnet:peer name='hv{one}' address='{address(one, version)}'/>" for one in peers)
        return f"""<network><name>{self.name}</name>{f"<uuid>{uuid}</uuid>" if uuid else ""}
  <metadata><vnet:network xmlns:vnet='urn:vnetd:network:1'>
    <vnet:overlay type='{self.type}' segment='{self.segment}'>{lines}</vnet:overlay>
  </vnet:network></metadata>
  <forward mode='bridge'/><bridge name='br-{self.name}'/><virtualport type='openvswitch'/>
</network>"""


NETS = (Net("mgre", "gre", 4294967295, 1), Net("mvxlan", "vxlan", 16777215, 2), Net("mgeneve", "geneve", 7, 3))
"""The greatest GRE key and the greatest VNI among them."""


@dataclass(frozen=True, slots=True)
class Guest:
    """A tap on a host, whose other end an agent there holds."""

    net: Net
    number: int
    """Of the host."""
    seat: int = 0
    """Tells it from others of its network on the same host."""
    home: int | None = None
    """The host that it comes from, where that is another: its MAC address is from there."""

    @property
    def host(self) -> str:
        return f"hv{self.number}"

    @property
    def tap(self) -> str:
        return f"{self.net.name}{self.number}{'abcdef'[self.seat]}"

    @property
    def id(self) -> int:
        """In the frames that it sends."""
        return self.net.number << 8 | self.seat << 4 | (self.home or self.number)

    @property
    def mac(self) -> str:
        return f"52:54:00:6d:{self.net.number:02x}:{self.id & 0xFF:02x}"

    @property
    def xml(self) -> str:
        return f"<interface type='network'><mac address='{self.mac}'/><source network='{self.net.name}'/></interface>"


def address(host: int, version: int = 4) -> str:
    """A lab host's on the underlay."""
    return f"192.0.2.{10 + host}" if version == 4 else f"2001:db8::{10 + host}"


def guests(nets: Sequence[Net], hosts: Iterable[int]) -> list[Guest]:
    """One on each host for each network."""
    numbers = list(hosts)
    return [Guest(net, number) for net in nets for number in numbers]
