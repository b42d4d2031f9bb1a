"""The largest overlay there may be, and a guest with thousands of addresses that goes: the switch bears both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from ipaddress import IPv6Address
from pathlib import Path

import pytest
from vlans.wire import Capture

from mesh.agent import BODY, EXPERIMENT, MARK
from mesh.guests import Guest, Net, address
from mesh.stage import Stage, staged
from vnetd.pipeline import Cookie
from vnetd.xmlread.network import MAX_PEERS

pytestmark = pytest.mark.userspace("the size of an action and the table of neighbours are its own")

BROADCAST = b"\xff" * 6
INSIDE = 14 + 40 + 8 + 8
"""Bytes before a guest's frame on the underlay: Ethernet, IPv6, UDP and VXLAN."""
MEASURE_SECONDS = 40
"""After so long the paths to all peers are known, however busy the machine is."""
ADDRESSES = 8000
"""Fewer than a switch learns of guests that may send from any address."""
ABREAST = 250
"""So many of them fit into what a tap holds until the switch has learned them; of more, some get lost."""
PACKETS = 5
"""A session ends when three packets in a row are missing; both ends know of it before so many have come."""


class _Unwatched(Net):
    """An overlay whose peers need not say that they live."""

    def xml(self, peers: Iterable[int], version: int = 4, uuid: str = "") -> str:
        return super().xml(peers, version, uuid).replace("</vnet:overlay>", "<vnet:bfd enabled='no'/></vnet:overlay>")


def test_the_most_peers_that_an_overlay_may_have_are_all_reached(tmp_path: Path) -> None:
    """VXLAN over IPv6 has the largest copies, and once a path is measured all of them stand inside one action, which ends at 64 KiB.

    Beyond that Open vSwitch leaves copies out without a word, or aborts. The second host has the addresses of all peers but the first,
    so that all paths are measured, and every copy can be seen to arrive.
    """
    net, numbers = _Unwatched("msize", "vxlan", 16777215, 1), range(1, MAX_PEERS + 1)
    remotes = {address(one, 6) for one in numbers[1:]}
    with staged(2) as stage:
        world = stage.world
        more = "".join(f"addr add {one}/64 dev br-phy nodad\n" for one in sorted(remotes - {address(2, 6)}))
        world.on("hv2", "ip", "-6", "-batch", "-", stdin=more)
        switch = _switch(stage)
        stage.start([net], [1], version=6, peers=numbers)
        world.until(lambda: _measured(stage) == remotes, MEASURE_SECONDS, "the paths to all peers are measured")
        world.until(lambda: _asks(stage), 10, "floods are asked for their size")
        # The userspace datapath drops what is for a neighbour that it does not know yet; the probes' answers have told it of each.
        world.until(lambda: remotes <= _neighbours(stage), 10, "the switch knows all neighbours")
        (guest,) = stage.guests
        # The second is sent only when the first is through, and shows that nothing of that one was still to come.
        frames = [_broadcast(guest, number) for number in (1, 2)]
        # All copies come at once, and tcpdump's ring has room for them only if each packet's place is small.
        words = ["tcpdump", "-i", "eth0", "-Q", "in", "-s", "200", "udp port 4789"]
        capture = Capture(["ip", "netns", "exec", f"{world.lab.prefix}-hv2", *words], tmp_path / "wire.pcap")
        with capture:
            for frame in frames:
                stage.agents["hv1"].call("send", tap=guest.tap, frame=frame.hex())
                world.until(
                    lambda frame=frame: _copies(capture, frame).total() >= len(remotes) or _switch(stage) != switch,
                    10,
                    f"there are {len(remotes)} copies",
                )
                assert _switch(stage) == switch, "ovs-vswitchd has ended"
        assert [_copies(capture, frame) for frame in frames] == [Counter(remotes)] * 2


def _switch(stage: Stage) -> str:
    """The process on hv1; nothing where there is none."""
    return stage.world.attempt("hv1", "pgrep -x ovs-vswitchd").stdout


def _measured(stage: Stage) -> set[str]:
    return {one["remote"] for one in stage.world.tunnels("hv1") if one["path_mtu"]}


def _asks(stage: Stage) -> bool:
    """Whether the flow for broadcasts asks for their size: then all copies are inside that action."""
    flood = f"cookie=0x{Cookie.FLOOD:x}/-1"
    return "check_pkt_larger" in stage.world.on("hv1", f"ovs-ofctl -O OpenFlow14 dump-flows br-tun {flood}")


def _neighbours(stage: Stage) -> set[str]:
    """The underlay's addresses that tunnels can be sent to."""
    return {line.split()[0] for line in stage.world.on("hv1", "ovs-appctl tnl/neigh/show").splitlines() if line.endswith("br-phy")}


def _broadcast(guest: Guest, number: int) -> bytes:
    frame = BROADCAST + bytes.fromhex(guest.mac.replace(":", "")) + EXPERIMENT + MARK + BODY.pack(guest.id, 0, number)
    return frame.ljust(60, b"\0")


def _copies(capture: Capture, frame: bytes) -> Counter[str]:
    """How many packets with this frame inside went to each address."""
    return Counter(str(IPv6Address(record[38:54])) for _, record in capture.frames() if record[INSIDE:] == frame)


def test_a_guest_with_thousands_of_addresses_goes_and_no_peer_is_lost_by_it() -> None:
    """All that was learned of it is deleted at once; what keeps the switch's main thread for longer than BFD waits ends all sessions."""
    net = Net("mmany", "gre", 4294967295, 2)
    with staged(2) as stage:
        world = stage.world
        stage.start([net], [1, 2])
        # The neighbour must have spoken: what is for it then goes to it alone, and the other host has nothing to do with it.
        stage.talk(0.1)
        stage.await_all(10)
        stage.hush()
        neighbour, stranger = Guest(net, 2), _Wanderer(net, 2, seat=1)
        stage.plug([stranger])
        for first in range(0, ADDRESSES, ABREAST):
            numbers = range(first, first + ABREAST)
            world.until(lambda numbers=numbers: _learns(stage, stranger, numbers, neighbour), 5, f"{numbers.stop} addresses are learned")
        _await_packets(stage)
        world.wait_for_tunnels("hv1", "hv2")
        before = _sessions(stage)
        stage.unplug(stranger)
        assert not _learned(stage)
        _await_packets(stage)
        assert _sessions(stage) == before


class _Wanderer(Guest):
    """A guest that may send from any address."""

    @property
    def xml(self) -> str:
        policy = "<vnet:interface xmlns:vnet='urn:vnetd:domain:1'><vnet:policy guard='none'/></vnet:interface>"
        return super().xml.replace("</interface>", f"{policy}</interface>")


def _learns(stage: Stage, sender: Guest, numbers: range, to: Guest) -> bool:
    """Send a frame from each of these addresses, and say whether as many are known as there are up to the last of them."""
    for number in numbers:
        frame = bytes.fromhex(to.mac.replace(":", "")) + b"\x02\0\0\0" + number.to_bytes(2) + EXPERIMENT
        stage.agents[sender.host].call("send", tap=sender.tap, frame=frame.ljust(60, b"\0").hex())
    return _learned(stage) >= numbers.stop


def _learned(stage: Stage) -> int:
    """How many addresses hv2 has learned of guests that may have any."""
    text = stage.world.on("hv2", f"ovs-ofctl -O OpenFlow14 dump-aggregate br-mmany cookie=0x{Cookie.LEARNED_UNGUARDED:x}/-1")
    return int(text.rpartition("flow_count=")[2])


def _sessions(stage: Stage) -> dict[str, tuple[str, str]]:
    """How each host's only tunnel is, and since when."""
    return {host: (tunnel["state"], tunnel["since"]) for host in stage.agents for tunnel in stage.world.tunnels(host)}


def _await_packets(stage: Stage) -> None:
    """Until BFD has said to both hosts what has become of their session by now."""
    before = _heard(stage)
    stage.world.until(lambda: all(now >= before[host] + PACKETS for host, now in _heard(stage).items()), 10, "BFD's packets arrive")


def _heard(stage: Stage) -> dict[str, int]:
    """How many packets have come to each host by its tunnel: while no guest speaks, BFD's."""
    return {host: tunnel["rx_packets"] for host in stage.agents for tunnel in stage.world.tunnels(host)}
