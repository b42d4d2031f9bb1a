"""Flows' matches as a judge's program: what a row of a table asks of a packet that has been read.

Strategy: the words are those of ovs-ofctl, in which the pipeline's rows are written, and mean what
they mean to Open vSwitch. A field that is not known here is an error at once, in every test.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network

from vnetd.judge.assembler import HALF, Assembler, Operand
from vnetd.judge.packet import ICMP, ICMP6, IPV4, IPV6, L3, SCTP, TCP, UDP, Fragment, Slot, skip_unless_word

Row = tuple[int, str, str]
"""Priority, match, and the label to go to."""

_MASK = 0xFFFF_FFFF

_FRAGMENTS = {
    "no": (Fragment.WHOLE, True), "yes": (Fragment.WHOLE, False), "first": (Fragment.FIRST, True),
    "later": (Fragment.LATER, True), "not_later": (Fragment.LATER, False),
}  # fmt: skip
"""The words of ovs-ofctl: which piece, and whether it is to be this one or any other."""

_PROTOCOLS: dict[str, tuple[int, int | None]] = {
    "ip": (IPV4, None), "udp": (IPV4, UDP), "tcp": (IPV4, TCP), "icmp": (IPV4, ICMP), "sctp": (IPV4, SCTP),
    "ipv6": (IPV6, None), "udp6": (IPV6, UDP), "tcp6": (IPV6, TCP), "icmp6": (IPV6, ICMP6), "sctp6": (IPV6, SCTP),
}  # fmt: skip


def judge_rows(code: Assembler, kind: int, rows: Iterable[Row]) -> None:
    """The rows that concern this EtherType, those of the highest priority first, as the switch looks for them; then the code goes on."""
    for _, match, outcome in sorted(rows, key=lambda row: -row[0]):
        words = match.split(",")
        ethertype, protocol = _PROTOCOLS.get(words[0], (0, None))
        if ethertype != kind:
            continue
        next_row = code.fresh()
        if protocol is not None:
            code.recall(Slot.PROTOCOL)
            code.equal(protocol, no=next_row)
        for word in words[1:]:
            field, _, value = word.partition("=")
            _FIELDS[field](code, value, next_row)
        code.jump(outcome)
        code.label(next_row)


def match_words6(code: Assembler, words: Sequence[Operand], length: int, at: int, no: str, *, behind_x: bool = False) -> None:
    """Go to ``no`` unless the address at this place, or so far behind X, begins with so many bits of these four words."""
    for number, word in enumerate(words):
        bits = min(max(length - 32 * number, 0), 32)
        if bits:
            skip_unless_word(code, at + 4 * number, word, no, behind_x=behind_x, mask=_MASK << (32 - bits) & _MASK)


def match_prefix6(code: Assembler, prefix: str, at: int, no: str) -> None:
    """Go to ``no`` unless the address at this place is in the prefix."""
    network = IPv6Network(prefix)
    match_words6(code, struct.unpack("!4I", network.network_address.packed), network.prefixlen, at, no)


def _slot(slot: Slot) -> Callable[[Assembler, str, str], None]:
    def test(code: Assembler, value: str, no: str) -> None:
        code.recall(slot)
        code.equal(int(value, 0), no=no)

    return test


def _test_facts(code: Assembler, value: str, no: str) -> None:
    wanted, _, mask = value.partition("/")
    code.recall(Slot.FACTS)
    code.mask(int(mask, 0))
    code.equal(int(wanted, 0), no=no)


def _test_fragment(code: Assembler, value: str, no: str) -> None:
    wanted = {
        "no": (Fragment.WHOLE, True),
        "yes": (Fragment.WHOLE, False),
        "first": (Fragment.FIRST, True),
        "later": (Fragment.LATER, True),
    }
    kind, same = {**wanted, "not_later": (Fragment.LATER, False)}[value]
    code.recall(Slot.FRAGMENT)
    code.equal(kind, **({"no": no} if same else {"yes": no}))


def _test_destination_mac(code: Assembler, value: str, no: str) -> None:
    address, _, mask = value.partition("/")
    wanted, bits = (int(text.replace(":", ""), 16) for text in (address, mask or "ff:ff:ff:ff:ff:ff"))
    skip_unless_word(code, 0, wanted >> 16, no, mask=bits >> 16)
    code.load(HALF, 4)
    code.mask(bits & 0xFFFF)
    code.equal(wanted & 0xFFFF, no=no)


def _test_ipv4(at: int) -> Callable[[Assembler, str, str], None]:
    def test(code: Assembler, value: str, no: str) -> None:
        prefix = IPv4Network(value)
        skip_unless_word(code, at, int(prefix.network_address), no, mask=int(prefix.netmask))

    return test


def _test_ipv6(at: int) -> Callable[[Assembler, str, str], None]:
    def test(code: Assembler, value: str, no: str) -> None:
        match_prefix6(code, value, at, no)

    return test


_FIELDS: dict[str, Callable[[Assembler, str, str], None]] = {
    "reg3": _test_facts,
    "dl_dst": _test_destination_mac,
    "nw_src": _test_ipv4(L3 + 12),
    "nw_dst": _test_ipv4(L3 + 16),
    "ipv6_src": _test_ipv6(L3 + 8),
    "ipv6_dst": _test_ipv6(L3 + 24),
    "nw_frag": _test_fragment,
    "nw_proto": _slot(Slot.PROTOCOL),
    "nw_ttl": _slot(Slot.TTL),
    "tp_src": _slot(Slot.SOURCE_PORT),
    "tp_dst": _slot(Slot.DESTINATION_PORT),
    "icmp_type": _slot(Slot.SOURCE_PORT),
    "icmp_code": _slot(Slot.DESTINATION_PORT),
}
"""How a field of a row is asked for; ``no`` is where to go when it is otherwise."""
