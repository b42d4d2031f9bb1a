"""With host='yes' the host hears its guests, and what could enter its own tunnels it does not hear, in whatever form it comes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from scapy.layers.inet import IP
from scapy.packet import Raw

from attacks.cast import BRIDGE_MACS, PORTS
from attacks.frames import ether, ip4, ip6, udp
from attacks.openers import OPENERS, opener_of
from attacks.rows import TABLES, Row
from attacks.stage import Stage
from attacks.table_host import HOST4, HOST6, TUNNEL_PORTS
from attacks.table_readings import forms

GRE, PLAIN = 47, 5000
HM = PORTS["HM"]
UNPACKED = "what the host would unpack"


@pytest.fixture(scope="module")
def ears(stage: Stage) -> Iterator[Stage]:
    """The host has addresses on the bridge, and listens where tunnels end."""
    stage.world.on("hv1", f"ip addr add {HOST4}/24 dev br-hosted; ip -6 addr add {HOST6}/64 dev br-hosted nodad")
    stage.agents["hv1"].call("ears", ports=[PLAIN, *TUNNEL_PORTS.values()], protocol=GRE)
    yield stage
    stage.agents["hv1"].call("deafen")
    stage.world.on("hv1", f"ip addr del {HOST4}/24 dev br-hosted; ip -6 addr del {HOST6}/64 dev br-hosted")


def heard(stage: Stage, *frames: bytes) -> dict[str, int]:
    """What the host's sockets were given of these frames of HM's, sent one after the other."""
    stage.agents["hv1"].call("heard")
    stage.play_many([("HM", frame) for frame in frames])
    counts: dict[str, int] = stage.agents["hv1"].call("heard")["counts"]
    return counts


def at_host(inside: IP) -> bytes:
    return ether(BRIDGE_MACS["hosted1"], inside, src=HM.mac)


def test_the_host_hears_what_is_no_tunnels(ears: Stage) -> None:
    assert heard(ears, at_host(ip4(HOST4, udp(), src=HM.ip))) == {str(PLAIN): 1}
    assert heard(ears, at_host(ip6(HOST6, udp(), src=HM.ip6))) == {str(PLAIN): 1}


def test_the_host_hears_a_datagram_in_pieces(ears: Stage) -> None:
    whole = bytes(ip4(HOST4, udp(size=200), src=HM.ip))[20:]
    first = ip4(HOST4, Raw(whole[:64]), src=HM.ip, proto=17, id=77, flags="MF")
    last = ip4(HOST4, Raw(whole[64:]), src=HM.ip, proto=17, id=77, frag=8)
    assert heard(ears, at_host(first), at_host(last)) == {str(PLAIN): 1}


@pytest.mark.parametrize("words", forms(HM))
def test_a_packet_of_two_pieces_does_not_get_into_a_tunnel_of_the_hosts(ears: Stage, words: str) -> None:
    one, two = forms(HM)[words]
    assert heard(ears, one, two) == {}
    assert heard(ears, two, one) == {}


@pytest.mark.parametrize("opener", ["none", *OPENERS])
def test_nothing_gets_into_a_tunnel_of_the_hosts_behind_an_opener(ears: Stage, opener: str) -> None:
    rows = [row for row in TABLES[UNPACKED]() if row.verdict == "DROP" and row.sender == "HM"]
    assert rows
    openers = [made for row in rows if (made := _opened(opener, row)) is not None]
    for _ in range(2):
        heard(ears, *openers)
    if heard(ears, *(row.frame for row in rows)):
        wrong = {row.name: found for row in rows if (found := heard(ears, row.frame))}
        assert wrong == {}, "and if nothing is named, only the first of them was heard"
        pytest.fail("something was heard once")


def _opened(opener: str, row: Row) -> bytes | None:
    return opener_of(opener, row.frame) if opener in OPENERS else None
