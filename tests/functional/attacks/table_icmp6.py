"""ICMPv6 that only routers send, or nobody: advertisements, redirects, MLD queries, and types without a use here."""

from __future__ import annotations

from collections.abc import Callable

from scapy.layers.inet6 import (
    ICMPv6MLQuery,
    ICMPv6MLQuery2,
    ICMPv6ND_RA,
    ICMPv6ND_Redirect,
    ICMPv6NDOptMTU,
    ICMPv6NDOptPrefixInfo,
    ICMPv6NDOptRDNSS,
    ICMPv6NDOptSrcLLAddr,
    ICMPv6Unknown,
    IPv6,
    IPv6ExtHdrFragment,
)  # fmt: skip
from scapy.packet import Packet, Raw

from attacks.frames import S1, V1, V2, P, ether, group6, ip6, payload
from attacks.rows import Row, drop, table
from attacks.table_ipv6 import WRAPPINGS, authentication, router_alert

RA, REDIRECT, QUERY, FRAGMENT = "router advertisement", "ICMPv6 redirect", "MLD query", "IPv6 fragment"
FOREIGN = "foreign IPv6 source"
NODES = "ff02::1"


def advertisement(net: str = "2001:db8:66::", **fields: int) -> Packet:
    prefix = ICMPv6NDOptPrefixInfo(prefix=net, prefixlen=64)
    servers = ICMPv6NDOptRDNSS(dns=["2001:db8:66::53"], lifetime=600)
    return ICMPv6ND_RA(routerlifetime=1800, **fields) / ICMPv6NDOptSrcLLAddr(lladdr=P.mac) / ICMPv6NDOptMTU(mtu=1280) / prefix / servers


def redirect(**fields: int) -> Packet:
    return ICMPv6ND_Redirect(tgt=P.link_local, dst="2001:db8:9::9", **fields)


def query(**fields: int) -> Packet:
    return ICMPv6MLQuery(mladdr="::", **fields)


KINDS: dict[str, tuple[Callable[..., Packet], str]] = {
    "advertisement": (advertisement, RA),
    "redirect": (redirect, REDIRECT),
    "query": (query, QUERY),
}


@table("routers' messages")
def routers() -> list[Row]:
    rows = []
    for kind, (make, reason) in KINDS.items():
        for words, src in (
            ("its link-local", P.link_local),
            ("its own", P.ip6),
            ("no", "::"),
            ("a router's", "fe80::1"),
            ("a neighbour's", V1.link_local),
        ):
            reasons = (reason,) if src in (P.link_local, P.ip6) else (reason, FOREIGN)
            rows.append(
                drop(f"{kind} to all nodes from {words} address", ether(group6(NODES), ip6(NODES, make(), src=src, hlim=255)), *reasons)
            )
            rows.append(drop(f"{kind} to one from {words} address", ether(V1.mac, ip6(V1.link_local, make(), src=src, hlim=255)), *reasons))
        for words, dst, mac in (
            ("the other host", V2.link_local, V2.mac), ("a strict guest", S1.ip6, S1.mac), ("all routers", "ff02::2", group6("ff02::2")),
            ("all nodes in a unicast frame", NODES, V1.mac), ("a group of its own", "ff02::1234", group6("ff02::1234")),
        ):  # fmt: skip
            rows.append(drop(f"{kind} to {words}", ether(mac, ip6(dst, make(), src=P.link_local, hlim=255)), reason))
        for hops in (0, 1, 64, 254):
            rows.append(
                drop(f"{kind} with hop limit {hops}", ether(group6(NODES), ip6(NODES, make(), src=P.link_local, hlim=hops)), reason)
            )
        for code in (1, 128, 255):
            rows.append(
                drop(f"{kind} with code {code}", ether(group6(NODES), ip6(NODES, make(code=code), src=P.link_local, hlim=255)), reason)
            )
        rows += _hidden(kind, make, reason)
    second = ICMPv6MLQuery2(mladdr="::")
    rows += [
        drop("query, version 2", ether(group6(NODES), ip6(NODES, router_alert() / second, src=P.link_local, hlim=1)), QUERY),
        drop("advertisement with a wrong checksum", ether(group6(NODES), ip6(NODES, advertisement(cksum=1), src=P.ip6, hlim=255)), RA),
        drop("advertisement cut off", ether(V1.mac, ip6(V1.ip6, Raw(b"\x86\0\0\0" + bytes(4)), nh=58, hlim=255)), RA),
        drop("redirect with a broken option", ether(V1.mac, ip6(V1.ip6, redirect() / Raw(bytes(8)), hlim=255)), REDIRECT),
    ]
    return rows


def _hidden(kind: str, make: Callable[..., Packet], reason: str) -> list[Row]:
    """The message behind everything that a guest reads through."""
    rows = []
    for words, wrapping in WRAPPINGS.items():
        rows.append(
            drop(f"{kind} behind {words}", ether(group6(NODES), ip6(NODES, wrapping() / make(), src=P.link_local, hlim=255)), reason)
        )
    content = bytes(ip6(NODES, make(), src=P.link_local))[40:]
    behind = ip6(NODES, authentication(58) / Raw(content), src=P.link_local, hlim=255, nh=51)
    rows.append(drop(f"{kind} behind an authentication header", ether(group6(NODES), behind), reason))
    for words, fields in (("an only", {}), ("a first", {"m": 1})):
        reasons = (FRAGMENT,) if fields else (reason,)
        inside = IPv6ExtHdrFragment(nh=58, id=3, **fields) / Raw(content)
        rows.append(drop(f"{kind} in {words} fragment", ether(group6(NODES), ip6(NODES, inside, src=P.link_local, hlim=255)), *reasons))
        rows.append(drop(f"{kind} in {words} fragment to one", ether(V1.mac, ip6(V1.ip6, inside, hlim=255)), *reasons))
        deeper = WRAPPINGS["destination options"]() / inside
        rows.append(drop(f"{kind} in {words} fragment behind options", ether(group6(NODES), ip6(NODES, deeper, hlim=255)), *reasons))
        optioned = IPv6ExtHdrFragment(nh=60, id=3, **fields) / Raw(b"\x3a\0" + bytes([1, 4, 0, 0, 0, 0]) + content)
        rows.append(drop(f"{kind} behind options in {words} fragment", ether(group6(NODES), ip6(NODES, optioned, hlim=255)), *reasons))
    return rows


UNUSED = (0, 5, 99, 100, 101, 126, 127, 138, 139, 140, 141, 142, *range(144, 162), 200, 201, 254, 255)


@table("unused ICMPv6 types")
def unused() -> list[Row]:
    reason, malformed = "ICMPv6 type", "malformed IP"
    rows = [drop(f"type {kind}", ether(V1.mac, ip6(V1.ip6, ICMPv6Unknown(type=kind) / payload(), hlim=255)), reason) for kind in UNUSED]
    rows += [
        drop(f"type {kind} to all nodes", ether(group6(NODES), ip6(NODES, ICMPv6Unknown(type=kind) / payload(), src=P.link_local)), reason)
        for kind in (138, 139, 144, 151, 154, 200, 255)
    ]
    for size in (0, 1, 3):
        packet = IPv6(src=P.ip6, dst=V1.ip6, nh=58) / Raw(b"\x86\0\0"[:size])
        rows.append(drop(f"cut off after {size} bytes", ether(V1.mac, packet), reason, malformed, RA))
    return rows
