"""What each of the two parsers reads in a frame, in one form: field names to numbers.

The kernel's key comes as Netlink attributes, ovs-vswitchd's flow as the text of ``ovs-ofctl parse-pcap``, which
calls the same function of the same library. A field that a parser does not have for a frame is not there, and
neither is one that is 0: in a key both are the same bits.
"""

from __future__ import annotations

import re
import struct
from ipaddress import IPv4Address, IPv6Address

from differential.datapath import attributes

Reading = dict[str, int]

ENCAP, ETHERNET, VLAN, ETHERTYPE, IPV4, IPV6, TCP, UDP, ICMP, ICMPV6, ARP, ND = (1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14)
SCTP, TCP_FLAGS, MPLS, NSH = 17, 18, 21, 28
PRESENT = 0x1000
"""The bit of a tag's TCI in which the kernel says that there is one; the frame's own bit in its place is lost to both."""
TAG = 0x8100
"""The EtherType of a tag; any of them, since neither parser tells them apart where it matters here."""
NO_TYPE = 0x05FF
"""The EtherType that both give to what has none."""
FRAGMENT = {"no": 0, "first": 1, "later": 2, "yes": 1}


def _number(content: bytes) -> int:
    return int.from_bytes(content, "big")


def kernel_reading(key: bytes) -> Reading:
    """The key that the kernel would keep a decision under."""
    found: Reading = {}
    _enter(key, found, 0)
    return _final(found)


def _final(found: Reading) -> Reading:
    found.setdefault("eth_type", NO_TYPE)
    if found["eth_type"] == 0x88A8:
        found["eth_type"] = TAG
    return {name: value for name, value in found.items() if value}


def _enter(key: bytes, found: Reading, depth: int) -> None:
    words = dict(attributes(key))
    if VLAN in words and ENCAP in words:
        tci, inside, _ = _number(words.pop(VLAN)), words.pop(ENCAP), words.pop(ETHERTYPE)
        if tci & PRESENT:
            # The tag's own type has no field in OpenFlow.
            found[f"vlan{depth}"] = tci
            _enter(inside, found, depth + 1)
        else:
            # The EtherType of a tag without a tag: behind SNAP, or cut off. The kernel does not say which.
            found["eth_type"] = TAG
    for kind, content in words.items():
        if enter := _KINDS.get(kind):
            found.update(enter(content))


def _ipv4(content: bytes) -> Reading:
    src, dst, proto, tos, ttl, frag = struct.unpack("!IIBBBB", content)
    return {"ip_src": src, "ip_dst": dst, "proto": proto, "tos": tos, "ttl": ttl, "frag": frag}


def _ipv6(content: bytes) -> Reading:
    label, proto, tos, ttl, frag = struct.unpack_from("!IBBBB", content, 32)
    found = {"ip_src": _number(content[:16]), "ip_dst": _number(content[16:32]), "label": label & 0xFFFFF}
    return found | {"proto": proto, "tos": tos, "ttl": ttl, "frag": frag}


def _ports(content: bytes) -> Reading:
    return {"tp_src": _number(content[:2]), "tp_dst": _number(content[2:4])}


def _icmp(content: bytes) -> Reading:
    return {"tp_src": content[0], "tp_dst": content[1]}


def _arp(content: bytes) -> Reading:
    spa, tpa, op = struct.unpack_from("!IIH", content)
    return {"arp_spa": spa, "arp_tpa": tpa, "arp_op": op, "arp_sha": _number(content[10:16]), "arp_tha": _number(content[16:22])}


def _nd(content: bytes) -> Reading:
    return {"nd_target": _number(content[:16]), "nd_sll": _number(content[16:22]), "nd_tll": _number(content[22:28])}


def _mpls(content: bytes) -> Reading:
    return {f"mpls{at // 4}": _number(content[at : at + 4]) for at in range(0, len(content), 4)}


def _nsh(content: bytes) -> Reading:
    words = dict(attributes(content))
    flags, ttl, mdtype, np, path = struct.unpack("!BBBBI", words[1])
    found = {"nsh_flags": flags, "nsh_ttl": ttl, "nsh_mdtype": mdtype, "nsh_np": np, "nsh_spi": path >> 8, "nsh_si": path & 255}
    for at in range(4) if 2 in words else ():
        found[f"nsh_c{at + 1}"] = _number(words[2][at * 4 : at * 4 + 4])
    return found


_KINDS = {
    ETHERNET: lambda content: {"eth_src": _number(content[:6]), "eth_dst": _number(content[6:])},
    ETHERTYPE: lambda content: {"eth_type": _number(content)},
    IPV4: _ipv4, IPV6: _ipv6, TCP: _ports, UDP: _ports, SCTP: _ports, ICMP: _icmp, ICMPV6: _icmp, ARP: _arp, ND: _nd,
    TCP_FLAGS: lambda content: {"tcp_flags": _number(content)},
    MPLS: _mpls, NSH: _nsh,
}  # fmt: skip

_TYPES = {"ip": 0x0800, "ipv6": 0x86DD, "arp": 0x0806, "rarp": 0x8035, "mpls": 0x8847, "mplsm": 0x8848}
_PROTOCOLS = {"tcp": 6, "udp": 17, "icmp": 1, "sctp": 132}
_PROTOCOLS6 = {"tcp6": 6, "udp6": 17, "icmp6": 58, "sctp6": 132}
_FLAGS = ("fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ns")
_MACS = {"dl_src": "eth_src", "dl_dst": "eth_dst", "arp_sha": "arp_sha", "arp_tha": "arp_tha", "nd_sll": "nd_sll", "nd_tll": "nd_tll"}
_V4 = {"nw_src": "ip_src", "nw_dst": "ip_dst", "arp_spa": "arp_spa", "arp_tpa": "arp_tpa"}
_V6 = {"ipv6_src": "ip_src", "ipv6_dst": "ip_dst", "nd_target": "nd_target"}
_PLAIN = {
    "nw_proto": "proto", "nw_ttl": "ttl", "ipv6_label": "label", "tp_src": "tp_src", "tp_dst": "tp_dst", "arp_op": "arp_op",
    "icmp_type": "tp_src", "icmp_code": "tp_dst", "dl_type": "eth_type", "nsh_flags": "nsh_flags", "nsh_ttl": "nsh_ttl",
    "nsh_mdtype": "nsh_mdtype", "nsh_np": "nsh_np", "nsh_spi": "nsh_spi", "nsh_si": "nsh_si", "nsh_c1": "nsh_c1", "nsh_c2": "nsh_c2",
    "nsh_c3": "nsh_c3", "nsh_c4": "nsh_c4",
}  # fmt: skip
_IGNORED = ("in_port", "packet_type", "nd_options_type", "nd_reserved", "recirc_id")


def switch_reading(text: str) -> Reading:
    """What ovs-vswitchd's parser makes of a frame, from the flow's text."""
    found: Reading = {}
    words = [word.partition("=") for word in text.strip().split(",")]
    for name, equals, value in words:
        if not equals:
            _enter_word(name, found)
        elif name not in _IGNORED:
            _enter_field(name, value, found)
    if "nw_tos" in found or "nw_ecn" in found:
        found["tos"] = found.pop("nw_tos", 0) | found.pop("nw_ecn", 0)
    _enter_tags(found)
    _enter_labels(found)
    return _final(found)


def _enter_word(name: str, found: Reading) -> None:
    if name in _TYPES:
        found["eth_type"] = _TYPES[name]
    elif name in _PROTOCOLS:
        found |= {"eth_type": 0x0800, "proto": _PROTOCOLS[name]}
    elif name in _PROTOCOLS6:
        found |= {"eth_type": 0x86DD, "proto": _PROTOCOLS6[name]}
    elif name == "nsh":
        found["eth_type"] = 0x894F
    else:
        raise ValueError(f"ovs-ofctl says {name}, which nobody has taught this test")


def _enter_field(name: str, value: str, found: Reading) -> None:
    if name in _MACS:
        found[_MACS[name]] = int(value.replace(":", ""), 16)
    elif name in _V4:
        found[_V4[name]] = int(IPv4Address(value))
    elif name in _V6:
        found[_V6[name]] = int(IPv6Address(value))
    elif name in _PLAIN:
        found[_PLAIN[name]] = int(value, 0)
    elif name == "nw_frag":
        found["frag"] = FRAGMENT[value]
    elif name == "tcp_flags":
        found["tcp_flags"] = _flags(value)
    elif re.fullmatch(r"nw_tos|nw_ecn|vlan_tci\d?|dl_vlan\d?|dl_vlan_pcp\d?|mpls_(label|tc|ttl|bos|lse)\d?", name):
        found[name] = int(value, 0)
    else:
        raise ValueError(f"ovs-ofctl says {name}={value}, which nobody has taught this test")


def _flags(value: str) -> int:
    if value[:1].isdigit():
        return int(value, 0)
    return sum(1 << _FLAGS.index(one) if one in _FLAGS else int(one.strip("[]"), 16) for one in value.split("|"))


def _enter_tags(found: Reading) -> None:
    """Tags, as the kernel numbers them."""
    for depth, suffix in enumerate(("", "1")):
        tci = found.pop(f"vlan_tci{suffix}", 0)
        if f"dl_vlan{suffix}" in found:
            tci = found.pop(f"dl_vlan{suffix}") | found.pop(f"dl_vlan_pcp{suffix}", 0) << 13 | PRESENT
        if tci:
            found[f"vlan{depth}"] = tci


def _enter_labels(found: Reading) -> None:
    for depth, suffix in enumerate(("", "1", "2")):
        names = [f"mpls_{part}{suffix}" for part in ("label", "tc", "bos", "ttl")]
        if f"mpls_lse{suffix}" in found:
            found[f"mpls{depth}"] = found.pop(f"mpls_lse{suffix}")
        elif names[0] in found:
            label, tc, bos, ttl = (found.pop(name, 0) for name in names)
            found[f"mpls{depth}"] = label << 12 | tc << 9 | bos << 8 | ttl
