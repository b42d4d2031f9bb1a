"""P0, a strict port whose addresses nobody has said: it may ask for one, and use its link-local address to that end."""

from __future__ import annotations

from typing import Any

from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import UDP
from scapy.layers.inet6 import ICMPv6MLDone, ICMPv6MLQuery, ICMPv6MLReport, ICMPv6ND_NS, ICMPv6ND_RA, ICMPv6ND_RS, IPv6ExtHdrFragment
from scapy.packet import Packet, Raw

from attacks.cast import RED
from attacks.frames import (
    ARP,
    BROADCAST,
    IPV4,
    P0,
    RARP,
    V1,
    V2,
    arp,
    ether,
    group4,
    group6,
    ip4,
    ip6,
    mac,
    payload,
    ping,
    solicited,
    tagged,
    tcp,
    udp,
)
from attacks.rows import Row, all_hear, drop, table, to
from attacks.table_ipv6 import echo
from attacks.table_neighbours import NODES, REPORTS, ROUTERS, advertisement, report, report2, solicitation

NOBODY, ALL = "0.0.0.0", "255.255.255.255"
UNKNOWN = "no address known"
ANY4 = (UNKNOWN, "foreign IPv4 source")
ANY6 = (UNKNOWN, "foreign IPv6 source")
RELAYS = "ff02::1:2"


def frame(dst: str, inside: Packet | bytes, kind: int | None = None) -> bytes:
    return ether(dst, inside, src=P0.mac, kind=kind)


def own(dst: str, inside: Packet, mac: str | None = None, src: str = P0.link_local, **fields: Any) -> bytes:
    """An IPv6 packet, from the link-local address unless said otherwise."""
    return frame(mac or group6(dst), ip6(dst, inside, src=src, **{"hlim": 255, **fields}))


def _arp() -> list[Row]:
    reasons = (UNKNOWN, "ARP for another's address", "malformed ARP or RARP")
    said = {
        "request": arp(1, sha=P0.mac, spa=P0.ip), "reply": arp(2, sha=P0.mac, spa=P0.ip),
        "probe": arp(1, sha=P0.mac, spa=NOBODY, tpa=P0.ip),
        "gratuitous request": arp(1, sha=P0.mac, spa=P0.ip, tpa=P0.ip), "request from a neighbour": arp(1, sha=P0.mac, spa=V1.ip),
        "reply for the router": arp(2, sha=P0.mac, spa="10.0.0.254"), "reply with a neighbour's MAC": arp(2, sha=V2.mac, spa=V2.ip),
        "request from nobody": arp(1, sha=P0.mac, spa=NOBODY), "reply from nobody": arp(2, sha=P0.mac, spa=NOBODY),
        "op 8": arp(8, sha=P0.mac, spa=P0.ip),
    }  # fmt: skip
    rows = [drop(f"ARP {words}", frame(BROADCAST, content, ARP), *reasons, sender="P0") for words, content in said.items()]
    rows.append(drop("ARP reply to one", frame(V1.mac, arp(2, sha=P0.mac, spa=P0.ip, tha=V1.mac), ARP), *reasons, sender="P0"))
    return rows


@table("no address known: IPv4 and ARP")
def version4() -> list[Row]:
    rows = _arp()
    for words, src in (
        ("an address of its own choice", P0.ip),
        ("a neighbour", V1.ip),
        ("the router", "10.0.0.254"),
        ("link-local", "169.254.3.3"),
    ):
        for what, inside in (("UDP", udp()), ("TCP", tcp()), ("ping", ping()), ("DHCP", udp(68, 67))):
            rows.append(drop(f"{what} from {words}", frame(V1.mac, ip4(V1.ip, inside, src=src)), *ANY4, sender="P0"))
        rows.append(drop(f"UDP to all from {words}", frame(BROADCAST, ip4(ALL, udp(), src=src)), *ANY4, sender="P0"))
    for words, content in {
        "UDP": frame(BROADCAST, ip4(ALL, udp(), src=NOBODY)), "TCP": frame(V1.mac, ip4(V1.ip, tcp(), src=NOBODY)),
        "multicast": frame(group4("224.0.0.251"), ip4("224.0.0.251", udp(5353, 5353), src=NOBODY)),
        "IGMP": frame(group4("224.0.0.22"), ip4("224.0.0.22", payload(), src=NOBODY, proto=2)),
        "DHCP by unicast": frame(V1.mac, ip4(ALL, udp(68, 67), src=NOBODY)),
        "DHCP to one": frame(BROADCAST, ip4(V1.ip, udp(68, 67), src=NOBODY)),
        "DHCP from another port": frame(BROADCAST, ip4(ALL, udp(67, 67), src=NOBODY)),
        "DHCP in a fragment": frame(BROADCAST, ip4(ALL, udp(68, 67), src=NOBODY, flags="MF")),
    }.items():  # fmt: skip
        rows.append(drop(f"{words} from nobody", content, *ANY4, sender="P0"))
    rows.append(drop("a DHCP server's answer", frame(BROADCAST, ip4(ALL, udp(67, 68), src=NOBODY)), *ANY4, "DHCP server", sender="P0"))
    rows.append(
        drop(
            "LLDP", frame("01:80:c2:00:00:0e", bytes(payload(46)), 0x88CC), "unknown EtherType", "reserved multicast", UNKNOWN, sender="P0"
        )
    )
    rows.append(
        drop("DHCP in VLAN 20", tagged(frame(BROADCAST, ip4(ALL, udp(68, 67), src=NOBODY)), (0x8100, 20)), "VLAN not allowed", sender="P0")
    )
    for kind in ("discover", "request", "decline"):
        content = BOOTP(op=1, chaddr=mac(P0.mac)) / DHCP(options=[("message-type", kind), "end"]) / payload()
        packet = ip4(ALL, UDP(sport=68, dport=67) / content, src=NOBODY)
        rows.append(all_hear(f"DHCP {kind}", frame(BROADCAST, packet, IPV4), sender="P0", may=RED))
    said = arp(3, sha=P0.mac, spa=NOBODY, tha=P0.mac, tpa=NOBODY)
    rows.append(all_hear("QEMU's announcement", frame(BROADCAST, said, RARP), sender="P0", may=RED))
    wrong = arp(3, sha=V1.mac, spa=NOBODY, tha=V1.mac, tpa=NOBODY)
    rows.append(drop("a neighbour's announcement", frame(BROADCAST, wrong, RARP), "ARP for another's address", sender="P0"))
    return rows


@table("no address known: IPv6")
def version6() -> list[Row]:
    rows = []
    reasons = (*ANY6, "ICMPv6 type", "neighbour discovery")
    for words, src in (
        ("its link-local address", P0.link_local),
        ("an address of its own choice", P0.ip6),
        ("a neighbour", V1.ip6),
        ("nobody", "::"),
    ):
        for what, inside in (("UDP", udp()), ("TCP", tcp()), ("ping", echo())):
            rows.append(drop(f"{what} to one from {words}", own(V1.link_local, inside, V1.mac, src), *reasons, sender="P0"))
            rows.append(drop(f"{what} to all from {words}", own(NODES, inside, src=src), *reasons, sender="P0"))
        rows.append(drop(f"router solicitation from {words}", own(ROUTERS, ICMPv6ND_RS(), src=src), *reasons, sender="P0"))
        rows.append(
            drop(
                f"a router's advertisement from {words}", own(NODES, ICMPv6ND_RA(), src=src), *reasons, "router advertisement", sender="P0"
            )
        )
        rows.append(drop(f"an MLD query from {words}", own(NODES, ICMPv6MLQuery(), src=src), *reasons, "MLD query", sender="P0"))
        if src != P0.link_local:
            rows.append(drop(f"advertisement from {words}", own(NODES, advertisement(src, P0.mac), src=src), *reasons, sender="P0"))
        if src not in (P0.link_local, "::"):
            rows.append(drop(f"solicitation from {words}", own(NODES, solicitation(V1.ip6, P0.mac), src=src), *reasons, sender="P0"))
            rows.append(drop(f"DHCPv6 from {words}", own(RELAYS, udp(546, 547), src=src), *reasons, sender="P0"))
    for words, content in {
        "advertisement for a neighbour": own(NODES, advertisement(V1.ip6, P0.mac)),
        "advertisement for an own choice": own(NODES, advertisement(P0.ip6, P0.mac)),
        "advertisement for a neighbour's link-local": own(V1.link_local, advertisement(V2.link_local, P0.mac), V1.mac),
        "detection for a neighbour": own(solicited(V1.ip6), ICMPv6ND_NS(tgt=V1.ip6), src="::"),
        "detection for an own choice": own(solicited(P0.ip6), ICMPv6ND_NS(tgt=P0.ip6), src="::"),
        "solicitation with hop limit 64": own(NODES, solicitation(V1.ip6, P0.mac), hlim=64),
        "solicitation in a fragment": own(NODES, IPv6ExtHdrFragment(nh=58, m=1) / Raw(bytes(ip6(NODES, solicitation(V1.ip6)))[40:])),
        "a DHCPv6 server's answer": own(V1.link_local, udp(547, 546), V1.mac), "DHCPv6 from port 547": own(RELAYS, udp(547, 547)),
        "DHCPv6 from nobody": own(RELAYS, udp(546, 547), src="::"),
        "a report from nobody to a site": own("ff05::16", report2("ff02::fb"), src="::"),
        "a later fragment": own(V1.link_local, IPv6ExtHdrFragment(nh=17, offset=4) / payload(), V1.mac),
    }.items():  # fmt: skip
        more = ("IPv6 fragment", "DHCPv6 server")
        rows.append(drop(words, content, *reasons, *more, sender="P0"))
    good = {
        "DHCPv6": own(RELAYS, udp(546, 547, 60), hlim=1), "solicitation": own(solicited(V1.ip6), solicitation(V1.ip6, P0.mac)),
        "solicitation of a link-local one": own(solicited(V2.link_local), solicitation(V2.link_local, P0.mac)),
        "advertisement of its link-local one": own(NODES, advertisement(P0.link_local, P0.mac)),
        "detection of its link-local one": own(solicited(P0.link_local), ICMPv6ND_NS(tgt=P0.link_local), src="::"),
        "report 2 from nobody": own(REPORTS, report2("ff02::1:ff00:6"), src="::", hlim=1),
        "report 2": own(REPORTS, report2("ff02::1:ff00:6"), hlim=1), "report": own("ff02::fb", report(ICMPv6MLReport, "ff02::fb"), hlim=1),
        "report from nobody": own("ff02::fb", report(ICMPv6MLReport, "ff02::fb"), src="::", hlim=1),
        "done": own(ROUTERS, report(ICMPv6MLDone, "ff02::fb"), hlim=1),
    }  # fmt: skip
    rows += [all_hear(words, content, sender="P0", may=RED) for words, content in good.items()]
    for one in (V1, V2):
        rows.append(
            to(f"solicitation to {one.nick}", own(one.link_local, solicitation(one.link_local, P0.mac), one.mac), one.nick, sender="P0")
        )
        rows.append(
            to(f"advertisement to {one.nick}", own(one.link_local, advertisement(P0.link_local, P0.mac), one.mac), one.nick, sender="P0")
        )
    return rows
