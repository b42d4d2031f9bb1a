"""What a strict guest hears: its own, of its own VLAN, and no frame that nobody meant for it. The senders may send anything."""

from __future__ import annotations

from scapy.layers.inet6 import ICMPv6ND_NS, IPv6ExtHdrFragment
from scapy.packet import Packet

from attacks.cast import PORTS, RED, Port
from attacks.frames import (
    ARP,
    BROADCAST,
    IPV4,
    IPV6,
    RARP,
    S1,
    S2,
    V1,
    V2,
    arp,
    ether,
    group4,
    group6,
    ip4,
    ip6,
    payload,
    ping,
    solicited,
    tagged,
    tcp,
    udp,
)  # fmt: skip
from attacks.rows import Row, all_hear, drop, table, to
from attacks.table_icmp6 import advertisement as router
from attacks.table_ipv6 import echo, options
from attacks.table_neighbours import NODES, advertisement, solicitation

ALL, ROUTER = "255.255.255.255", "10.0.0.254"
NOT_ITS, UNKNOWN = "not addressed to the guest", "unknown EtherType"
STRANGER = "52:54:00:a7:00:99"


def _attacks(sender: Port, victim: Port) -> list[Row]:
    """Unicast frames to the victim's MAC with what is not the victim's inside."""

    def frame(inside: Packet | bytes, kind: int | None = None) -> bytes:
        return ether(victim.mac, inside, src=sender.mac, kind=kind)

    contents: dict[str, bytes] = {}
    for words, dst in {
        "the sender": sender.ip, "nobody": "10.0.0.99", "P": "10.0.0.1", "far away": "198.51.100.9", "loopback": "127.0.0.1",
        "0.0.0.0": "0.0.0.0",
        "the net's broadcast": "10.0.0.255", "the network": "10.0.0.0", "its own with a bit turned": f"10.0.1.{victim.number}",
        "the host": "192.0.2.11",
    }.items():  # fmt: skip
        contents[f"UDP for {words}"] = frame(ip4(dst, udp(), src=sender.ip))
        contents[f"TCP for {words}"] = frame(ip4(dst, tcp(67, 68), src=ROUTER))
    for words, dst in {
        "the sender": sender.ip6, "nobody": "2001:db8:1::99", "loopback": "::1", "::": "::", "another link-local one": sender.link_local,
        "far away": "2001:db8:9::9", "its own in another net": f"2001:db8:2::{victim.number:x}",
    }.items():  # fmt: skip
        contents[f"UDP for {words} by IPv6"] = frame(ip6(dst, udp(), src=sender.ip6))
        contents[f"a ping for {words} by IPv6"] = frame(ip6(dst, options() / echo(), src=sender.link_local))
    contents |= {
        "a ping for nobody": frame(ip4("10.0.0.99", ping(), src=sender.ip)),
        "a later fragment for nobody": frame(ip4("10.0.0.99", payload(64), src=sender.ip, proto=17, frag=4)),
        "a later IPv6 fragment for nobody": frame(ip6("2001:db8:1::99", IPv6ExtHdrFragment(nh=17, offset=4) / payload(), src=sender.ip6)),
        "IPv4 whose header is cut off": frame(bytes(ip4(victim.ip, udp(), src=sender.ip))[:16], IPV4),
        "IPv6 whose header is cut off": frame(bytes(ip6(victim.ip6, udp(), src=sender.ip6))[:30], IPV6),
    }
    rows = [drop(words, content, NOT_ITS, "malformed IP", sender=sender.nick, counted=victim.nick) for words, content in contents.items()]
    for words, kind in {
        "LLDP": 0x88CC, "EAPOL": 0x888E, "MPLS": 0x8847, "PPPoE": 0x8864, "PTP": 0x88F7, "an experiment": 0x88B5, "CFM": 0x8902,
        "0xffff": 0xFFFF,
    }.items():  # fmt: skip
        rows.append(drop(f"{words} to it", frame(_content(kind), kind), NOT_ITS, UNKNOWN, sender=sender.nick, counted=victim.nick))
    # No access port sends a tag in disguise, whatever its guard.
    rows.append(drop("a VLAN tag of old to it", frame(bytes(payload(46)), 0x9100), "second VLAN tag", sender=sender.nick))
    rows.append(
        drop("LLC to it", frame(b"\x42\x42\x03" + bytes(payload(43)), 46), NOT_ITS, UNKNOWN, sender=sender.nick, counted=victim.nick)
    )
    return rows


def _content(kind: int) -> bytes:
    """What a frame of this EtherType holds. A stack of MPLS labels without an end is nothing that the kernel hands up (RFC 3032, 2.1)."""
    return (b"\x00\x01\x01\x40" if kind in (0x8847, 0x8848) else b"") + bytes(payload(46))


def _flooded(sender: Port, others: tuple[str, ...], strict: frozenset[str]) -> list[Row]:
    """Frames for everybody that a strict guest does not hear; whoever has no guard does."""
    may = RED - strict
    rows = []
    for words, kind in {"LLDP": 0x88CC, "EAPOL": 0x888E, "an experiment": 0x88B5, "PTP": 0x88F7, "MPLS": 0x8848, "PPPoE": 0x8863}.items():
        for dst in (BROADCAST, "01:1b:19:00:00:00", "33:33:00:00:00:01"):
            content = ether(dst, _content(kind), src=sender.mac, kind=kind)
            rows.append(all_hear(f"{words} to {dst}", content, *others, sender=sender.nick, may=may))
    content = ether(BROADCAST, b"\x42\x42\x03" + bytes(payload(43)), src=sender.mac, kind=46)
    rows.append(all_hear("LLC to all", content, *others, sender=sender.nick, may=may))
    for words, inside in (
        ("UDP", ip4("10.0.0.99", udp(), src=sender.ip)), ("its neighbour's UDP", ip4(S1.ip, udp(), src=sender.ip)),
        ("IPv6", ip6("2001:db8:1::99", udp(), src=sender.ip6)), ("IPv6 for a strict guest", ip6(S1.ip6, udp(), src=sender.ip6)),
    ):  # fmt: skip
        content = ether(STRANGER, inside, src=sender.mac)
        rows.append(all_hear(f"{words} to a MAC that nobody has", content, *others, sender=sender.nick, may=may))
    content = ether(STRANGER, arp(1, sha=sender.mac, spa=sender.ip, tpa=S1.ip), src=sender.mac, kind=ARP)
    rows.append(all_hear("ARP to a MAC that nobody has", content, *others, sender=sender.nick, may=may))
    return rows


def _good(sender: Port, victim: Port) -> list[Row]:
    """What a strict guest must be able to hear: from others, through a router, from servers."""

    def frame(inside: Packet | bytes, kind: int | None = None, dst: str = victim.mac) -> bytes:
        return ether(dst, inside, src=sender.mac, kind=kind)

    server = "fe80::67"
    contents = {
        "UDP": frame(ip4(victim.ip, udp(), src=sender.ip)), "TCP from far away": frame(ip4(victim.ip, tcp(), src="198.51.100.9")),
        "a ping": frame(ip4(victim.ip, ping(), src=sender.ip)),
        "GRE": frame(ip4(victim.ip, payload(40), src=sender.ip, proto=47)),
        "a later fragment": frame(ip4(victim.ip, payload(64), src=sender.ip, proto=17, frag=4)),
        "UDP by IPv6": frame(ip6(victim.ip6, udp(), src=sender.ip6)),
        "TCP by IPv6 from far away": frame(ip6(victim.ip6, tcp(), src="2001:db8:9::9")),
        "UDP to its link-local address": frame(ip6(victim.link_local, udp(), src=sender.link_local)),
        "a later IPv6 fragment": frame(ip6(victim.ip6, IPv6ExtHdrFragment(nh=17, offset=4) / payload(), src=sender.ip6)),
        "an ARP reply": frame(arp(2, sha=sender.mac, spa=ROUTER, tha=victim.mac, tpa=victim.ip), ARP),
        "an ARP request for it": frame(arp(1, sha=sender.mac, spa=sender.ip, tpa=victim.ip), ARP),
        "an ARP request for another": frame(arp(1, sha=sender.mac, spa=sender.ip, tpa="10.0.0.99"), ARP),
        "RARP": frame(arp(3, sha=sender.mac, spa="0.0.0.0", tha=sender.mac, tpa="0.0.0.0"), RARP),
        "an offer of an address to be": frame(ip4("10.0.0.77", udp(67, 68, 300), src=ROUTER)),
        "an offer to all": frame(ip4(ALL, udp(67, 68, 300), src=ROUTER)),
        "an answer of a DHCPv6 server": frame(ip6(victim.link_local, udp(547, 546, 60), src=server)),
        "a router's advertisement": frame(ip6(victim.link_local, router(), src="fe80::1", hlim=255)),
        "a solicitation": frame(ip6(victim.ip6, solicitation(victim.ip6, sender.mac), src=sender.ip6, hlim=255)),
        "an advertisement": frame(ip6(victim.link_local, advertisement(sender.ip6, sender.mac), src=sender.ip6, hlim=255)),
        "a group in a unicast frame": frame(ip4("224.0.0.251", udp(5353, 5353), src=sender.ip)),
        "an IPv6 group in a unicast frame": frame(ip6("ff02::fb", udp(5353, 5353), src=sender.ip6)),
    }  # fmt: skip
    return [to(words, content, victim.nick, sender=sender.nick) for words, content in contents.items()]


def _heard(sender: Port, listeners: tuple[str, ...]) -> list[Row]:
    def frame(dst: str, inside: Packet | bytes, kind: int | None = None) -> bytes:
        return ether(dst, inside, src=sender.mac, kind=kind)

    asked = solicited(S2.ip6)
    contents = {
        "ARP for a strict guest": frame(BROADCAST, arp(1, sha=sender.mac, spa=sender.ip, tpa=S1.ip), ARP),
        "ARP for another": frame(BROADCAST, arp(1, sha=sender.mac, spa=ROUTER, tpa="10.0.0.99"), ARP),
        "UDP to all": frame(BROADCAST, ip4(ALL, udp(), src=sender.ip)),
        "mDNS": frame(group4("224.0.0.251"), ip4("224.0.0.251", udp(), src=sender.ip)),
        "a DHCP server's offer": frame(BROADCAST, ip4(ALL, udp(67, 68, 300), src=ROUTER)),
        "a router's advertisement": frame(group6(NODES), ip6(NODES, router(), src="fe80::1", hlim=255)),
        "a solicitation": frame(group6(asked), ip6(asked, ICMPv6ND_NS(tgt=S2.ip6), src=sender.link_local, hlim=255)),
        "IPv6 multicast": frame(group6("ff05::2"), ip6("ff05::2", udp(), src=sender.ip6)),
        "RARP": frame(BROADCAST, arp(3, sha=sender.mac, spa="0.0.0.0", tha=sender.mac, tpa="0.0.0.0"), RARP),
    }  # fmt: skip
    return [all_hear(f"{words}, heard by all", content, *listeners, sender=sender.nick, may=RED) for words, content in contents.items()]


STRICT = frozenset(("P", "P0", "S1", "S2", "T", "L", "I1"))


@table("towards a strict guest, same host")
def near() -> list[Row]:
    return [*_attacks(V1, S1), *_flooded(V1, ("V2",), STRICT), *_good(V1, S1), *_heard(V1, ("V2", "S1", "S2"))]


@table("towards a strict guest, other host")
def far() -> list[Row]:
    return [*_attacks(V2, S1), *_flooded(V2, ("V1",), STRICT), *_good(V2, S1), *_heard(V2, ("V1", "S1", "S2"))]


@table("from another VLAN")
def other_vlan() -> list[Row]:
    rows = []
    for nick, other in (("W1", "W2"), ("W2", "W1")):
        sender = PORTS[nick]
        for one in (S1, S2, V1, V2, PORTS["P"]):
            # To that VLAN such a MAC is one that nobody has: its own ports may hear the frame.
            packet = ip4(one.ip, udp(), src=sender.ip)
            rows.append(
                all_hear(f"{nick}'s IPv4 to {one.nick}", ether(one.mac, packet, src=sender.mac), other, sender=nick, may=frozenset("T"))
            )
        for words, content in (
            ("broadcast", ether(BROADCAST, arp(1, sha=sender.mac, spa=sender.ip), src=sender.mac, kind=ARP)),
            ("multicast", ether(group6(NODES), ip6(NODES, echo(), src=sender.ip6), src=sender.mac)),
        ):
            rows.append(all_hear(f"{nick}'s {words}", content, other, sender=nick, may=frozenset("T")))
            for vlan in (10, 20, 4095):
                rows.append(
                    drop(
                        f"{nick}'s {words} with tag {vlan}", tagged(content, (0x8100, vlan)), "VLAN not allowed", sender=nick, surely=False
                    )
                )
    return rows
