"""Ethernet: source addresses, tags, EtherTypes, 802.3, and destinations that no bridge may forward."""

from __future__ import annotations

from scapy.layers.inet6 import ICMPv6ND_NS, ICMPv6ND_RA, ICMPv6NDOptSrcLLAddr

from attacks.cast import BRIDGE_MACS, PORTS, RED
from attacks.frames import (
    ARP,
    BROADCAST,
    IPV4,
    IPV6,
    RARP,
    S1,
    V1,
    V2,
    P,
    arp,
    ether,
    group4,
    group6,
    ip4,
    ip6,
    mac,
    payload,
    snap,
    solicited,
    tagged,
    udp,
)  # fmt: skip
from attacks.rows import Row, all_hear, drop, harmless, table, to

FOREIGN = {
    "its neighbour's": V1.mac,
    "that of a guest on the other host": V2.mac,
    "that of a guest in another VLAN": PORTS["W1"].mac,
    "that of the bridge": BRIDGE_MACS["host1"],
    "broadcast": BROADCAST,
    "its own with the group bit": "53:54:00:a7:00:01",
    "its own without the local bit": "50:54:00:a7:00:01",
    "its own with the last bit turned": "52:54:00:a7:00:00",
    "its own with the last byte's first bit turned": "52:54:00:a7:00:81",
    "its own with a middle bit turned": "52:54:00:a6:00:01",
    "its own with the second byte's bit turned": "52:55:00:a7:00:01",
    "zero": "00:00:00:00:00:00",
    "a virtual router's": "00:00:5e:00:01:01",
    "a reserved group": "01:80:c2:00:00:00",
    "IPv4 multicast": "01:00:5e:00:00:01",
}
TRUST = "foreign source MAC"


@table("foreign source MAC")
def foreign_mac() -> list[Row]:
    rows = []
    for words, source in FOREIGN.items():
        request = arp(1, sha=source)
        solicitation = ip6(solicited(V1.ip6), ICMPv6ND_NS(tgt=V1.ip6) / ICMPv6NDOptSrcLLAddr(lladdr=source), hlim=255)
        rows += [
            drop(f"IPv4 from {words}", ether(V1.mac, ip4(V1.ip, udp()), src=source), TRUST),
            drop(f"IPv4 to the other host from {words}", ether(V2.mac, ip4(V2.ip, udp()), src=source), TRUST),
            drop(f"ARP from {words}", ether(BROADCAST, request, src=source, kind=ARP), TRUST),
            drop(f"ND from {words}", ether(group6(solicited(V1.ip6)), solicitation, src=source), TRUST),
        ]
    foreign = ether(V1.mac, ip4(V1.ip, udp()), src=V2.mac)
    rows += [
        drop("with a priority tag", tagged(ether(V1.mac, ip4(V1.ip, udp()), src=V2.mac), (0x8100, 0)), TRUST),
        drop("in SNAP", snap(foreign), TRUST),
        drop("of an unknown EtherType", ether(BROADCAST, bytes(payload(46)), src=V2.mac, kind=0x88B5), TRUST),
        drop("RARP", ether(BROADCAST, arp(3, sha=V1.mac, spa="0.0.0.0", tha=V1.mac, tpa="0.0.0.0"), src=V1.mac, kind=RARP), TRUST),
    ]
    return rows


@table("tags")
def tags() -> list[Row]:
    def inside() -> bytes:
        return ether(V1.mac, ip4(V1.ip, udp()))

    def flooded() -> bytes:
        return ether(BROADCAST, arp(1), kind=ARP)

    rows = []
    for vlan in (10, 20, 1, 2, 4094, 4095, 0x6000 | 10, 0x1000 | 20, 0xE000 | 20):
        for words, frame in (("IPv4", inside()), ("a broadcast", flooded())):
            rows.append(drop(f"{words} with tag {vlan:#x}", tagged(frame, (0x8100, vlan)), "VLAN not allowed"))
    second = ("second VLAN tag", "VLAN not allowed")
    other = ("second VLAN tag", "VLAN not allowed", "unknown EtherType")
    pairs = ((0, 0), (0, 10), (0, 20), (10, 10), (10, 20), (20, 10), (0xE000, 20))
    rows += [drop(f"two tags {one:#x}, {two:#x}", tagged(flooded(), (0x8100, one), (0x8100, two)), *second) for one, two in pairs]
    for tpid in (0x88A8, 0x9100, 0x9200, 0x9300):
        rows += [drop(f"tag {vlan} of type {tpid:#x}", tagged(flooded(), (tpid, vlan)), *other) for vlan in (10, 20)]
        rows.append(drop(f"a tag of type {tpid:#x} behind a priority tag", tagged(flooded(), (0x8100, 0), (tpid, 20)), *other))
        rows.append(drop(f"VLAN 20 inside type {tpid:#x}", tagged(inside(), (tpid, 0), (0x8100, 20)), *other))
        if tpid != 0x88A8:
            rows.append(drop(f"tag 0 of type {tpid:#x}", tagged(inside(), (tpid, 0)), *other))
    # OpenFlow has no field for a tag's own type, so this one is a priority tag like another: if it passes, then without the tag.
    plain = inside()
    rows.append(harmless("tag 0 of type 0x88a8", tagged(plain, (0x88A8, 0)), *other, may=frozenset(["V1"]), becomes=plain))
    rows += [
        drop("three priority tags", tagged(inside(), *[(0x8100, 0)] * 3), *second),
        drop("eight tags", tagged(inside(), *[(0x8100, 0)] * 8), *second),
        # The host's own stack throws away a frame whose tag is cut off, before the switch can see and count it.
        drop("a tag that is cut off", mac(V1.mac) + mac(P.mac) + b"\x81\x00", *other, surely=False),
        drop("a tag without an EtherType", mac(V1.mac) + mac(P.mac) + b"\x81\x00\x00\x00", *other, surely=False),
    ]
    return rows


@table("priority tags")
def priority() -> list[Row]:
    rows = []
    for tci in [priority << 13 | drop_eligible << 12 for priority in range(8) for drop_eligible in (0, 1)]:
        frame = ether(V1.mac, ip4(V1.ip, udp()))
        rows.append(to(f"IPv4 with TCI {tci:#06x}", tagged(frame, (0x8100, tci)), "V1", becomes=frame))
    for words, frame, at in (
        ("IPv4 to the other host", ether(V2.mac, ip4(V2.ip, udp())), "V2"),
        ("IPv4 to a strict guest", ether(S1.mac, ip4(S1.ip, udp())), "S1"),
        ("IPv6", ether(V1.mac, ip6(V1.ip6, udp())), "V1"),
        ("ARP", ether(V1.mac, arp(2), kind=ARP), "V1"),
    ):
        rows.append(to(f"{words} with a priority tag", tagged(frame, (0x8100, 0)), at, becomes=frame))
    solicitation = ip6(solicited(V1.ip6), ICMPv6ND_NS(tgt=V1.ip6) / ICMPv6NDOptSrcLLAddr(lladdr=P.mac), hlim=255)
    announcement = arp(3, spa="0.0.0.0", tha=P.mac, tpa="0.0.0.0")
    for words, frame in (
        ("an ARP request", ether(BROADCAST, arp(1), kind=ARP)),
        ("a neighbour solicitation", ether(group6(solicited(V1.ip6)), solicitation)),
        ("a RARP announcement", ether(BROADCAST, announcement, kind=RARP)),
        ("multicast DNS", ether(group4("224.0.0.251"), ip4("224.0.0.251", udp(5353, 5353)))),
        ("a DHCP request", ether(BROADCAST, ip4("255.255.255.255", udp(68, 67), src="0.0.0.0"))),
    ):
        rows.append(all_hear(f"{words} with a priority tag", tagged(frame, (0x8100, 0xE000)), becomes=frame, may=RED))
    for words, frame, reasons in (
        ("a foreign IPv4 source", ether(V1.mac, ip4(V1.ip, udp(), src=V2.ip)), ("foreign IPv4 source",)),
        ("a foreign IPv6 source", ether(V1.mac, ip6(V1.ip6, udp(), src=V2.ip6)), ("foreign IPv6 source",)),
        ("ARP for a neighbour", ether(BROADCAST, arp(2, spa=V2.ip), kind=ARP), ("ARP for another's address",)),
        ("a router advertisement", ether(V1.mac, ip6(V1.link_local, ICMPv6ND_RA(), hlim=255)), ("router advertisement",)),
        ("an answer of a DHCP server", ether(BROADCAST, ip4("255.255.255.255", udp(67, 68))), ("DHCP server",)),
        ("an unknown EtherType", ether(V1.mac, bytes(payload(46)), kind=0x88B5), ("unknown EtherType",)),
        ("a reserved group", ether("01:80:c2:00:00:0e", bytes(payload(46)), kind=0x88CC), ("unknown EtherType", "reserved multicast")),
    ):
        rows.append(drop(f"{words} behind a priority tag", tagged(frame, (0x8100, 0x2000)), *reasons))
    return rows


ETHERTYPES = {
    "LLDP": 0x88CC, "EAPOL": 0x888E, "MPLS": 0x8847, "MPLS multicast": 0x8848, "PPPoE discovery": 0x8863, "PPPoE session": 0x8864,
    "PTP": 0x88F7, "0x0600": 0x0600, "PUP": 0x0200, "WoL": 0x0842, "TRILL": 0x22F3, "SRP": 0x22EA, "DECnet": 0x6003, "LAT": 0x6004,
    "bridging": 0x6558, "AppleTalk": 0x809B, "AARP": 0x80F3, "IPX": 0x8137, "QNX": 0x8204, "flow control": 0x8808, "LACP": 0x8809,
    "PROFINET": 0x8892, "ATA over Ethernet": 0x88A2, "EtherCAT": 0x88A4, "POWERLINK": 0x88AB, "experiment 1": 0x88B5,
    "experiment 2": 0x88B6, "OUI extended": 0x88B7, "GOOSE": 0x88B8, "preauthentication": 0x88C7, "HomePlug": 0x88E1,
    "MACsec": 0x88E5, "provider backbone": 0x88E7, "MVRP": 0x88F5, "MMRP": 0x88F6, "CFM": 0x8902, "FCoE": 0x8906, "FIP": 0x8914,
    "RoCE": 0x8915, "NSH": 0x894F, "loopback": 0x9000, "Ethernet II loop": 0x0060 + 0x8FA0, "VEPA": 0x8940, "batman": 0x4305,
    "byte-swapped IPv4": 0x0008, "byte-swapped ARP": 0x0608, "byte-swapped IPv6": 0xDD86, "0x0801": 0x0801, "0x86dc": 0x86DC,
    "0xffff": 0xFFFF,
}  # fmt: skip


@table("EtherTypes")
def ethertypes() -> list[Row]:
    reason = "unknown EtherType"
    rows = [drop(f"{words} ({kind:#06x})", ether(V1.mac, bytes(payload(46)), kind=kind), reason) for words, kind in ETHERTYPES.items()]
    rows += [
        drop(f"{words} to {group}", ether(group, bytes(payload(46)), kind=ETHERTYPES[words]), reason)
        for words in ("LLDP", "EAPOL", "PTP", "experiment 1", "MPLS", "PPPoE discovery", "CFM")
        for group in (BROADCAST, "01:1b:19:00:00:00", "33:33:00:00:00:01")
    ]
    rows += [
        drop("IPv4 inside MPLS", ether(V1.mac, b"\x00\x01\x01\x40" + bytes(ip4(V1.ip, udp())), kind=0x8847), reason),
        drop("IPv4 inside PPPoE", ether(V1.mac, b"\x11\x00\x00\x01\x00\x36\x00\x21" + bytes(ip4(V1.ip, udp())), kind=0x8864), reason),
        drop("nothing but an EtherType", ether(V1.mac, b"", kind=0x88B5), reason),
    ]
    return rows


@table("802.3")
def llc() -> list[Row]:
    reason = "unknown EtherType"

    def frame(head: bytes, dst: str = V1.mac) -> bytes:
        inside = head + bytes(payload(40))
        return ether(dst, inside, kind=len(inside))

    heads = {
        "NetBEUI": b"\xf0\xf0\x03", "IPX raw": b"\xff\xff\x00", "OSI": b"\xfe\xfe\x03", "spanning tree": b"\x42\x42\x03",
        "LLC of IPv4": b"\x06\x06\x03", "IPX in LLC": b"\xe0\xe0\x03", "XID": b"\x00\x01\xaf",
        "SNAP of a vendor": b"\xaa\xaa\x03\x00\x00\x0c",
    }  # fmt: skip
    rows = [drop(f"{words} to {dst}", frame(head, dst), reason) for words, head in heads.items() for dst in (V1.mac, BROADCAST)]
    cisco, bridges = "01:00:0c:cc:cc:cc", "01:80:c2:00:00:00"
    reserved = (reason, "reserved multicast")
    rows += [
        drop("CDP", frame(b"\xaa\xaa\x03\x00\x00\x0c\x20\x00", cisco), reason),
        drop("PVST+", frame(b"\xaa\xaa\x03\x00\x00\x0c\x01\x0b", "01:00:0c:cc:cc:cd"), reason),
        drop("a BPDU", ether(bridges, b"\x42\x42\x03" + bytes(4) + bytes(payload(31)), kind=38), *reserved),
        drop("length 0", ether(V1.mac, bytes(payload(46)), kind=0), reason),
        drop("length 0 to all", ether(BROADCAST, bytes(payload(46)), kind=0), reason),
        drop("length 1500 and nothing like it", ether(V1.mac, bytes(payload(46)), kind=1500), reason),
        drop("length 1535", ether(V1.mac, bytes(payload(46)), kind=1535), reason),
    ]
    advertisement = ether(group6("ff02::1"), ip6("ff02::1", ICMPv6ND_RA(), src=P.link_local, hlim=255))
    contents = {
        "a foreign IPv4 source": (ether(V1.mac, ip4(V1.ip, udp(), src=V2.ip)), "foreign IPv4 source"),
        "0.0.0.0": (ether(V1.mac, ip4(V1.ip, udp(), src="0.0.0.0")), "foreign IPv4 source"),
        "a foreign IPv6 source": (ether(V1.mac, ip6(V1.ip6, udp(), src=V2.ip6)), "foreign IPv6 source"),
        "ARP for a neighbour": (ether(BROADCAST, arp(2, spa=V2.ip), kind=ARP), "ARP for another's address"),
        "ARP with a neighbour's MAC": (ether(BROADCAST, arp(2, sha=V2.mac), kind=ARP), "ARP for another's address"),
        "a router advertisement": (advertisement, "router advertisement"),
        "an answer of a DHCP server": (ether(BROADCAST, ip4("255.255.255.255", udp(67, 68))), "DHCP server"),
        "an answer of a DHCPv6 server": (ether(V1.mac, ip6(V1.link_local, udp(547, 546), src=P.link_local)), "DHCPv6 server"),
        "VLAN 20": (tagged(ether(BROADCAST, arp(1), kind=ARP), (0x8100, 20)), "second VLAN tag"),
        "a priority tag": (tagged(ether(BROADCAST, arp(1), kind=ARP), (0x8100, 0)), "second VLAN tag"),
        "an unknown EtherType": (ether(V1.mac, bytes(payload(46)), kind=0x88B5), reason),
        "RARP of a neighbour": (
            ether(BROADCAST, arp(3, sha=V1.mac, spa="0.0.0.0", tha=V1.mac, tpa="0.0.0.0"), kind=RARP), "malformed ARP or RARP",
        ),
    }  # fmt: skip
    more = {"ARP with a neighbour's MAC": "malformed ARP or RARP", "VLAN 20": "VLAN not allowed", "a priority tag": "VLAN not allowed"}
    more["RARP of a neighbour"] = "ARP for another's address"
    for words, (content, why) in contents.items():
        rows.append(drop(f"SNAP with {words}", snap(content), why, reason, more.get(words, why)))
        rows.append(drop(f"SNAP with {words} behind a priority tag", tagged(snap(content), (0x8100, 0)), why, reason, more.get(words, why)))
    rows.append(drop("SNAP of another OUI with a router advertisement", snap(advertisement, b"\0\0\xf8"), reason))
    return rows


@table("reserved groups")
def reserved() -> list[Row]:
    rows = []
    for last in range(16):
        dst = f"01:80:c2:00:00:{last:02x}"
        reasons = ("reserved multicast", "unicast packet in a multicast frame", "malformed ARP or RARP")
        rows.append(drop(f"IPv4 to {dst}", ether(dst, ip4("224.0.0.251", udp(5353, 5353))), *reasons))
        kind = (IPV6, ARP, 0x88CC, 0x8809)[last % 4]
        inside = bytes(ip6("ff02::fb", udp(5353, 5353))) if kind == IPV6 else arp(1) if kind == ARP else bytes(payload(46))
        rows.append(drop(f"{kind:#06x} to {dst}", ether(dst, inside, kind=kind), *reasons, "unknown EtherType"))
    rows.append(drop("IPv4 unicast to 01:80:c2:00:00:00", ether("01:80:c2:00:00:00", ip4(V1.ip, udp()), kind=IPV4), *reasons))
    return rows
