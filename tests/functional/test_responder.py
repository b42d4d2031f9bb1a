"""Who has an address is answered on the asker's own host: what crosses between the hosts, and what must not be answered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from labs import started_lab
from world import World

HOSTS = ("hv1", "hv2")
WHERE = {"r1": ("hv1", "red"), "r2": ("hv2", "red"), "r3": ("hv1", "red"), "g4": ("hv1", "green"), "g5": ("hv2", "green")}
"""Guests by number, each in a namespace of its own: which host, and which portgroup."""

RED = "<portgroup name='red' default='yes'><vlan><tag id='10'/></vlan></portgroup>"
GREEN = "<portgroup name='green'><vlan><tag id='20'/></vlan></portgroup>"
NETWORK = """<network><name>asked</name><uuid>6d6e1d0a-7a0f-4b8e-9a51-1f0c2b3d4e91</uuid>
  <metadata><vnet:network xmlns:vnet='urn:vnetd:network:1'>
    <vnet:overlay type='gre' segment='91'{responder}>
      <vnet:peer name='hv1' address='192.0.2.11'/><vnet:peer name='hv2' address='192.0.2.12'/>
    </vnet:overlay>
    {bindings}
  </vnet:network></metadata>
  <forward mode='bridge'/><bridge name='br-asked'/><virtualport type='openvswitch'/>{groups}
</network>"""
TAP = """<interface type='network'><mac address='{mac}'/><source network='asked' portgroup='{group}'/></interface>"""


FLOOD = """
import socket, time
ours, head = bytes.fromhex(\\"{own}\\"), bytes.fromhex(\\"08060001080006040001\\")
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
link.bind((\\"e0\\", 0x0806))
link.setblocking(False)
asked, answered, end = 0, 0, time.monotonic() + 3
while time.monotonic() < end:
    link.send(bytes([255] * 6) + ours + head + ours + bytes([10, 0, 91, 1]) + bytes(6) + bytes([10, 0, 91, 2]) + bytes(18))
    asked += 1
    time.sleep(0.005)
    try:
        while True:
            answered += link.recv(200)[20:22] == bytes([0, 2])
    except BlockingIOError:
        pass
print(asked, answered)
"""
"""Asks for a bound address for three seconds, and counts questions and answers."""


def mac(name: str) -> str:
    return f"52:54:00:91:00:0{name[1]}"


def ip4(name: str) -> str:
    return f"10.0.91.{name[1]}"


def ip6(name: str) -> str:
    return f"2001:db8:91::{name[1]}"


def asked_xml(groups: str = RED, responder: str = "") -> str:
    bound = [f"<vnet:binding mac='{mac(name)}' address='{address(name)}'/>" for name in WHERE for address in (ip4, ip6)]
    return NETWORK.format(responder=responder, bindings="\n    ".join(bound), groups=groups)


@pytest.fixture(scope="module")
def lab() -> Iterator[World]:
    with started_lab("w", 2) as world:
        yield world


@contextmanager
def network(world: World, text: str) -> Iterator[None]:
    """The network on both hosts; a second pass is empty when it has been used."""
    try:
        world.start_xml(text, *HOSTS)
        for host in HOSTS:
            # Nothing is flooded to a peer that is not known to live.
            world.until(lambda host=host: [one["state"] for one in world.status(host)["tunnels"]] == ["up"], 10, "the peer is up")
        yield
        for host in HOSTS:
            world.assert_settled(host)
    finally:
        for host in HOSTS:
            world.attempt(host, "virsh -q net-destroy asked; virsh -q net-undefine asked")


@contextmanager
def guests(world: World, *names: str) -> Iterator[None]:
    """Guests wired by ovs-ifup, with both their addresses."""
    try:
        for name in names:
            host, group = WHERE[name]
            world.on(host, f"ip netns add {name}; ip link add {name} type veth peer name e0 netns {name}")
            # It has no link-local address, and so asks nobody for that one.
            world.on(host, f"ip -n {name} link set e0 address {mac(name)} addrgenmode none up; ip netns exec {name} ethtool -K e0 tx off")
            world.on(host, "tee", f"/etc/vnetd/taps/{name}.xml", stdin=TAP.format(mac=mac(name), group=group))
            world.on(host, f"/etc/vnetd/ovs-ifup {name}")
            world.on(host, f"ip -n {name} addr add {ip4(name)}/24 dev e0; ip -n {name} addr add {ip6(name)}/64 dev e0 nodad")
        yield
    finally:
        for name in names:
            world.attempt(
                WHERE[name][0],
                f"/etc/vnetd/ovs-ifdown {name}; rm -f /etc/vnetd/taps/{name}.xml; ip link del {name}; ip netns del {name}",
            )


def inside(world: World, name: str, command: str) -> tuple[int, str]:
    """(status, output) of a command in a guest."""
    done = world.attempt(WHERE[name][0], f"ip netns exec {name} sh -c '{command}'")
    return done.returncode, done.stdout + done.stderr


def resolved(world: World, name: str, address: str, seconds: int = 2) -> str:
    """The MAC that a guest finds for an address it has forgotten, or nothing."""
    inside(world, name, f"ip neigh flush all; ping -c 1 -W {seconds} {address}")
    words = inside(world, name, f"ip neigh show {address}")[1].split()
    return words[words.index("lladdr") + 1] if "lladdr" in words else ""


@contextmanager
def crossing(world: World) -> Iterator[list[str]]:
    """What guests' frames the first host sends and gets, as tcpdump tells it, once it is over. A last one ends it."""
    world.on("hv1", "tcpdump -Ulneti eth0 'ip proto 47' > /run/cross.txt 2>/run/cross.err & echo $! > /run/cross.pid")
    world.until(lambda: "listening on" in world.on("hv1", "cat /run/cross.err"), 5, "tcpdump listens")
    found: list[str] = []
    try:
        yield found
        # What was sent last must be in the file, too.
        world.on("hv1", "sleep 0.3")
    finally:
        world.on("hv1", "kill $(cat /run/cross.pid)")
        found += world.on("hv1", "cat /run/cross.txt").splitlines()


def questions(lines: list[str]) -> list[str]:
    """Those that ask everybody."""
    return [line for line in lines if ("who-has" in line and "ff:ff:ff:ff:ff:ff" in line) or ("33:33:ff:" in line and "who has" in line)]


def answering(world: World) -> list[str]:
    """The hosts that have answers."""
    return [host for host in HOSTS if "arp_tpa" in world.on(host, "ovs-ofctl -O OpenFlow14 dump-flows br-asked table=49")]


def test_a_guest_finds_one_of_another_host_and_no_question_crosses(lab: World) -> None:
    with network(lab, asked_xml()), guests(lab, "r1", "r2"):
        with crossing(lab) as lines:
            for address in (ip4("r2"), ip6("r2")):
                assert resolved(lab, "r1", address) == mac("r2")
                status, text = inside(lab, "r1", f"ping -c 2 -i 0.2 -W 2 {address}")
                assert status == 0, text
        assert [line for line in lines if "echo request" in line], "the echo shows that tcpdump sees into the tunnel"
        assert not questions(lines), lines


def test_an_address_of_its_own_is_free_and_anothers_is_not(lab: World) -> None:
    """Duplicate address detection, for IPv4 (RFC 5227) and for IPv6 (RFC 4862)."""
    with network(lab, asked_xml()), guests(lab, "r1"):
        status, text = inside(lab, "r1", f"busybox arping -D -c 2 -w 3 -I e0 {ip4('r1')}")
        assert status == 0, text
        status, text = inside(lab, "r1", f"busybox arping -D -c 2 -w 3 -I e0 {ip4('r2')}")
        assert status != 0, text
        inside(lab, "r1", f"ip addr del {ip6('r1')}/64 dev e0; ip addr add {ip6('r1')}/64 dev e0")
        lab.until(lambda: "tentative" not in inside(lab, "r1", "ip addr show dev e0")[1], 5, "the address is no longer tentative")
        assert "dadfailed" not in inside(lab, "r1", "ip addr show dev e0")[1]


def test_two_guests_with_one_address_find_it_out(lab: World) -> None:
    """A solicitation of duplicate address detection crosses as ever, and the one who has the address says so."""
    with network(lab, asked_xml()), guests(lab, "r1", "r2"):
        inside(lab, "r1", f"ip addr add {ip6('r2')}/64 dev e0")
        lab.until(lambda: "dadfailed" in inside(lab, "r1", "ip addr show dev e0")[1], 5, "the address is found in use")


def test_a_guest_that_is_gone_is_found_out(lab: World) -> None:
    """What a guest knows it asks of the other guest itself, and not of the switch."""
    with network(lab, asked_xml()), guests(lab, "r1", "r2"):
        inside(lab, "r1", "sysctl -q net.ipv4.neigh.e0.delay_first_probe_time=1 net.ipv4.neigh.e0.base_reachable_time_ms=1000 ")
        assert resolved(lab, "r1", ip4("r2")) == mac("r2")
        with crossing(lab) as lines:
            lab.on("hv2", "ip -n r2 link set e0 down")
            inside(lab, "r1", f"ping -c 12 -i 0.5 -W 1 {ip4('r2')}")
        assert [line for line in lines if "who-has" in line and mac("r2") in line], lines
        assert not questions(lines), lines


def test_as_many_answers_as_the_limit_on_neighbour_discovery_lets_through(lab: World) -> None:
    """ovs-vswitchd itself makes each answer, and asks the meter all the same."""
    limited = asked_xml().replace("</vnet:overlay>", "</vnet:overlay><vnet:policy neighbour='10'/>")
    with network(lab, limited), guests(lab, "r1"):
        status, text = inside(lab, "r1", f'python3 -c "{FLOOD.format(own=mac("r1").replace(":", ""))}"')
        assert status == 0, text
        asked, answered = map(int, text.split())
        assert asked > 200, text
        assert 10 <= answered <= 10 + 10 * 4, text


def test_without_the_responder_the_question_crosses(lab: World) -> None:
    with network(lab, asked_xml()), guests(lab, "r1", "r2"):
        for responder, crosses in ((" responder='no'", True), ("", False)):
            for host in HOSTS:
                lab.on(host, "tee", "/run/asked.xml", stdin=asked_xml(responder=responder))
                lab.on(host, "virsh -q net-define /run/asked.xml")
            lab.until(lambda crosses=crosses: answering(lab) == ([] if crosses else [*HOSTS]), 10, "the flows follow")
            with crossing(lab) as lines:
                assert resolved(lab, "r1", ip4("r2")) == resolved(lab, "r1", ip6("r2")) == mac("r2")
            assert bool(questions(lines)) is crosses, lines


def test_nobody_is_told_of_a_guest_of_another_vlan(lab: World) -> None:
    """In a network of two VLANs a host answers only for those that it has heard in the asker's VLAN."""
    with network(lab, asked_xml(RED + GREEN)), guests(lab, *WHERE):
        # Both of hv2 speak to everybody once, and hv1 hears in which VLAN each of them is.
        for name in ("r2", "g5"):
            inside(lab, name, f"busybox arping -U -c 1 -w 1 -I e0 {ip4(name)}")
        with crossing(lab) as lines:
            for address in (ip4("r2"), ip6("r2")):
                assert resolved(lab, "r1", address) == mac("r2")
            for address in (ip4("g5"), ip6("g5")):
                assert resolved(lab, "g4", address) == mac("g5")
        assert not questions(lines), lines
        with crossing(lab) as lines:
            for asker, other in (("r1", "g5"), ("r1", "g4"), ("g4", "r2"), ("g4", "r3")):
                for address in (ip4(other), ip6(other)):
                    assert resolved(lab, asker, address, 1) == "", f"{asker} is told of {address}"
        assert questions(lines), lines
