"""The same by whole guests: Eve tries what a tenant can try with the tools of a guest, and Bob, on the other host, notices nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from attacks.cast import BOB, CAROL, EVE, PORTS, RealGuest
from attacks.frames import ARP, arp, ether, group6, ip6
from attacks.rows import Row
from attacks.stage import Stage
from attacks.table_icmp6 import advertisement
from attacks.table_neighbours import NODES

RESOLVED = "ip neigh show | grep -v FAILED | cut -d' ' -f1-5 | sort"


@pytest.fixture(scope="module")
def town(stage: Stage) -> Stage:
    """The three guests, and Bob's TCP stream to Carol's echo: a number every tenth of a second, for as long as the tests last."""
    world = stage.world
    stage.start_guests()
    for one, other in (("bob", CAROL), ("eve", BOB), ("eve", CAROL)):
        world.until(lambda one=one, other=other: reaches(stage, one, other.ip), 10, f"{one} reaches {other.name}")
    world.inside("bob", f"(i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done | nc {CAROL.ip} 7 > /tmp/echo) > /dev/null 2>&1 &")
    return stage


def reaches(stage: Stage, guest: str, address: str) -> bool:
    """Whether one ping is answered within a second."""
    return stage.world.inside(guest, f"ping -c 1 -W 1 {address}")[0] == 0


def numbers(stage: Stage) -> list[int]:
    """What has come back to Bob."""
    return [int(line) for line in stage.world.inside("bob", "cat /tmp/echo")[1].split()]


@pytest.fixture
def quiet(town: Stage) -> Iterator[Stage]:
    """Bob's addresses, neighbours and routes are as before, and his stream goes on without a gap."""
    world = town.world
    assert reaches(town, "bob", CAROL.ip)

    def view() -> str:
        return world.inside("bob", f"ip -o addr show | sed 's/ *valid_lft.*//'; ip route; ip -6 route; {RESOLVED} | grep '{CAROL.ip} '")[1]

    # Bob has just booted, perhaps, and still asks whether anybody has his addresses.
    world.until(lambda: "tentative" not in view(), 10, "Bob's addresses are his")
    before, heard = view(), len(numbers(town))
    yield town
    world.until(lambda: len(numbers(town)) > heard + 5, 5, "Bob's stream to Carol goes on")
    found = numbers(town)
    assert found == list(range(1, len(found) + 1))
    assert view() == before


def drops_of(stage: Stage, reason: str) -> int:
    """How many of Eve's frames were dropped for this reason."""
    return stage.drops_of_guest(EVE.host, "eve")[reason]


def assert_counted(stage: Stage, reason: str, before: int) -> None:
    stage.world.until(lambda: drops_of(stage, reason) > before, 5, f"{reason} is counted")


def test_a_guest_changes_its_mac(quiet: Stage) -> None:
    world, before = quiet.world, drops_of(quiet, "foreign source MAC")
    change = "ip link set eth0 down; ip link set eth0 address {}; ip link set eth0 up; ip addr replace " + f"{EVE.ip6}/64 dev eth0"
    for address in ("52:54:00:66:66:66", BOB.mac):
        world.inside("eve", change.format(address))
        assert not reaches(quiet, "eve", BOB.ip)
    world.inside("eve", change.format(EVE.mac))
    assert_counted(quiet, "foreign source MAC", before)
    world.until(lambda: reaches(quiet, "eve", BOB.ip), 5, "Eve's own address serves her again")


@pytest.mark.parametrize("victim", [BOB, CAROL])
def test_a_guest_takes_its_neighbours_ipv4_address(quiet: Stage, victim: RealGuest) -> None:
    world, before = quiet.world, drops_of(quiet, "ARP for another's address")
    address = victim.ip
    world.inside("eve", f"ip addr add {address}/24 dev eth0; echo 1 > /proc/sys/net/ipv4/conf/eth0/arp_notify")
    try:
        # Asks for another guest from that address, and tells everybody; arping too, where the guest's kernel has packet sockets.
        other = CAROL if victim is BOB else BOB
        world.inside("eve", f"arp -d {other.ip}; ping -c 1 -W 1 -I {address} {other.ip}")
        world.inside("eve", f"arping -c 1 -w 1 -U -I eth0 -s {address} {address}; arping -c 1 -w 1 -A -I eth0 -s {address} {address}")
        world.inside("eve", f"ip addr del {EVE.ip}/24 dev eth0; ip link set eth0 down; ip link set eth0 up; ping -c 1 -W 1 {other.ip}")
        assert_counted(quiet, "ARP for another's address", before)
    finally:
        world.inside("eve", f"ip addr flush dev eth0; ip addr add {EVE.ip}/24 dev eth0; ip addr add {EVE.ip6}/64 dev eth0")
    world.until(lambda: reaches(quiet, "eve", BOB.ip), 5, "Eve's own address serves her again")


def test_a_guest_takes_its_neighbours_ipv6_address(quiet: Stage) -> None:
    world, before = quiet.world, drops_of(quiet, "neighbour discovery")
    # Without detection it believes at once that the address is its own, and says so.
    world.inside("eve", "echo 1 > /proc/sys/net/ipv6/conf/eth0/ndisc_notify")
    world.inside("eve", f"ip addr add {CAROL.ip6}/64 dev eth0 nodad; ip link set eth0 down; ip link set eth0 up")
    try:
        world.inside("eve", f"ip addr add {CAROL.ip6}/64 dev eth0; ping6 -c 1 -W 1 -I {CAROL.ip6} {BOB.ip6}")
        world.until(lambda: drops_of(quiet, "neighbour discovery") + drops_of(quiet, "foreign IPv6 source") > before, 5, "it is counted")
    finally:
        world.inside("eve", f"ip addr del {CAROL.ip6}/64 dev eth0; ip addr replace {EVE.ip6}/64 dev eth0")
    assert world.inside("bob", f"ping6 -c 2 -W 2 {CAROL.ip6}")[0] == 0


def test_a_guest_plays_the_dhcp_server(quiet: Stage) -> None:
    """Bob asks everybody for an address; whatever Eve's server says, he hears no offer."""
    world, before = quiet.world, drops_of(quiet, "DHCP server")
    server = "interface eth0\nstart 10.0.0.200\nend 10.0.0.210\nmax_leases 11\n"
    world.inside("eve", "mkdir -p /var/lib/misc; touch /var/lib/misc/udhcpd.leases; cat > /tmp/server <<X\n" + server + "X")
    world.inside("eve", "(timeout 15 udhcpd -f /tmp/server) > /tmp/served 2>&1 &")
    world.inside("bob", "printf '#!/bin/sh\\necho $1 $ip >> /tmp/offers\\n' > /tmp/client; chmod +x /tmp/client")
    status, text = world.inside("bob", "udhcpc -i eth0 -n -q -f -t 5 -T 1 -A 0 -s /tmp/client")
    assert status != 0, text
    # Her server looks for another holder of the address first, which takes it two seconds.
    world.until(lambda: "sending offer" in world.inside("eve", "cat /tmp/served")[1].lower(), 5, "Eve's server makes an offer")
    assert_counted(quiet, "DHCP server", before)
    assert "10.0.0.2" not in world.inside("bob", "cat /tmp/offers")[1]


def test_a_guest_plays_the_router(quiet: Stage) -> None:
    """No tool of a small guest says it, so P does, whose guard is Eve's: Bob believes the router beside him, and not P."""
    packet = ip6(NODES, advertisement("2001:db8:67::"), src=PORTS["P"].link_local, hlim=255)
    outcome = quiet.play(Row("a router's advertisement", ether(group6(NODES), packet)))
    assert not outcome.trouble
    assert "2001:db8:67:" not in quiet.world.inside("bob", "ip -6 addr; ip -6 route")[1]


def test_a_forged_arp_reply_does_not_move_a_neighbour(quiet: Stage) -> None:
    """P tells Bob that Carol is at P, in every way that Bob's kernel would believe."""
    for words, op, dst, tpa in (
        ("reply", 2, BOB.mac, BOB.ip),
        ("request", 1, BOB.mac, BOB.ip),
        ("gratuitous", 2, "ff:ff:ff:ff:ff:ff", CAROL.ip),
    ):
        frame = ether(dst, arp(op, spa=CAROL.ip, tha=BOB.mac, tpa=tpa), kind=ARP)
        assert not quiet.play(Row(words, frame)).trouble
    assert PORTS["P"].mac not in quiet.world.inside("bob", f"ip neigh show | grep '^{CAROL.ip} '")[1]


def test_a_router_without_a_guard_is_believed(town: Stage) -> None:
    """Last, for it changes Bob: what P may not say, a port that is trusted may, so Bob would have heard P."""
    packet = ip6(NODES, advertisement("2001:db8:68::"), src=PORTS["V2"].link_local, hlim=255)
    town.play(Row("a router's advertisement", ether(group6(NODES), packet, src=PORTS["V2"].mac), sender="V2"))
    town.world.until(lambda: "2001:db8:68:" in town.world.inside("bob", "ip -6 addr; ip -6 route")[1], 5, "Bob believes the router")
