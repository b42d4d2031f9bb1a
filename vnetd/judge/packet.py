"""Reading an IP packet in a judge's program: where each header stands, or that the packet cannot plainly be read.

Strategy: a packet is read once, as strictly as the strictest of those who will read it
after: what a header says of lengths must agree with the frame, and a chain of IPv6 headers
must end within the packet. Whatever is not so is malformed, whoever would read it otherwise.
Where the header behind them is not within the packet there are no ports, as
for ovs-vswitchd. What was found out stands in scratch memory (``Slot``), where rules look at it.
"""

from __future__ import annotations

from enum import IntEnum

from vnetd.judge.assembler import BYTE, HALF, WORD, Assembler, Operand

L3 = 14
"""Where a packet begins: the outermost VLAN tag is not among the bytes."""

IPV4, ARP, RARP, IPV6 = 0x0800, 0x0806, 0x8035, 0x86DD
ICMP, TCP, UDP, GRE, ICMP6, SCTP = 1, 6, 17, 47, 58, 132

_HOPS, _ROUTING, _FRAGMENT, _AUTHENTICATION, _DESTINATION = 0, 43, 44, 51, 60
_MOST_HEADERS = 8
"""How many extension headers a packet may have: RFC 8200, 4.1, knows seven places for them."""


class Slot(IntEnum):
    """Scratch memory: what is known of the packet."""

    L4 = 0
    """The place of what follows the IP header and its extensions."""
    PROTOCOL = 1
    FRAGMENT = 2
    """One of ``Fragment``."""
    FACTS = 3
    """Bits of the pipeline's ``Fact``."""
    SOURCE_PORT = 4
    """Or the type of ICMP; 0 where there is none, as in a later fragment."""
    DESTINATION_PORT = 5
    """Or the code of ICMP."""
    TTL = 6
    END = 7
    """Where the packet ends, by its own header."""
    READABLE = 8
    """Whether the header that follows IP is in this piece and within the packet, so that ports and types are known."""


class Fragment(IntEnum):
    """Which piece of a packet it is."""

    WHOLE = 0
    """The only one, as an IPv6 packet may be that has a fragment header all the same (RFC 6946)."""
    FIRST = 1
    """With what follows the IP header."""
    LATER = 2


def read_ipv4(code: Assembler, malformed: str) -> None:
    """Fill the slots from an IPv4 packet (RFC 791); what cannot be read goes to ``malformed``."""
    code.load(BYTE, L3)
    code.mask(0xF0)
    code.equal(0x40, no=malformed)
    code.header_length(L3)
    code.from_x()
    code.at_least(20, no=malformed)
    code.add(L3)
    code.keep(Slot.L4)
    code.to_x()
    code.load(HALF, L3 + 2)
    code.add(L3)
    code.keep(Slot.END)
    _check_end(code, malformed)
    code.load(BYTE, L3 + 8)
    code.keep(Slot.TTL)
    code.load(BYTE, L3 + 9)
    code.keep(Slot.PROTOCOL)
    _no_ports(code)
    later, whole, known = code.fresh(), code.fresh(), code.fresh()
    code.load(HALF, L3 + 6)
    code.any_bit(0x1FFF, yes=later)
    code.any_bit(0x2000, no=whole)
    _set(code, Slot.FRAGMENT, Fragment.FIRST)
    code.jump(known)
    code.label(whole)
    _set(code, Slot.FRAGMENT, Fragment.WHOLE)
    code.label(known)
    _read_l4(code, ICMP)
    done = code.fresh()
    code.jump(done)
    code.label(later)
    _set(code, Slot.FRAGMENT, Fragment.LATER)
    code.label(done)


def read_ipv6(code: Assembler, malformed: str) -> None:
    """Fill the slots from an IPv6 packet (RFC 8200); what cannot be read goes to ``malformed``.

    A first fragment must hold the whole chain of headers (RFC 7112).
    """
    code.load(BYTE, L3)
    code.mask(0xF0)
    code.equal(0x60, no=malformed)
    code.load(HALF, L3 + 4)
    code.add(L3 + 40)
    code.keep(Slot.END)
    code.constant(L3 + 40)
    code.keep(Slot.L4)
    code.to_x()
    _check_end(code, malformed)
    code.recall_x(Slot.L4)
    code.load(BYTE, L3 + 7)
    code.keep(Slot.TTL)
    _no_ports(code)
    _set(code, Slot.FRAGMENT, Fragment.WHOLE)
    code.load(BYTE, L3 + 6)
    code.keep(Slot.PROTOCOL)
    chained, fragment, done = code.fresh(), code.fresh(), code.fresh()
    _read_chain(code, _MOST_HEADERS, chained, fragment, malformed)
    code.label(fragment)
    within(code, 8, malformed)
    code.load_at_x(HALF, 2)
    later, whole = code.fresh(), code.fresh()
    code.any_bit(0xFFF8, yes=later)
    code.any_bit(0x0001, no=whole)
    _set(code, Slot.FRAGMENT, Fragment.FIRST)
    code.label(whole)
    code.constant(8)
    _go_on(code)
    # No packet has two fragment headers, and few have any other behind it.
    _read_chain(code, 2, chained, malformed, malformed)
    code.label(chained)
    # Places only grow, so that a header which was read behind the packet's end shows here.
    within(code, 0, malformed)
    _read_l4(code, ICMP6)
    code.jump(done)
    code.label(later)
    _set(code, Slot.FRAGMENT, Fragment.LATER)
    # The chain is not read any further, and neither does Open vSwitch (parse_ipv6_ext_hdrs in flow.c).
    _set(code, Slot.PROTOCOL, _FRAGMENT)
    code.label(done)


def _read_chain(code: Assembler, most: int, chained: str, fragment: str, malformed: str) -> None:
    """So many extension headers at most, up to what is none; who has more of them hides something."""
    for _ in range(most):
        _step(code, chained, fragment)
    code.recall(Slot.PROTOCOL)
    for header in (_HOPS, _ROUTING, _FRAGMENT, _AUTHENTICATION, _DESTINATION):
        code.equal(header, yes=malformed)
    code.jump(chained)


def _step(code: Assembler, chained: str, fragment: str) -> None:
    """One extension header: its length is added to the place, and what it announces is the protocol."""
    known, authentication, on = code.fresh(), code.fresh(), code.fresh()
    code.recall(Slot.PROTOCOL)
    for header in (_HOPS, _ROUTING, _DESTINATION):
        code.equal(header, yes=known)
    code.equal(_AUTHENTICATION, yes=authentication)
    code.equal(_FRAGMENT, yes=fragment, no=chained)
    code.label(known)
    code.load_at_x(BYTE, 1)
    code.add(1)
    code.shift_left(3)
    code.jump(on)
    code.label(authentication)
    code.load_at_x(BYTE, 1)
    code.add(2)
    code.shift_left(2)
    code.label(on)
    _go_on(code)


def _go_on(code: Assembler) -> None:
    """To the header that follows the one at X, which has A bytes."""
    code.add_x()
    code.keep(Slot.L4)
    code.load_at_x(BYTE, 0)
    code.keep(Slot.PROTOCOL)
    code.recall_x(Slot.L4)


def _check_end(code: Assembler, malformed: str) -> None:
    """The packet ends within the frame, and not before its header, whose end is X. What follows it in the frame is padding."""
    code.recall(Slot.END)
    # What is less than nothing is very much without a sign.
    code.subtract_x()
    code.above(0xFFFF, yes=malformed)
    code.recall_x(Slot.END)
    code.length()
    code.subtract_x()
    code.above(0x7FFF_FFFF, yes=malformed)


def within(code: Assembler, size: int, no: str) -> None:
    """Go to ``no`` unless so many bytes from the place L4 on, which X is afterwards, are within the packet."""
    code.recall_x(Slot.L4)
    code.recall(Slot.END)
    code.subtract_x()
    code.subtract(size)
    code.above(0xFFFF, yes=no)


def _read_l4(code: Assembler, icmp: int) -> None:
    """The ports, or the type and code, of a packet whose further header is in this piece: 8 bytes of it, which hold them all."""
    ported, typed, done = code.fresh(), code.fresh(), code.fresh()
    within(code, 8, done)
    code.recall(Slot.PROTOCOL)
    for protocol in (TCP, UDP, SCTP):
        code.equal(protocol, yes=ported)
    code.equal(icmp, yes=typed, no=done)
    for label, size in ((ported, HALF), (typed, BYTE)):
        code.label(label)
        code.load_at_x(size, 0)
        code.keep(Slot.SOURCE_PORT)
        code.load_at_x(size, 2 if size == HALF else 1)
        code.keep(Slot.DESTINATION_PORT)
        _set(code, Slot.READABLE, 1)
        code.jump(done)
    code.label(done)


def _no_ports(code: Assembler) -> None:
    code.constant(0)
    for slot in (Slot.SOURCE_PORT, Slot.DESTINATION_PORT, Slot.READABLE):
        code.keep(slot)


def _set(code: Assembler, slot: Slot, value: int) -> None:
    code.constant(value)
    code.keep(slot)


def skip_unless_word(code: Assembler, at: int, value: Operand, no: str, *, behind_x: bool = False, mask: int = 0xFFFF_FFFF) -> None:
    """Go to ``no`` unless these four bytes are the value, where the mask has bits."""
    (code.load_at_x if behind_x else code.load)(WORD, at)
    if mask != 0xFFFF_FFFF:
        code.mask(mask)
    code.equal(value, no=no)
