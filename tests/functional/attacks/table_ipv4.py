"""IPv4: whose address, DHCP, headers that lie, and frames and packets that do not agree on being unicast."""

from __future__ import annotations

from collections.abc import Callable

from dataplane import chosen
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, TCP, UDP, IPOption_NOP, IPOption_Router_Alert, IPOption_RR
from scapy.layers.l2 import Ether
from scapy.layers.sctp import SCTP, SCTPChunkInit
from scapy.packet import Packet, Padding, Raw

from attacks.cast import RED
from attacks.frames import (
    BROADCAST,
    IPV4,
    S1,
    S2,
    V1,
    V2,
    P,
    ether,
    group4,
    group6,
    ip4,
    mac,
    payload,
    ping,
    tcp,
    udp,
)  # fmt: skip
from attacks.rows import Row, all_hear, drop, table, to

NOBODY, ALL = "0.0.0.0", "255.255.255.255"
FOREIGN, MALFORMED, SERVER = "foreign IPv4 source", "malformed IP", "DHCP server"
GROUP = "unicast packet in a multicast frame"

SOURCES = {
    "nobody": NOBODY, "its neighbour": V1.ip, "the other host's guest": V2.ip, "the router": "10.0.0.254", "the network": "10.0.0.0",
    "the net's broadcast": "10.0.0.255", "loopback": "127.0.0.1", "link-local": "169.254.1.1", "a group": "224.0.0.1",
    "a reserved one": "240.0.0.1", "all ones": ALL, "the host": "192.0.2.11", "the other host": "192.0.2.12",
    "its own, last bit turned": "10.0.0.0",
    "its own, first bit turned": "138.0.0.1", "its own, reversed": "1.0.0.10", "its own in another net": "10.0.1.1",
    "far away": "198.51.100.9",
}  # fmt: skip


@table("foreign IPv4 sources")
def sources() -> list[Row]:
    rows = []
    for words, src in SOURCES.items():
        rows.append(drop(f"UDP from {words}", ether(V1.mac, ip4(V1.ip, udp(), src=src)), FOREIGN))
        rows.append(drop(f"TCP to the other host from {words}", ether(V2.mac, ip4(V2.ip, tcp(), src=src)), FOREIGN))
        rows.append(drop(f"ping to all from {words}", ether(BROADCAST, ip4(ALL, ping(), src=src)), FOREIGN))
        rows.append(drop(f"multicast from {words}", ether(group4("239.1.1.1"), ip4("239.1.1.1", udp(), src=src)), FOREIGN))
    for protocol in (0, 2, 4, 6, 17, 33, 41, 47, 50, 51, 58, 89, 103, 112, 132, 136, 253, 255):
        for words, src in (("a neighbour", V2.ip), ("nobody", NOBODY)):
            frame = ether(V1.mac, ip4(V1.ip, payload(40), src=src, proto=protocol))
            rows.append(drop(f"protocol {protocol} from {words}", frame, FOREIGN, *([MALFORMED] if protocol == 0 else [])))
    for words, fields in (("first", {"flags": "MF"}), ("middle", {"flags": "MF", "frag": 64}), ("last", {"frag": 128})):
        frame = ether(V1.mac, ip4(V1.ip, payload(64), src=V2.ip, proto=17, **fields))
        rows.append(drop(f"the {words} fragment from a neighbour", frame, FOREIGN))
        frame = ether(V1.mac, ip4(V1.ip, payload(64), src=NOBODY, proto=17, **fields))
        rows.append(drop(f"the {words} fragment from nobody", frame, FOREIGN))
    options = [IPOption_RR(pointer=4, routers=[P.ip])]
    rows.append(drop("its own address only in an option", ether(V1.mac, ip4(V1.ip, udp(), src=V2.ip, options=options)), FOREIGN))
    return rows


@table("malformed IPv4")
def malformed() -> list[Row]:
    whole = bytes(ip4(V1.ip, udp()))

    def changed(**fields: int) -> bytes:
        return ether(V1.mac, ip4(V1.ip, udp(), **fields))

    rows = [drop(f"cut off at {size} bytes", ether(V1.mac, whole[:size], kind=IPV4), MALFORMED, FOREIGN) for size in (0, 1, 9, 12, 16, 19)]
    rows += [drop(f"header of {words} words", changed(ihl=words), MALFORMED, FOREIGN) for words in (0, 1, 4)]
    rows += [
        drop(
            "header longer than the packet", ether(V1.mac, bytes(ip4(V1.ip, Raw(b""), ihl=15, len=60))[:34], kind=IPV4), MALFORMED, FOREIGN
        ),
        drop("total length 0", changed(len=0), MALFORMED, FOREIGN),
        drop("total length 19", changed(len=19), MALFORMED, FOREIGN),
        drop("total length beyond the frame", changed(len=9000), MALFORMED, FOREIGN),
        drop("total length one beyond the frame", changed(len=len(whole) + 1), MALFORMED, FOREIGN),
        drop("header longer than the total length", changed(ihl=6, len=20), MALFORMED, FOREIGN),
        drop("protocol 0 from its own", ether(V1.mac, ip4(V1.ip, payload(40), proto=0)), MALFORMED),
        drop("protocol 0 to the other host", ether(V2.mac, ip4(V2.ip, payload(40), proto=0)), MALFORMED),
        drop("protocol 0 to a group", ether(group4("239.1.1.1"), ip4("239.1.1.1", payload(40), proto=0)), MALFORMED),
        drop("protocol 0 from nobody", ether(V1.mac, ip4(V1.ip, payload(40), src=NOBODY, proto=0)), MALFORMED, FOREIGN),
        drop("an IPv6 packet", ether(V1.mac, b"\x60" + bytes(39) + bytes(payload()), kind=IPV4), MALFORMED, FOREIGN),
        drop("zeros", ether(V1.mac, bytes(46), kind=IPV4), MALFORMED, FOREIGN),
        drop("ones", ether(V1.mac, b"\xff" * 46, kind=IPV4), MALFORMED, FOREIGN),
        drop("ARP as IPv4", ether(BROADCAST, b"\x00\x01\x08\x00\x06\x04\x00\x01" + bytes(38), kind=IPV4), MALFORMED, FOREIGN),
    ]
    return rows


@table("DHCP")
def dhcp() -> list[Row]:
    def client(dst: str = ALL, mac: str = BROADCAST, src: str = NOBODY, sport: int = 68, dport: int = 67, **fields: object) -> bytes:
        return ether(mac, ip4(dst, udp(sport, dport, 64), src=src, **fields))

    rows = [
        drop("client's by unicast frame", client(mac=V1.mac), FOREIGN),
        drop("client's to one address", client(dst=V1.ip), FOREIGN),
        drop("client's to the net's broadcast", client(dst="10.0.0.255"), FOREIGN),
        drop("client's to a group", client(dst="224.0.0.1", mac=group4("224.0.0.1")), FOREIGN),
        drop("client's by unicast to the server", client(dst=V1.ip, mac=V1.mac), FOREIGN),
        drop("client's from a neighbour's address", client(src=V1.ip), FOREIGN),
        drop("client's from another port", client(sport=1068), FOREIGN),
        drop("client's from port 67", client(sport=67), FOREIGN),
        drop("client's to port 69", client(dport=69), FOREIGN),
        drop("client's to port 4011", client(dport=4011), FOREIGN),
        drop("client's, first fragment", client(flags="MF"), FOREIGN),
        drop("client's, later fragment", client(frag=8), FOREIGN),
        drop("client's, middle fragment", client(frag=8, flags="MF"), FOREIGN),
        drop("client's by TCP", ether(BROADCAST, ip4(ALL, tcp(68, 67), src=NOBODY)), FOREIGN),
        drop("nobody to nobody", client(sport=68, dport=68), FOREIGN, SERVER),
    ]
    for src, who in ((P.ip, "its own"), (V1.ip, "a neighbour's"), (NOBODY, "no")):
        for sport in (67, 68, 53, 0, 547, 4011, 65535):
            reasons = (SERVER,) if src == P.ip else (SERVER, FOREIGN)
            rows.append(drop(f"server's to all from {who} address and port {sport}", client(src=src, sport=sport, dport=68), *reasons))
    for words, dst, at in (
        ("a neighbour", V1.ip, V1.mac), ("the other host", V2.ip, V2.mac), ("a strict guest", S1.ip, S1.mac),
        ("an address to be", "10.0.0.77", V1.mac),
        ("all by unicast frame", ALL, V2.mac), ("the net's broadcast", "10.0.0.255", BROADCAST),
        ("a group", "224.0.0.1", group4("224.0.0.1")),
    ):  # fmt: skip
        rows.append(drop(f"server's to {words}", client(dst, at, P.ip, 67, 68), SERVER))
        rows.append(drop(f"server's to {words}, first fragment", client(dst, at, P.ip, 67, 68, flags="MF"), SERVER))
    for many in (1, 10):
        options = [IPOption_NOP()] * 4 * many
        rows.append(drop(f"server's behind {4 * many} bytes of options", client(V1.ip, V1.mac, P.ip, 67, 68, options=options), SERVER))
    rows += [drop("server's offer as it is", ether(BROADCAST, ip4(ALL, offer())), SERVER)]
    return rows


def offer() -> Packet:
    content = BOOTP(op=2, yiaddr="10.0.0.66", siaddr=P.ip, chaddr=bytes(6))
    return UDP(sport=67, dport=68) / content / DHCP(options=[("message-type", "offer"), ("server_id", P.ip), "end"]) / payload()


@table("IPv4 in frames of another kind")
def groups() -> list[Row]:
    rows = []
    for at in (
        "01:00:5e:00:00:01", "01:00:5e:7f:ff:fa", "33:33:00:00:00:01", "01:00:0c:cc:cc:cc", "03:00:00:00:00:01", "01:00:5f:00:00:01",
        "01:1b:19:00:00:00", "ff:ff:ff:ff:ff:fe", "53:54:00:a7:00:04",
    ):  # fmt: skip
        for words, dst in (("a neighbour", V1.ip), ("the other host's guest", V2.ip), ("far away", "198.51.100.1")):
            rows.append(drop(f"{words} in {at}", ether(at, ip4(dst, udp())), GROUP))
    for at in ("33:33:00:00:00:fb", "01:00:0c:cc:cc:cd", "03:00:00:00:00:01", "01:00:5f:00:00:fb", group6("ff02::1")):
        rows.append(drop(f"a group in {at}", ether(at, ip4("224.0.0.251", udp())), GROUP))
    for dst in (ALL, "240.0.0.1", "223.255.255.255", "127.0.0.1", NOBODY):
        rows.append(drop(f"{dst} in a multicast frame", ether("01:00:5e:00:00:01", ip4(dst, udp())), GROUP, MALFORMED))
    return rows


def _summed(frame: bytes) -> bytes:
    """The same TCP segment with its checksum."""
    packet = Ether(frame)
    del packet[TCP].chksum
    return bytes(packet)


def _everyone(words: str, make: Callable[[str], Packet]) -> list[Row]:
    """The packet that ``make`` gives, to each of the victims."""
    return [to(f"{words} to {one.nick}", ether(one.mac, make(one.ip)), one.nick) for one in (V1, V2, S1, S2)]


@table("IPv4 unicast")
def unicast() -> list[Row]:
    rows = []
    for protocol in (4, 17, 33, 41, 47, 50, 51, 58, 103, 108, 115, 132, 136, 253, 255, 2, 89):
        rows += _everyone(f"protocol {protocol}", lambda dst, protocol=protocol: ip4(dst, payload(40), proto=protocol))
    for one in (V1, V2, S1, S2):
        content = ether(one.mac, ip4(one.ip, payload(40), proto=6))
        rows.append(to(f"TCP with a wrong checksum to {one.nick}", content, one.nick, becomes=_summed(content) if chosen().sums else None))
    for flags in ("S", "SA", "A", "PA", "FA", "R", "SEC", "", "FPU"):
        rows += _everyone(f"TCP {flags or 'without flags'}", lambda dst, flags=flags: ip4(dst, tcp(flags=flags)))
    for sport, dport in (
        (4000, 53),
        (53, 4000),
        (123, 123),
        (68, 67),
        (67, 67),
        (546, 547),
        (1, 546),
        (0, 9),
        (65535, 65535),
        (4789, 4789),
        (6081, 6081),
    ):
        rows += _everyone(f"UDP {sport} to {dport}", lambda dst, ports=(sport, dport): ip4(dst, udp(*ports)))
    for kind, code in ((8, 0), (0, 0), (3, 3), (3, 4), (11, 0), (12, 0), (13, 0)):
        rows += _everyone(f"ICMP {kind}/{code}", lambda dst, kind=kind, code=code: ip4(dst, ping(kind, code)))
    rows += _everyone("TCP to port 68", lambda dst: ip4(dst, tcp(67, 68)))
    rows += _everyone("SCTP", lambda dst: ip4(dst, SCTP(sport=1, dport=2) / SCTPChunkInit() / payload()))
    rows += _everyone("TTL 1", lambda dst: ip4(dst, udp(), ttl=1))
    rows += _everyone("TTL 255, DSCP and ECN", lambda dst: ip4(dst, udp(), ttl=255, tos=0xBB))
    rows += _everyone("not to be fragmented", lambda dst: ip4(dst, udp(), flags="DF"))
    rows += _everyone("options", lambda dst: ip4(dst, udp(), options=[IPOption_NOP()] * 4))
    rows += _everyone("a wrong checksum", lambda dst: ip4(dst, udp(), chksum=0xBAD))
    rows += _everyone("padding behind it", lambda dst: ip4(dst, udp(size=12)) / Padding(bytes(6)))
    return rows


@table("IPv4 sizes and fragments")
def sizes() -> list[Row]:
    rows = []
    for size in (12, 18, 64, 256, 576, 1000, 1280, 1400, 1426):
        rows += _everyone(f"{size + 28} bytes", lambda dst, size=size: ip4(dst, udp(size=size)))
    for size in (1472, 2000, 4000, 8972):
        rows += [to(f"{size + 28} bytes to {one.nick}", ether(one.mac, ip4(one.ip, udp(size=size))), one.nick) for one in (V1, S1)]
    rows += _everyone("a header alone", lambda dst: ip4(dst, Raw(b""), proto=253))
    rows += _everyone("an empty UDP datagram", lambda dst: ip4(dst, UDP(sport=7, dport=7)))
    for protocol in (1, 6, 17):
        for words, fields in (("first", {"flags": "MF"}), ("middle", {"flags": "MF", "frag": 150}), ("last", {"frag": 300})):
            rows += _everyone(
                f"{words} fragment of {protocol}",
                lambda dst, protocol=protocol, fields=fields: ip4(dst, payload(1200), proto=protocol, id=4242, **fields),
            )
    return rows


@table("IPv4 to many")
def many() -> list[Row]:
    def group(dst: str, inside: Packet, **fields: object) -> bytes:
        return ether(group4(dst), ip4(dst, inside, **fields))

    alert = [IPOption_Router_Alert()]
    frames = {
        "mDNS": group("224.0.0.251", udp(5353, 5353), ttl=255), "SSDP": group("239.255.255.250", udp(40000, 1900), ttl=2),
        "LLMNR": group("224.0.0.252", udp(40000, 5355)), "OSPF": group("224.0.0.5", payload(40), proto=89, ttl=1),
        "RIP": group("224.0.0.9", udp(520, 520), ttl=1), "NTP": group("224.0.1.1", udp(123, 123)),
        "PIM": group("224.0.0.13", payload(40), proto=103),
        "a far group": group("239.1.2.3", udp()), "the highest group": group("239.255.255.255", udp()),
        "a group by TCP": group("232.1.1.1", tcp()),
        "a ping to all hosts": group("224.0.0.1", ping()), "a fragment to a group": group("239.1.2.3", payload(40), proto=17, flags="MF"),
        "a later fragment to a group": group("239.1.2.3", payload(40), proto=17, frag=10),
        "IGMP, version 1": group("239.1.2.3", igmp(0x12, "239.1.2.3"), proto=2, ttl=1),
        "IGMP, version 2": group("239.1.2.3", igmp(0x16, "239.1.2.3"), proto=2, ttl=1, options=alert),
        "IGMP leave": group("224.0.0.2", igmp(0x17, "239.1.2.3"), proto=2, ttl=1, options=alert),
        "IGMP, version 3": group("224.0.0.22", igmp(0x22, "0.0.0.1"), proto=2, ttl=1, options=alert),
        "UDP to all": ether(BROADCAST, ip4(ALL, udp())), "UDP to the net's broadcast": ether(BROADCAST, ip4("10.0.0.255", udp(137, 137))),
        "a ping to all": ether(BROADCAST, ip4(ALL, ping())), "DHCP from its address to all": ether(BROADCAST, ip4(ALL, udp(68, 67, 300))),
        "a group in a broadcast frame": ether(BROADCAST, ip4("224.0.0.251", udp(5353, 5353))),
        "1454 bytes to a group": group("239.1.2.3", udp(size=1426)),
    }  # fmt: skip
    for kind in ("discover", "request", "decline", "inform", "release"):
        content = BOOTP(op=1, chaddr=mac(P.mac), flags=0x8000 if kind == "discover" else 0)
        packet = UDP(sport=68, dport=67) / content / DHCP(options=[("message-type", kind), "end"]) / payload()
        frames[f"DHCP {kind}"] = ether(BROADCAST, ip4(ALL, packet, src=NOBODY))
    rows = [all_hear(words, frame, may=RED) for words, frame in frames.items()]
    for one in (V1, V2, S1, S2):
        rows.append(to(f"a group in a frame to {one.nick}", ether(one.mac, ip4("224.0.0.251", udp(5353, 5353))), one.nick))
        rows.append(to(f"all ones in a frame to {one.nick}", ether(one.mac, ip4(ALL, udp())), one.nick))
    return rows


def igmp(kind: int, group: str) -> Packet:
    return Raw(bytes([kind, 0, 0, 0]) + bytes(IP(src=group, dst=group))[12:16] + bytes(payload(12)))
