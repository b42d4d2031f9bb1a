"""The host's own network stack sees every frame of a tap in the userspace datapath, before Open vSwitch does: it must not take it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from scapy.layers.inet6 import ICMPv6MLQuery
from scapy.packet import Packet

from attacks import cast
from attacks.frames import ARP, BROADCAST, P, arp, ether, group6, ip4, ip6, ping, solicited, udp
from attacks.rows import Row
from attacks.stage import Stage
from attacks.table_icmp6 import advertisement
from attacks.table_ipv6 import echo
from attacks.table_neighbours import NODES, solicitation

HOST, HOST6 = "192.0.2.11", "2001:db8::b"
SERVICE = 5555


def frames(tap: str) -> dict[str, bytes]:
    """What a host would answer, or believe, if it heard it at the tap whose own MAC address this is."""
    local = cast.link_local(tap)

    def single(inside: Packet) -> bytes:
        return ether(tap, inside)

    def group(dst: str, inside: Packet, src: str = P.link_local) -> bytes:
        return ether(group6(dst), ip6(dst, inside, src=src, hlim=255))

    return {
        "ARP for the host": ether(BROADCAST, arp(1, tpa=HOST), kind=ARP),
        "ARP for the host, unicast": ether(tap, arp(1, tpa=HOST), kind=ARP),
        "a ping": single(ip4(HOST, ping())),
        "UDP to a service": single(ip4(HOST, udp(dport=SERVICE))),
        "UDP to no service": single(ip4(HOST, udp(dport=SERVICE + 1))),
        "UDP to all": ether(BROADCAST, ip4("255.255.255.255", udp(dport=SERVICE))),
        "UDP to the service by IPv6": single(ip6(HOST6, udp(dport=SERVICE))),
        "a ping by IPv6": single(ip6(HOST6, echo())),
        "a ping to all nodes": group(NODES, echo()),
        "a ping to the tap's link-local address": single(ip6(local, echo(), src=P.link_local)),
        "a solicitation for the tap": group(solicited(local), solicitation(local)),
        "a solicitation for the host": group(solicited(HOST6), solicitation(HOST6)),
        "a query": group(NODES, ICMPv6MLQuery()),
        "a router's advertisement": group(NODES, advertisement()),
    }


@pytest.fixture
def service(stage: Stage) -> Iterator[Stage]:
    agent = stage.agents["hv1"]
    agent.call("server", port=SERVICE)
    yield stage
    agent.call("served")


def test_the_hosts_stack_neither_answers_nor_takes_what_a_guest_sends(service: Stage) -> None:
    stage, wrong = service, []
    mine = {port.mac for port in (*cast.PORTS.values(), *cast.GUESTS)}
    for words, frame in frames(stage.taps["P"]).items():
        outcome = stage.play(Row(words, frame))
        answers = [seen for name, seen in outcome.seen if name == "P" and _source(seen) not in mine]
        if answers or outcome.trouble:
            wrong.append(f"{words}: {outcome.trouble or 'answered with ' + answers[0].hex()}")
        if count := stage.agents["hv1"].call("served")["count"]:
            wrong.append(f"{words}: {count} datagrams reached the host's service")
    assert not wrong, "\n" + "\n".join(wrong)


def test_the_host_says_nothing_at_a_tap_and_believes_nothing_there(stage: Stage) -> None:
    for port in cast.PORTS.values():
        if port.nick in ("P", "V1", "V2"):
            assert stage.world.on(port.host, f"ip -6 -o addr show dev {port.tap}") == ""
            routes = stage.world.on(port.host, "ip -6 route show; ip route show")
            assert port.tap not in routes, routes
    assert "2001:db8:66:" not in stage.world.on("hv1", "ip -6 addr; ip -6 route")


def _source(frame: bytes) -> str:
    return ":".join(f"{byte:02x}" for byte in frame[6:12])
