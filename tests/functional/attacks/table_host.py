"""The host: out of its guests' reach, unless its network says otherwise; and never reached by what ends a tunnel."""

from __future__ import annotations

from scapy.layers.inet import IPOption_NOP
from scapy.packet import Packet, Raw

from attacks.cast import BRIDGE_MACS, HOSTED_RED, PORTS, RED, Port
from attacks.frames import ARP, BROADCAST, V1, V2, P, arp, ether, group4, group6, ip4, ip6, payload, ping, solicited, tcp, udp
from attacks.rows import Row, all_hear, drop, harmless, table, to
from attacks.table_ipv6 import WRAPPINGS, echo
from attacks.table_neighbours import NODES, solicitation

OUT = "host out of reach"
HOST4, HOST6 = "10.0.0.250", "2001:db8:1::250"
ALL = "255.255.255.255"
TUNNEL_PORTS = {"VXLAN": 4789, "Geneve": 6081, "BFD": 3784, "multihop BFD": 4784}


def gre() -> Packet:
    """GRE with a key, as the tunnels of these hosts have it (RFC 2890), and a frame inside."""
    return Raw(b"\x20\x00\x65\x58\x00\x00\x00\x07" + bytes(payload(60)))


@table("a host that is out of reach")
def out_of_reach() -> list[Row]:
    rows = []
    asked = solicited(HOST6)
    for sender in (P, V1, V2):
        for name, mac in list(BRIDGE_MACS.items())[:2]:
            for words, inside, kind in (
                ("UDP", ip4(HOST4, udp(), src=sender.ip), None), ("a ping", ip4("192.0.2.11", ping(), src=sender.ip), None),
                ("GRE", ip4("192.0.2.11", gre(), src=sender.ip, proto=47), None),
                ("VXLAN", ip4("192.0.2.11", udp(4789, 4789), src=sender.ip), None),
                ("ARP", arp(1, sha=sender.mac, spa=sender.ip, tpa=HOST4), ARP), ("IPv6", ip6(HOST6, udp(), src=sender.ip6), None),
                ("a solicitation", ip6(HOST6, solicitation(HOST6, sender.mac), src=sender.ip6, hlim=255), None),
            ):  # fmt: skip
                # Where the switch knows no such address the frame is one for nobody; whoever has no guard may then hear it.
                content = ether(mac, inside, src=sender.mac, kind=kind)
                may = frozenset(("V1", "V2", "I2", "I3"))
                rows.append(harmless(f"{words} from {sender.nick} to {name}", content, OUT, may=may, sender=sender.nick))
        for words, dst, inside, kind in (
            ("ARP", BROADCAST, arp(1, sha=sender.mac, spa=sender.ip, tpa=HOST4), ARP),
            ("UDP", BROADCAST, ip4(ALL, udp(), src=sender.ip), None),
            ("mDNS", group4("224.0.0.251"), ip4("224.0.0.251", udp(), src=sender.ip), None),
            ("a solicitation", group6(asked), ip6(asked, solicitation(HOST6, sender.mac), src=sender.ip6, hlim=255), None),
            ("a ping to all nodes", group6(NODES), ip6(NODES, echo(), src=sender.ip6), None),
        ):  # fmt: skip
            hear = {"V1", "V2", "S1", "S2"} - {sender.nick}
            rows.append(
                all_hear(
                    f"{words} from {sender.nick} to all", ether(dst, inside, src=sender.mac, kind=kind), *hear, sender=sender.nick, may=RED
                )
            )
    return rows


def _tunnels(sender: Port, mac: str) -> dict[str, bytes]:
    """All that would end a tunnel or a session of the host's, in IPv4 and IPv6."""

    def four(inside: Packet, **fields: object) -> bytes:
        return ether(mac, ip4(HOST4, inside, src=sender.ip, **fields), src=sender.mac)

    def six(inside: Packet, **fields: object) -> bytes:
        return ether(mac, ip6(HOST6, inside, src=sender.ip6, **fields), src=sender.mac)

    found = {
        "GRE": four(gre(), proto=47),
        "GRE by IPv6": six(gre(), nh=47),
        "GRE behind options": six(_last(47, gre()), nh=60),
    }
    for words, port in TUNNEL_PORTS.items():
        found |= {
            words: four(udp(50000, port, 60)), f"{words} from its own port": four(udp(port, port, 60)),
            f"{words} with options": four(udp(50000, port, 60), options=[IPOption_NOP()] * 8),
            f"{words} in a first fragment": four(udp(50000, port, 60), flags="MF"),
            f"{words} by IPv6": six(udp(50000, port, 60)),
            f"{words} by IPv6 behind options": six(WRAPPINGS["destination options"]() / udp(50000, port, 60)),
        }  # fmt: skip
    found["a GRE fragment"] = four(gre(), proto=47, flags="MF")
    found["a later GRE fragment"] = four(gre(), proto=47, frag=20)
    return found


def _last(kind: int, inside: Packet) -> Raw:
    """Destination options of eight bytes before something that scapy has no number for."""
    return Raw(bytes([kind, 0, 1, 4, 0, 0, 0, 0]) + bytes(inside))


@table("a host within reach")
def within_reach() -> list[Row]:
    rows = []
    mac = BRIDGE_MACS["hosted1"]
    for nick, other in (("H", "HV"), ("HV", "H")):
        sender = PORTS[nick]
        for words, frame in _tunnels(sender, mac).items():
            rows.append(drop(f"{words} from {nick}", frame, OUT, sender=nick))
        for words, port in TUNNEL_PORTS.items():
            content = ether(BROADCAST, ip4(ALL, udp(50000, port, 60), src=sender.ip), src=sender.mac)
            # The other guest hears it; the copy for the host is the one that ends.
            may = HOSTED_RED - {"hosted1"}
            rows.append(Row(f"{words} to all from {nick}", content, nick, frozenset([other]), may, frozenset([OUT]), surely=False))
        good = {
            "UDP": ip4(HOST4, udp(), src=sender.ip), "TCP": ip4(HOST4, tcp(dport=22), src=sender.ip),
            "a ping": ip4(HOST4, ping(), src=sender.ip),
            "UDP by IPv6": ip6(HOST6, udp(), src=sender.ip6), "TCP by IPv6": ip6(HOST6, tcp(), src=sender.ip6),
            "TCP to port 4789": ip4(HOST4, tcp(dport=4789), src=sender.ip),
            "UDP from port 4789": ip4(HOST4, udp(4789, 53), src=sender.ip), "a ping by IPv6": ip6(HOST6, echo(), src=sender.link_local),
        }  # fmt: skip
        rows += [to(f"{words} from {nick}", ether(mac, inside, src=sender.mac), "hosted1", sender=nick) for words, inside in good.items()]
        reply = arp(2, sha=sender.mac, spa=sender.ip, tha=mac, tpa=HOST4)
        rows.append(to(f"an ARP reply from {nick}", ether(mac, reply, src=sender.mac, kind=ARP), "hosted1", sender=nick))
        request = arp(1, sha=sender.mac, spa=sender.ip, tpa=HOST4)
        for words, dst, inside, kind in (
            ("ARP", BROADCAST, request, ARP), ("UDP", BROADCAST, ip4(ALL, udp(), src=sender.ip), None),
            ("DHCP", BROADCAST, ip4(ALL, udp(68, 67, 300), src="0.0.0.0"), None),
            ("mDNS", group4("224.0.0.251"), ip4("224.0.0.251", udp(), src=sender.ip), None),
            ("a ping to all nodes", group6(NODES), ip6(NODES, echo(), src=sender.ip6), None),
        ):  # fmt: skip
            content = ether(dst, inside, src=sender.mac, kind=kind)
            rows.append(all_hear(f"{words} to all from {nick}", content, other, "hosted1", sender=nick, may=HOSTED_RED))
    return rows
