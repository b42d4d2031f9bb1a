"""Isolated ports: nothing goes from one to another, on one host or across, and both ways with everybody else."""

from __future__ import annotations

from scapy.packet import Packet

from attacks.cast import PORTS, RED, Port
from attacks.frames import ARP, BROADCAST, S1, V1, V2, arp, ether, group4, group6, ip4, ip6, payload, ping, tcp, udp
from attacks.rows import Row, all_hear, drop, table, to
from attacks.table_ipv6 import echo
from attacks.table_neighbours import NODES, advertisement, solicitation

I1, I2, I3 = (PORTS[nick] for nick in ("I1", "I2", "I3"))
ISOLATED = frozenset(("I1", "I2", "I3"))
OTHERS = RED - ISOLATED
PAIRS = ((I1, I2), (I1, I3), (I2, I1), (I2, I3), (I3, I1), (I3, I2))


def _between(one: Port, other: Port) -> dict[str, bytes]:
    """What guests say to each other."""

    def frame(inside: Packet | bytes, kind: int | None = None) -> bytes:
        return ether(other.mac, inside, src=one.mac, kind=kind)

    return {
        "UDP": frame(ip4(other.ip, udp(), src=one.ip)), "TCP": frame(ip4(other.ip, tcp(), src=one.ip)),
        "a ping": frame(ip4(other.ip, ping(), src=one.ip)),
        "an ARP reply": frame(arp(2, sha=one.mac, spa=one.ip, tha=other.mac, tpa=other.ip), ARP),
        "an ARP request": frame(arp(1, sha=one.mac, spa=one.ip, tpa=other.ip), ARP),
        "UDP by IPv6": frame(ip6(other.ip6, udp(), src=one.ip6)),
        "a ping by IPv6": frame(ip6(other.link_local, echo(), src=one.link_local)),
        "a solicitation": frame(ip6(other.ip6, solicitation(other.ip6, one.mac), src=one.ip6, hlim=255)),
        "an advertisement": frame(ip6(other.ip6, advertisement(one.ip6, one.mac), src=one.ip6, hlim=255)),
        "a group in a unicast frame": frame(ip4("224.0.0.251", udp(5353, 5353), src=one.ip)),
    }  # fmt: skip


def _to_all(one: Port) -> dict[str, bytes]:
    def frame(dst: str, inside: Packet | bytes, kind: int | None = None) -> bytes:
        return ether(dst, inside, src=one.mac, kind=kind)

    return {
        "an ARP request for the isolated": frame(BROADCAST, arp(1, sha=one.mac, spa=one.ip, tpa=I2.ip), ARP),
        "an ARP request for others": frame(BROADCAST, arp(1, sha=one.mac, spa=one.ip), ARP),
        "UDP to all": frame(BROADCAST, ip4("255.255.255.255", udp(), src=one.ip)),
        "DHCP": frame(BROADCAST, ip4("255.255.255.255", udp(68, 67, 300), src="0.0.0.0")),
        "mDNS": frame(group4("224.0.0.251"), ip4("224.0.0.251", udp(5353, 5353), src=one.ip)),
        "a ping to all nodes": frame(group6(NODES), ip6(NODES, echo(), src=one.link_local)),
        "an advertisement": frame(group6(NODES), ip6(NODES, advertisement(one.ip6, one.mac), src=one.ip6, hlim=255)),
    }


@table("isolated ports")
def isolated() -> list[Row]:
    rows = []
    for one, other in PAIRS:
        for words, frame in _between(one, other).items():
            # The frame ends at whichever host knows both; it is counted there or not at all, never as something else.
            name = f"{words} from {one.nick} to {other.nick}"
            rows.append(drop(name, frame, "isolated port", sender=one.nick, counted=other.nick, surely=False))
    for one in (I1, I2, I3):
        for words, frame in _to_all(one).items():
            rows.append(all_hear(f"{words} from {one.nick}", frame, "V1", "V2", "S1", "S2", sender=one.nick, may=OTHERS))
        for other in (V1, V2, S1):
            for words, frame in _between(one, other).items():
                rows.append(to(f"{words} from {one.nick} to {other.nick}", frame, other.nick, sender=one.nick))
    return rows


@table("to isolated ports")
def towards() -> list[Row]:
    rows = []
    for one in (V1, V2, S1):
        others = {"V1", "V2", "S2"} - {one.nick}
        for words, frame in _to_all(one).items():
            rows.append(all_hear(f"{words} from {one.nick}", frame, *others, *ISOLATED, sender=one.nick, may=RED))
        for other in (I1, I2, I3):
            for words, frame in _between(one, other).items():
                rows.append(to(f"{words} from {one.nick} to {other.nick}", frame, other.nick, sender=one.nick))
    for one in (I2, I3):
        stranger = ether("52:54:00:a7:00:99", ip4("10.0.0.99", udp(), src=one.ip), src=one.mac)
        rows.append(all_hear(f"to a MAC that nobody has from {one.nick}", stranger, "V1", "V2", sender=one.nick, may=OTHERS))
        strange = ether(BROADCAST, bytes(payload(46)), src=one.mac, kind=0x88B5)
        rows.append(all_hear(f"an unknown EtherType from {one.nick}", strange, "V1", "V2", sender=one.nick, may=OTHERS))
    return rows
