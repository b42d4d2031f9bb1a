"""Neighbour discovery and MLD that hosts send: whose, about whom, and with which code and hop limit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scapy.layers.inet6 import (
    ICMPv6MLDMultAddrRec,
    ICMPv6MLDone,
    ICMPv6MLReport,
    ICMPv6MLReport2,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6ExtHdrFragment,
)  # fmt: skip
from scapy.packet import Packet, Raw

from attacks.cast import RED
from attacks.frames import BROADCAST, S1, S2, V1, V2, P, ether, group6, ip6, payload, solicited
from attacks.rows import Row, all_hear, drop, harmless, table, to
from attacks.table_ipv6 import WRAPPINGS, router_alert

ND, FRAGMENT, FOREIGN, GROUP = (
    "neighbour discovery",
    "IPv6 fragment",
    "foreign IPv6 source",
    "unicast packet in a multicast frame",
)
NODES, ROUTERS, REPORTS = "ff02::1", "ff02::2", "ff02::16"


def solicitation(target: str, mac: str = P.mac, **fields: Any) -> Packet:
    return ICMPv6ND_NS(tgt=target, **fields) / ICMPv6NDOptSrcLLAddr(lladdr=mac)


def advertisement(target: str, mac: str = P.mac, **fields: Any) -> Packet:
    return ICMPv6ND_NA(tgt=target, **{"R": 0, "S": 1, "O": 1, **fields}) / ICMPv6NDOptDstLLAddr(lladdr=mac)


def group(dst: str, inside: Packet, **fields: Any) -> bytes:
    return ether(group6(dst), ip6(dst, inside, **{"hlim": 255, **fields}))


def single(dst: str, mac: str, inside: Packet, **fields: Any) -> bytes:
    return ether(mac, ip6(dst, inside, **{"hlim": 255, **fields}))


MESSAGES: dict[str, Callable[..., Packet]] = {
    "solicitation": lambda **fields: solicitation(V1.ip6, **fields),
    "advertisement": lambda **fields: advertisement(P.ip6, **fields),
    "router solicitation": lambda **fields: ICMPv6ND_RS(**fields) / ICMPv6NDOptSrcLLAddr(lladdr=P.mac),
}


@table("ND with wrong fields")
def fields() -> list[Row]:
    rows = []
    for words, make in MESSAGES.items():
        dst = ROUTERS if "router" in words else NODES
        rows += [drop(f"{words} with code {code}", group(dst, make(code=code)), ND) for code in (1, 2, 255)]
        rows += [drop(f"{words} with hop limit {hops}", group(dst, make(), hlim=hops), ND) for hops in (0, 1, 64, 225, 254)]
        rows += [drop(f"{words} to one with hop limit {hops}", single(V1.ip6, V1.mac, make(), hlim=hops), ND) for hops in (64, 254)]
        for who, src in (
            ("a neighbour", V1.ip6),
            ("a neighbour's link-local", V1.link_local),
            ("a router", "fe80::1"),
            ("far away", "2001:db8:9::9"),
        ):
            rows.append(drop(f"{words} from {who}", group(dst, make(), src=src), FOREIGN, ND))
            rows.append(drop(f"{words} to the other host from {who}", single(V2.ip6, V2.mac, make(), src=src), FOREIGN, ND))
        rows += _in_fragments(words, make)
        rows.append(drop(f"{words} in a broadcast frame", ether(BROADCAST, ip6(dst, make(), hlim=255)), GROUP))
        rows.append(drop(f"{words} to one in a multicast frame", ether(group6(dst), ip6(V1.ip6, make(), hlim=255)), GROUP, ND))
    for words, dst in (("all routers", ROUTERS), ("all nodes", NODES), ("one", V1.ip6)):
        mac = V1.mac if dst == V1.ip6 else group6(dst)
        rows.append(
            drop(f"router solicitation from nobody to {words}", ether(mac, ip6(dst, ICMPv6ND_RS(), src="::", hlim=255)), FOREIGN, ND)
        )
    return rows


def _in_fragments(words: str, make: Callable[..., Packet]) -> list[Row]:
    """RFC 6980: none of it in fragments. An only fragment (RFC 6946) looks to Open vSwitch as if it were none, and is judged as such."""
    content = bytes(ip6(NODES, make()))[40:]
    rows = []
    for which, marks in (("an only", {}), ("a first", {"m": 1})):
        inside = IPv6ExtHdrFragment(nh=58, id=4, **marks) / Raw(content)
        frames = {
            f"{words} in {which} fragment": group(NODES, inside),
            f"{words} in {which} fragment to one": single(V1.ip6, V1.mac, inside),
            f"{words} in {which} fragment behind options": group(NODES, WRAPPINGS["destination options"]() / inside),
        }
        rows += [_fragment(name, frame, bool(marks), FRAGMENT, ND) for name, frame in frames.items()]
    return rows


def _fragment(name: str, frame: bytes, visible: bool, *reasons: str) -> Row:
    return drop(name, frame, *reasons) if visible else harmless(name, frame, *reasons, may=RED)


@table("neighbour advertisements for others")
def targets() -> list[Row]:
    rows = []
    for words, target in {
        "its neighbour": V1.ip6, "its neighbour's link-local": V1.link_local, "the other host's guest": V2.ip6, "the router": "fe80::1",
        "nobody": "::", "loopback": "::1", "all nodes": NODES, "its own with a bit turned": "2001:db8:1::3",
        "its own in another net": "2001:db8:2::1",
        "the network": "2001:db8:1::", "far away": "2001:db8:9::9",
    }.items():  # fmt: skip
        for flags in ({"S": 1, "O": 0}, {"S": 0, "O": 1}, {"R": 1, "S": 1, "O": 1}):
            said = "".join(flag for flag, on in flags.items() if on)
            rows.append(drop(f"for {words} to all nodes, {said}", group(NODES, advertisement(target, **flags)), ND))
        rows.append(drop(f"for {words} to its neighbour", single(V1.ip6, V1.mac, advertisement(target)), ND))
        rows.append(drop(f"for {words} to the other host", single(V2.link_local, V2.mac, advertisement(target), src=P.link_local), ND))
        rows.append(drop(f"for {words} behind options", group(NODES, WRAPPINGS["hop-by-hop options"]() / advertisement(target)), ND))
    plain = ICMPv6ND_NA(tgt=P.ip6, R=0, S=1, O=1)
    # Open vSwitch reads some advertisements with broken options as for nobody, and others as if the options were not there.
    for words, broken in {
        "an option of no length": b"\x02\x00" + bytes(6), "its option twice": (b"\x02\x01" + bytes(6)) * 2,
        "an option too long": b"\x02\x09" + bytes(6),
        "an option cut off": b"\x02\x01\x52",
    }.items():  # fmt: skip
        rows.append(harmless(f"for its own with {words}", group(NODES, plain / Raw(broken)), ND, "malformed IP", may=RED))
        rows.append(
            drop(f"for a neighbour with {words}", group(NODES, ICMPv6ND_NA(tgt=V1.ip6, S=0, O=1) / Raw(broken)), ND, "malformed IP")
        )
    rows += [
        drop("cut off before its target", single(V1.ip6, V1.mac, Raw(b"\x88\0\0\0" + bytes(4)), nh=58), ND, "malformed IP"),
        drop("cut off in its target", single(V1.ip6, V1.mac, Raw(b"\x88\0\0\0" + bytes(12)), nh=58), ND, "malformed IP"),
        drop("from nobody", group(NODES, advertisement(P.ip6), src="::"), FOREIGN, ND),
        drop("from nobody for a neighbour", group(NODES, advertisement(V1.ip6), src="::"), FOREIGN, ND),
    ]
    return rows


@table("duplicate address detection")
def detection() -> list[Row]:
    def ask(target: str, dst: str | None = None, mac: str | None = None, **fields: Any) -> bytes:
        to_group = dst or solicited(target)
        code = fields.pop("code", 0)
        packet = ip6(to_group, ICMPv6ND_NS(tgt=target, code=code), **{"src": "::", "hlim": 255, **fields})
        return ether(mac or group6(to_group), packet)

    rows = []
    for words, target in {
        "its neighbour": V1.ip6, "its neighbour's link-local": V1.link_local, "the other host's guest": V2.ip6, "a strict guest": S1.ip6,
        "a strict guest's link-local": S1.link_local, "the router": "fe80::1", "nobody": "::", "far away": "2001:db8:9::9",
        "its own with a bit turned": "2001:db8:1::3",
    }.items():  # fmt: skip
        rows.append(drop(f"for {words}", ask(target), ND, FOREIGN))
        rows.append(drop(f"for {words} to all nodes", ask(target, NODES), ND, FOREIGN))
    either = (ND, FOREIGN)
    rows += [
        drop("for its own to all nodes", ask(P.ip6, NODES), *either),
        drop("for its own to all routers", ask(P.ip6, ROUTERS), *either),
        drop("for its own to a site's group", ask(P.ip6, "ff05::1:ff00:1"), *either),
        drop("for its own to a neighbour", ask(P.ip6, V1.ip6, V1.mac), *either),
        drop("for its own to itself", ask(P.ip6, P.ip6, V1.mac), *either),
        drop("for its own with code 1", ask(P.ip6, code=1), *either),
        drop("for its own with hop limit 64", ask(P.ip6, hlim=64), *either),
        drop("for its own with hop limit 254", ask(P.ip6, hlim=254), *either),
        drop("for its own, in a broadcast frame", ask(P.ip6, mac=BROADCAST), *either, GROUP),
    ]
    for which, marks in (("an only", {}), ("a first", {"m": 1})):
        content = Raw(bytes(ip6(NODES, ICMPv6ND_NS(tgt=P.ip6), src="::"))[40:])
        frame = group(solicited(P.ip6), IPv6ExtHdrFragment(nh=58, id=5, **marks) / content, src="::")
        rows.append(_fragment(f"for its own in {which} fragment", frame, bool(marks), *either, FRAGMENT))
    rows += [
        all_hear("for its own address", ask(P.ip6), may=RED),
        all_hear("for its link-local address", ask(P.link_local), may=RED),
    ]
    nonce = ip6(solicited(P.ip6), ICMPv6ND_NS(tgt=P.ip6) / Raw(b"\x0e\x01nonce1"), src="::", hlim=255)
    rows.append(all_hear("for its own with a nonce", ether(group6(solicited(P.ip6)), nonce), may=RED))
    return rows


@table("ND")
def good() -> list[Row]:
    rows = []
    for one in (V1, V2, S1, S2):
        for src in (P.ip6, P.link_local):
            kind = "link-local" if src == P.link_local else "own"
            rows += [
                all_hear(f"{kind} solicitation for {one.nick}", group(solicited(one.ip6), solicitation(one.ip6), src=src), may=RED),
                to(f"{kind} solicitation to {one.nick} alone", single(one.ip6, one.mac, solicitation(one.ip6), src=src), one.nick),
                to(f"{kind} advertisement to {one.nick}", single(one.link_local, one.mac, advertisement(src), src=src), one.nick),
                to(
                    f"router solicitation from {kind} to {one.nick}",
                    single(one.link_local, one.mac, MESSAGES["router solicitation"](), src=src),
                    one.nick,
                ),
            ]
    rows += [
        all_hear("solicitation for the router", group(solicited("fe80::1"), solicitation("fe80::1"), src=P.link_local), may=RED),
        all_hear("solicitation for nobody there", group(solicited("2001:db8:1::99"), solicitation("2001:db8:1::99")), may=RED),
        all_hear("solicitation without an option", group(solicited(V1.ip6), ICMPv6ND_NS(tgt=V1.ip6)), may=RED),
        all_hear("advertisement to all nodes", group(NODES, advertisement(P.ip6, S=0)), may=RED),
        all_hear("link-local advertisement to all nodes", group(NODES, advertisement(P.link_local, S=0), src=P.link_local), may=RED),
        all_hear("own advertisement from the link-local address", group(NODES, advertisement(P.ip6, S=0), src=P.link_local), may=RED),
        all_hear("advertisement without an option", group(NODES, ICMPv6ND_NA(tgt=P.ip6, R=0, S=0, O=1)), may=RED),
        all_hear("advertisement behind options", group(NODES, WRAPPINGS["destination options"]() / advertisement(P.ip6, S=0)), may=RED),
        all_hear("router solicitation", group(ROUTERS, MESSAGES["router solicitation"](), src=P.link_local), may=RED),
        all_hear("router solicitation without an option", group(ROUTERS, ICMPv6ND_RS(), src=P.link_local), may=RED),
        all_hear("router solicitation from its own address", group(ROUTERS, ICMPv6ND_RS()), may=RED),
    ]
    return rows


def report(kind: type[Packet], address: str) -> Packet:
    return router_alert() / kind(mladdr=address)


def report2(address: str) -> Packet:
    return router_alert() / ICMPv6MLReport2(records=[ICMPv6MLDMultAddrRec(rtype=4, dst=address)])


@table("MLD")
def listeners() -> list[Row]:
    rows = []
    kinds: dict[str, tuple[Callable[[str], Packet], str]] = {
        "report": (lambda one: report(ICMPv6MLReport, one), ""), "done": (lambda one: report(ICMPv6MLDone, one), ROUTERS),
        "report 2": (report2, REPORTS),
    }  # fmt: skip
    for words, (make, dst) in kinds.items():
        for who, src in (("its link-local", P.link_local), ("its own", P.ip6), ("no", "::")):
            for address in ("ff02::fb", "ff02::1:ff00:1", "ff05::1234"):
                goes = dst or address
                if src != "::" or goes.startswith("ff02"):
                    rows.append(all_hear(f"{words} for {address} from {who} address", group(goes, make(address), src=src, hlim=1), may=RED))
        for who, src in (
            ("a neighbour", V1.link_local),
            ("the other host's guest", V2.link_local),
            ("a router", "fe80::1"),
            ("far away", "2001:db8:9::9"),
        ):
            rows.append(drop(f"{words} from {who}", group(dst or "ff02::fb", make("ff02::fb"), src=src, hlim=1), FOREIGN))
        for goes in ("ff05::1234", "ff0e::1", "ff01::1", "ff12::16"):
            rows.append(
                drop(f"{words} from nobody to {goes}", group(goes, make("ff02::fb"), src="::", hlim=1), FOREIGN, "neighbour discovery")
            )
        rows.append(drop(f"{words} from nobody to one", single(V1.link_local, V1.mac, make("ff02::fb"), src="::", hlim=1), FOREIGN))
        rows.append(
            drop(
                f"{words} from nobody to one in a multicast frame",
                ether(group6("ff02::16"), ip6(V1.ip6, make("ff02::fb"), src="::")),
                FOREIGN,
                GROUP,
            )
        )
    rows.append(
        all_hear("report 2 without a router alert", group(REPORTS, ICMPv6MLReport2() / payload(), src=P.link_local, hlim=1), may=RED)
    )
    return rows
