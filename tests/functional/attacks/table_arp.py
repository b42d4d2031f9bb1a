"""ARP and RARP."""

from __future__ import annotations

from attacks.cast import PORTS, RED
from attacks.frames import ARP, BROADCAST, RARP, S1, S2, V1, V2, P, arp, ether, payload, tagged
from attacks.rows import Row, all_hear, drop, table, to

NOBODY, ZERO, ROUTER = "0.0.0.0", "00:00:00:00:00:00", "10.0.0.254"
MALFORMED, ANOTHERS = "malformed ARP or RARP", "ARP for another's address"
GROUP = "unicast packet in a multicast frame"


@table("ARP for others")
def another() -> list[Row]:
    def frame(*words: int, dst: str = BROADCAST, **fields: str) -> bytes:
        return ether(dst, arp(*words, **fields), kind=ARP)

    rows = []
    for words, spa in {
        "its neighbour": V1.ip, "a guest on the other host": V2.ip, "the router": ROUTER, "the network": "10.0.0.0",
        "all": "255.255.255.255", "a group": "224.0.0.1", "loopback": "127.0.0.1", "the host": "192.0.2.11",
        "a link-local one": "169.254.1.1",
        "its own with a bit turned": "10.0.0.129", "its own in another net": "10.0.1.1",
    }.items():  # fmt: skip
        rows += [
            drop(f"request from {words}", frame(1, spa=spa), ANOTHERS),
            drop(f"reply from {words} to a neighbour", frame(2, spa=spa, tha=V1.mac, dst=V1.mac), ANOTHERS),
            drop(f"gratuitous request for {words}", frame(1, spa=spa, tpa=spa), ANOTHERS),
            drop(f"gratuitous reply for {words}", frame(2, spa=spa, tpa=spa, tha=BROADCAST), ANOTHERS),
        ]
    rows += [
        drop("reply to the other host", frame(2, spa=V1.ip, tha=V2.mac, tpa=V2.ip, dst=V2.mac), ANOTHERS),
        drop("reply to a strict guest", frame(2, spa=V2.ip, tha=S1.mac, tpa=S1.ip, dst=S1.mac), ANOTHERS),
        drop("reply from nobody", frame(2, spa=NOBODY), ANOTHERS, MALFORMED),
        drop("reply from nobody about itself", frame(2, spa=NOBODY, tpa=P.ip), ANOTHERS, MALFORMED),
        drop("probe for the neighbour's address", frame(1, spa=NOBODY, tpa=V1.ip), ANOTHERS),
        drop("probe for the router's address", frame(1, spa=NOBODY, tpa=ROUTER), ANOTHERS),
        drop("probe for 0.0.0.0", frame(1, spa=NOBODY, tpa=NOBODY), ANOTHERS),
        drop("probe by unicast for the neighbour's address", frame(1, spa=NOBODY, tpa=V2.ip, dst=V2.mac), ANOTHERS),
    ]
    either = (ANOTHERS, MALFORMED, "foreign source MAC")
    for words, sha in {
        "its neighbour's": V1.mac, "the other host's guest's": V2.mac, "broadcast": BROADCAST, "zero": ZERO,
        "one with a bit turned": "52:54:00:a7:00:03", "a group": "01:00:5e:00:00:01",
    }.items():  # fmt: skip
        rows += [
            drop(f"request with sha {words}", frame(1, sha=sha), *either),
            drop(f"reply with sha {words}", frame(2, sha=sha, tha=V1.mac, dst=V1.mac), *either),
            drop(f"probe with sha {words}", frame(1, sha=sha, spa=NOBODY, tpa=P.ip), *either),
        ]
    return rows


@table("malformed ARP")
def malformed() -> list[Row]:
    rows = []
    for op in (0, 3, 4, 5, 6, 7, 8, 9, 10, 23, 25, 0x0101, 0x0102, 0x0200, 0xFFFF):
        rows.append(drop(f"op {op:#x}", ether(BROADCAST, arp(op), kind=ARP), MALFORMED))
    fields = {
        "hardware 0": {"hardware": 0}, "hardware IEEE 802": {"hardware": 6}, "hardware InfiniBand": {"hardware": 32},
        "hardware 0x0100": {"hardware": 256}, "protocol IPv6": {"protocol": 0x86DD}, "protocol 0": {"protocol": 0},
        "protocol ARP": {"protocol": 0x0806}, "protocol with bytes swapped": {"protocol": 8}, "no lengths": {"lengths": (0, 0)},
        "hardware length 8": {"lengths": (8, 4)}, "hardware length 0": {"lengths": (0, 4)}, "protocol length 16": {"lengths": (6, 16)},
        "protocol length 0": {"lengths": (6, 0)}, "lengths swapped": {"lengths": (4, 6)}, "lengths of 255": {"lengths": (255, 255)},
    }  # fmt: skip
    for words, changed in fields.items():
        rows.append(drop(f"request, {words}", ether(BROADCAST, arp(1, **changed), kind=ARP), MALFORMED))
        rows.append(drop(f"reply for a neighbour, {words}", ether(V1.mac, arp(2, spa=V2.ip, **changed), kind=ARP), MALFORMED, ANOTHERS))
    whole = arp(1, padding=False)
    rows += [drop(f"cut off at {size} bytes", ether(BROADCAST, whole[:size], kind=ARP), MALFORMED) for size in (0, 1, 7, 8, 14, 18, 24, 27)]
    spoofed = arp(2, spa=V2.ip, padding=False)
    rows += [
        drop(f"a neighbour's cut off at {size} bytes", ether(V1.mac, spoofed[:size], kind=ARP), MALFORMED, ANOTHERS)
        for size in (18, 24, 27)
    ]
    for dst in ("01:00:5e:00:00:01", "33:33:00:00:00:01", "01:00:0c:cc:cc:cc", "03:00:00:00:00:01", "01:1b:19:00:00:00"):
        rows.append(drop(f"request to {dst}", ether(dst, arp(1), kind=ARP), MALFORMED, GROUP))
        rows.append(drop(f"reply to {dst}", ether(dst, arp(2), kind=ARP), MALFORMED, GROUP))
    return rows


@table("ARP")
def good() -> list[Row]:
    def frame(*words: int, dst: str = BROADCAST, **fields: object) -> bytes:
        return ether(dst, arp(*words, **fields), kind=ARP)

    rows = [
        all_hear(f"request for {words}", frame(1, tpa=tpa), may=RED)
        for words, tpa in {
            "the neighbour": V1.ip, "the other host's guest": V2.ip, "a strict guest": S1.ip, "a strict guest on the other host": S2.ip,
            "the router": ROUTER, "nobody": "10.0.0.200", "0.0.0.0": NOBODY, "far away": "198.51.100.1",
            "a guest of another VLAN": PORTS["W1"].ip,
        }.items()
    ]  # fmt: skip
    rows += [
        all_hear("gratuitous request", frame(1, tpa=P.ip), may=RED),
        all_hear("gratuitous request, tha broadcast", frame(1, tpa=P.ip, tha=BROADCAST), may=RED),
        all_hear("gratuitous reply", frame(2, tpa=P.ip, tha=BROADCAST), may=RED),
        all_hear("gratuitous reply, tha its own", frame(2, tpa=P.ip, tha=P.mac), may=RED),
        all_hear("probe", frame(1, spa=NOBODY, tpa=P.ip), may=RED),
        all_hear("probe, tha broadcast", frame(1, spa=NOBODY, tpa=P.ip, tha=BROADCAST), may=RED),
        all_hear("reply to all", frame(2, tpa=V1.ip, tha=V1.mac), may=RED),
        all_hear("request without padding", frame(1, tpa=V2.ip, padding=False), may=RED),
        all_hear("gratuitous request without padding", frame(1, tpa=P.ip, padding=False), may=RED),
        all_hear("request with long padding", frame(1, tpa=V2.ip) + bytes(1000), may=RED),
    ]
    for one in (V1, V2, S1, S2):
        rows += [
            to(f"reply to {one.nick}", frame(2, tha=one.mac, tpa=one.ip, dst=one.mac), one.nick),
            to(f"request to {one.nick} alone", frame(1, tpa=one.ip, dst=one.mac), one.nick),
            to(f"reply to {one.nick} without padding", frame(2, tha=one.mac, tpa=one.ip, dst=one.mac, padding=False), one.nick),
            to(f"probe to {one.nick} alone", frame(1, spa=NOBODY, tpa=P.ip, dst=one.mac), one.nick),
        ]
    return rows


@table("RARP")
def rarp() -> list[Row]:
    def frame(op: int = 3, dst: str = BROADCAST, **fields: object) -> bytes:
        said = {"spa": NOBODY, "tha": P.mac, "tpa": NOBODY, **fields}
        return ether(dst, arp(op, **said), kind=RARP)

    wrong = {
        "op 1": frame(1), "op 2": frame(2), "op 4": frame(4), "op 0": frame(0), "op 0x103": frame(0x103), "op 0xffff": frame(0xFFFF),
        "a neighbour's sha": frame(sha=V1.mac), "a neighbour's tha": frame(tha=V1.mac), "both a neighbour's": frame(sha=V1.mac, tha=V1.mac),
        "no tha": frame(tha=ZERO), "tha broadcast": frame(tha=BROADCAST), "spa its own": frame(spa=P.ip),
        "spa a neighbour's": frame(spa=V1.ip),
        "tpa its own": frame(tpa=P.ip), "tpa a neighbour's": frame(tpa=V2.ip), "tpa all ones": frame(tpa="255.255.255.255"),
        "a reply to a neighbour": frame(4, dst=V1.mac, tha=V1.mac, tpa=V1.ip, spa=P.ip), "to a neighbour": frame(dst=V1.mac),
        "to the other host": frame(dst=V2.mac), "to a group": frame(dst="01:00:5e:00:00:01"),
        "to an IPv6 group": frame(dst="33:33:00:00:00:01"),
        "hardware 6": frame(hardware=6), "protocol IPv6": frame(protocol=0x86DD), "no lengths": frame(lengths=(0, 0)),
        "nothing": ether(BROADCAST, b"", kind=RARP), "cut off": ether(BROADCAST, arp(3, spa=NOBODY, tha=P.mac, tpa=NOBODY)[:26], kind=RARP),
        "ARP's request as RARP": frame(1, spa=P.ip, tha=ZERO, tpa=V1.ip), "noise": ether(BROADCAST, bytes(payload(46)), kind=RARP),
    }  # fmt: skip
    rows = [drop(words, content, MALFORMED, ANOTHERS, GROUP) for words, content in wrong.items()]
    rows += [
        all_hear("QEMU's announcement", frame(), may=RED),
        all_hear("QEMU's announcement again, padded with zeros", frame(padding=False) + bytes(18), may=RED),
        all_hear("QEMU's announcement without padding", frame(padding=False), may=RED),
    ]
    rows.append(drop("QEMU's announcement in VLAN 20", tagged(frame(), (0x8100, 20)), "VLAN not allowed"))
    return rows
