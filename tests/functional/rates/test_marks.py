"""Packets/s and DSCP, as the receiver's link shows them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from attacks.remote import Agent
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from vlans.wire import Capture
from world import World

from rates.stations import HOST, station, wired
from rates.streams import ABOVE, LONG_SECONDS, SECONDS, Stream, flow

NETWORK, MARKED = "paced", "marked"
LIMIT = 400
"""packets/s."""


@pytest.fixture
def paced(rates: World) -> Iterator[tuple[World, Stream]]:
    """A stream of more, and small, packets from a guest whose limit is on packets."""
    held, free = station("held", NETWORK, ours=f"<vnet:qos pps='{LIMIT}'/>"), station("free", NETWORK)
    with wired(rates, NETWORK, held, free):
        yield rates, Stream(held, free, 2.5 * LIMIT * 64 * 8 / 1e6, 64)


def test_packets_per_second(paced: tuple[World, Stream], tmp_path: Path) -> None:
    """Once more, for longer, where the stream stalled and the meter has saved up meanwhile (``streams.flow_within``)."""
    for seconds in (SECONDS, LONG_SECONDS):
        rate = _packets_per_second(*paced, tmp_path / f"{seconds}.pcap", seconds)
        print(f"\n{LIMIT} packets/s: {rate:.1f} seen in {seconds} s")
        if 0.9 * LIMIT <= rate <= ABOVE * LIMIT:
            break
    assert 0.9 * LIMIT <= rate <= ABOVE * LIMIT


def _packets_per_second(world: World, stream: Stream, path: Path, seconds: int) -> float:
    command = world.lab.command(HOST, [*stream.receiver.inside.split(), "tcpdump", "-i", "eth0", "udp"])
    with Capture(command, path) as capture:
        flow(world, stream, seconds=seconds)
    times = [time for time, _ in capture.frames()]
    # In its first second a meter lets pass what it has saved up.
    within = [time for time in times if times[0] + 1.5 < time < times[0] + 0.5 + seconds]
    return (len(within) - 1) / (within[-1] - within[0])


@dataclass(frozen=True, slots=True)
class Tap:
    """A port of which the test holds the other end."""

    name: str
    number: int
    group: str
    qos: str = ""

    @property
    def mac(self) -> str:
        return f"52:54:00:c1:00:{self.number:02x}"

    def xml(self) -> str:
        return f"""<interface type='network'><mac address='{self.mac}'/><source network='{MARKED}' portgroup='{self.group}'/>
  <vnet:interface xmlns:vnet='urn:vnetd:domain:1'><vnet:policy guard='mac' neighbour='none' flood='none'/>{self.qos}</vnet:interface>
</interface>"""


TAPS = {
    one.name: one
    for one in (
        Tap("mkto", 1, "both"),
        Tap("mkdscp", 2, "ten", "<vnet:qos dscp='46'/>"),
        Tap("mkclear", 3, "ten", "<vnet:qos trust='no'/>"),
        Tap("mkleft", 4, "ten"),
        Tap("mktrunk", 5, "both", "<vnet:qos dscp='46'/>"),
        Tap("mkgroup", 6, "phones"),
        Tap("mkown", 7, "phones", "<vnet:qos trust='yes'/>"),
    )
}
BECOMES = {"mkdscp": 46, "mkclear": 0, "mkleft": None, "mktrunk": 46, "mkgroup": 34, "mkown": 34}
"""The DSCP of what each sends; None leaves it as it was. The narrowest word on each attribute holds: trust does not take away a dscp."""
_numbers = count(1)


@pytest.fixture(scope="module")
def agent(rates: World) -> Iterator[Agent]:
    """All taps, plugged in."""
    ours = "<vnet:portgroup name='phones'><vnet:qos dscp='34'/></vnet:portgroup>"
    ten = "<vlan><tag id='10'/></vlan>"
    groups = f"<portgroup name='ten'>{ten}</portgroup><portgroup name='phones'>{ten}</portgroup>"
    groups += "<portgroup name='both'><vlan trunk='yes'><tag id='10'/><tag id='20'/></vlan></portgroup>"
    made = Agent(rates.lab, HOST)
    with wired(rates, MARKED, ours=ours, portgroups=groups):
        for tap in TAPS.values():
            made.call("open", name=tap.name, tap=tap.name)
            rates.on(HOST, "tee", f"/etc/vnetd/taps/{tap.name}.xml", stdin=tap.xml())
            rates.on(HOST, f"/etc/vnetd/ovs-ifup {tap.name}")
        yield made
        made.end()
        for name in TAPS:
            rates.on(HOST, f"/etc/vnetd/ovs-ifdown {name}; rm /etc/vnetd/taps/{name}.xml")


def test_dscp_is_marked_cleared_or_left_and_ecn_stays(agent: Agent) -> None:
    wrong = []
    for name, becomes in BECOMES.items():
        for version in (4, 6):
            for dscp in (0, 10, 46, 63):
                for ecn in range(4):
                    sent, came = _sent_and_came(agent, TAPS[name], version, dscp << 2 | ecn)
                    wanted = _with_traffic_class(sent, (dscp if becomes is None else becomes) << 2 | ecn)
                    if came != wanted:
                        wrong.append(f"{name}: IPv{version} {dscp} ecn {ecn}: {came.hex()}, must be {wanted.hex()}")
    assert not wrong, "\n".join(wrong)


def test_what_is_no_ip_packet_is_left(agent: Agent) -> None:
    for name in BECOMES:
        body = b"plain%07d" % next(_numbers) + bytes(range(0, 256, 7))
        frame = bytes(Ether(dst=TAPS["mkto"].mac, src=TAPS[name].mac, type=0x88B5) / Raw(body))
        sent = _tagged(frame) if name == "mktrunk" else frame
        assert _arrived(agent, name, sent, body[:12]) == _tagged(frame)


def _sent_and_came(agent: Agent, tap: Tap, version: int, traffic_class: int) -> tuple[bytes, bytes]:
    """A packet with this traffic class, and how it arrived at the trunk, both in a tag of VLAN 10."""
    mark = b"marks%07d" % next(_numbers)
    inside = UDP(sport=4000, dport=5000) / Raw(mark)
    packet = IP(src="10.0.0.1", dst="10.0.0.2", tos=traffic_class) if version == 4 else IPv6(src="fd00::1", dst="fd00::2", tc=traffic_class)
    frame = bytes(Ether(dst=TAPS["mkto"].mac, src=tap.mac) / packet / inside)
    came = _arrived(agent, tap.name, _tagged(frame) if tap.group == "both" else frame, mark)
    return _tagged(frame), came


def _arrived(agent: Agent, name: str, frame: bytes, mark: bytes) -> bytes:
    agent.call("send", name=name, frames=[frame.hex()])
    found = agent.call("until", mark=mark.hex(), of=b"no such mark".hex(), at=["mkto"], seconds=3)
    came = [bytes.fromhex(one) for tap, one in found["seen"] if tap == "mkto" and mark in bytes.fromhex(one)]
    assert len(came) == 1, f"{name}: {frame.hex()} arrived {len(came)} times"
    return came[0]


def _tagged(frame: bytes) -> bytes:
    return frame[:12] + b"\x81\x00\x00\x0a" + frame[12:]


def _with_traffic_class(frame: bytes, traffic_class: int) -> bytes:
    """The frame with another traffic class, and IPv4's checksum as it must be then."""
    packet = Ether(frame)
    if IP in packet:
        packet[IP].tos = traffic_class
        del packet[IP].chksum
    else:
        packet[IPv6].tc = traffic_class
    return bytes(packet)
