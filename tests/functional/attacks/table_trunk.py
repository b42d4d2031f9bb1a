"""T, a strict trunk of VLANs 10 and 20: the same rules in each of its VLANs, and no other VLAN."""

from __future__ import annotations

from scapy.layers.inet6 import ICMPv6ND_NA
from scapy.packet import Packet

from attacks.cast import PORTS, RED
from attacks.frames import ARP, BROADCAST, V1, V2, arp, ether, group6, ip4, ip6, payload, snap, tagged, udp
from attacks.rows import Row, all_hear, drop, table, to
from attacks.table_icmp6 import advertisement as router
from attacks.table_neighbours import NODES

T, W1, W2 = (PORTS[nick] for nick in ("T", "W1", "W2"))
GREEN = frozenset(("W1", "W2"))


def _content(dst: str = V1.mac, ip: str = V1.ip, src: str = T.ip) -> bytes:
    return ether(dst, ip4(ip, udp(), src=src), src=T.mac)


def _to_nodes(inside: Packet, src: str) -> bytes:
    return ether(group6(NODES), ip6(NODES, inside, src=src, hlim=255), src=T.mac)


@table("a trunk")
def trunk() -> list[Row]:
    rows = []
    for vlan in (0, 1, 11, 30, 4094, 4095, 0xE000, 0x2000 | 30):
        rows.append(drop(f"VLAN {vlan:#x}", tagged(_content(), (0x8100, vlan)), "VLAN not allowed", sender="T"))
    rows.append(drop("untagged", _content(), "VLAN not allowed", sender="T"))
    rows.append(
        drop("untagged broadcast", ether(BROADCAST, arp(1, sha=T.mac, spa=T.ip), src=T.mac, kind=ARP), "VLAN not allowed", sender="T")
    )
    second = ("second VLAN tag", "unknown EtherType", "VLAN not allowed")
    for one, other in ((10, 20), (20, 10), (10, 10), (10, 0), (10, 30), (0, 10)):
        rows.append(drop(f"VLANs {one}, {other}", tagged(_content(), (0x8100, one), (0x8100, other)), *second, sender="T"))
    rows.append(drop("VLAN 10 in 0x9100", tagged(_content(), (0x9100, 10)), *second, sender="T"))
    rows.append(drop("0x88a8 behind VLAN 10", tagged(_content(), (0x8100, 10), (0x88A8, 20)), *second, sender="T"))
    for vlan in (10, 20):
        tag = (0x8100, vlan)
        wrong = {
            "a foreign MAC": (ether(V1.mac, ip4(V1.ip, udp(), src=T.ip), src=V2.mac), "foreign source MAC"),
            "a foreign IPv4 source": (_content(src=V2.ip), "foreign IPv4 source"),
            "a foreign IPv6 source": (ether(V1.mac, ip6(V1.ip6, udp(), src=V2.ip6), src=T.mac), "foreign IPv6 source"),
            "ARP for a neighbour": (ether(BROADCAST, arp(2, sha=T.mac, spa=V2.ip), src=T.mac, kind=ARP), "ARP for another's address"),
            "a router's advertisement": (_to_nodes(router(), T.link_local), "router advertisement"),
            "an advertisement for a neighbour": (_to_nodes(ICMPv6ND_NA(tgt=V2.ip6), T.ip6), "neighbour discovery"),
            "a DHCP server's answer": (ether(BROADCAST, ip4("255.255.255.255", udp(67, 68), src=T.ip), src=T.mac), "DHCP server"),
            "LLDP": (ether(V1.mac, bytes(payload(46)), src=T.mac, kind=0x88CC), "unknown EtherType"),
        }  # fmt: skip
        rows += [drop(f"{words} in VLAN {vlan}", tagged(frame, tag), reason, sender="T") for words, (frame, reason) in wrong.items()]
        foreign, why = wrong["a foreign IPv4 source"]
        rows.append(drop(f"a foreign IPv4 source in SNAP in VLAN {vlan}", tagged(snap(foreign), tag), why, "unknown EtherType", sender="T"))
    for vlan, ports, may in ((10, (V1, V2), RED), (20, (W1, W2), GREEN)):
        for priority in (0, 5):
            tag = (0x8100, priority << 13 | vlan)
            for one in ports:
                for words, frame in (
                    ("UDP", _content(one.mac, one.ip)),
                    ("UDP by IPv6", ether(one.mac, ip6(one.ip6, udp(), src=T.ip6), src=T.mac)),
                    ("an ARP reply", ether(one.mac, arp(2, sha=T.mac, spa=T.ip, tha=one.mac, tpa=one.ip), src=T.mac, kind=ARP)),
                ):
                    rows.append(to(f"{words} in {vlan}.{priority} to {one.nick}", tagged(frame, tag), one.nick, sender="T", becomes=frame))
            frame = ether(BROADCAST, arp(1, sha=T.mac, spa=T.ip), src=T.mac, kind=ARP)
            nicks = [one.nick for one in ports]
            rows.append(all_hear(f"broadcast in {vlan}.{priority}", tagged(frame, tag), *nicks, sender="T", becomes=frame, may=may))
    return rows
