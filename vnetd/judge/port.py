"""The judge of one guest's port: the program that decides about each frame by itself, before Open vSwitch sees it.

Strategy: one decision for each frame, in the order of the pipeline's tables (CLASSIFY to
VERDICT), from the same values: the port's GuestWire, and for IP the very rows that
become VERDICT's flows. Its outcome is a reason to drop, or one of two ways to pass. A
filter holds the decision's program for one outcome (``Assembler.assemble``), so that
whatever their order no frame meets two of them. What meets none is dropped by the last; of a port
without a guard it passes, since all that such a port is held to has a filter.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network

from vnetd.errors import WorldError
from vnetd.judge.assembler import ALL, HALF, NONE, VLAN_TAG, VLAN_TAG_PRESENT, WORD, Assembler, Template
from vnetd.judge.packet import (
    ARP,
    ICMP,
    ICMP6,
    IPV4,
    IPV6,
    L3,
    RARP,
    TCP,
    UDP,
    Fragment,
    Slot,
    read_ipv4,
    read_ipv6,
    skip_unless_word,
    within,
)
from vnetd.judge.rows import judge_rows, match_prefix6, match_words6
from vnetd.model.judge import Filter, Judge, Way
from vnetd.model.names import IpPrefix, Mac
from vnetd.model.network import Guard, Vlan, VlanMode
from vnetd.model.state import GuestWire
from vnetd.pipeline.catalogue import Fact, Reason
from vnetd.pipeline.ingress import AMBIGUOUS_FRAMES, NESTED_TYPES, SOLICITED_NODE, own_addresses, verdicts

PASS, SUMMED = "pass", "summed"
"""Outcomes of what passes: with a checksum that tc's action csum knows how to complete (``Way.SUM``), or without (``Way.COMPLETE``)."""

_FIRST_TYPE = 0x0600
"""IEEE 802.3, 3.2.6: a smaller number is a length, and LLC follows."""

_SOLICITATION, _ADVERTISEMENT = 135, 136
_LONGEST = 1500
"""Bytes of a packet that is surely a single one."""
_TARGETED = 24
"""Bytes of a solicitation or advertisement up to the end of its target."""
_MASK = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class Shape:
    """What the code of a port's judge depends on: all but the numbers in it, so that most ports of a host share one."""

    guard: Guard
    mode: VlanMode
    vlans: tuple[tuple[int, int], ...]
    """The ranges of tags that the port may send."""
    lengths4: tuple[int, ...]
    lengths6: tuple[int, ...]
    """Of the prefixes that are the port's own."""
    unaddressed: bool

    @property
    def strict(self) -> bool:
        return self.guard is Guard.STRICT


def judge_of(guest: GuestWire) -> Judge | None:
    """The judge of a guest's port; None where no flow would let it speak.

    A port without a guard is held to its VLANs. Raises WorldError where its addresses or VLANs are more than a program holds.
    """
    if guest.mac is None and guest.guard is not Guard.NONE:
        return None
    addresses = own_addresses(guest) if guest.guard is Guard.STRICT else ()
    return _made(None if guest.guard is Guard.NONE else guest.mac, guest.vlan, guest.guard, addresses, not guest.addresses)


@lru_cache(maxsize=8192)
def _made(mac: Mac | None, vlan: Vlan, guard: Guard, addresses: tuple[IpPrefix, ...], unaddressed: bool) -> Judge:
    own4 = [one for one in addresses if isinstance(one, IPv4Network)]
    own6 = [one for one in addresses if isinstance(one, IPv6Network)]
    strict = guard is Guard.STRICT
    tags = vlan.customers if vlan.mode is VlanMode.DOT1Q_TUNNEL else vlan.trunks
    lengths4, lengths6 = (tuple(one.prefixlen for one in own) for own in (own4, own6))
    shape = Shape(guard, vlan.mode, _ranges(tags), lengths4, lengths6, strict and unaddressed)
    values = {**(_mac_values(mac) if mac else {}), **{f"own4 {at}": int(one.network_address) for at, one in enumerate(own4)}}
    for at, prefix in enumerate(own6):
        for word in range(4):
            values[f"own6 {at} {word}"] = int(prefix.network_address) >> (96 - 32 * word) & _MASK
    filters = [Filter(template.filled(values), way, reason) for template, way, reason in _templates(shape)]
    # What no other picks: malformed packets, and frames that end before the place where they are decided about.
    filters.append(Filter(ALL, Way.COMPLETE) if guard is Guard.NONE else Filter(ALL, Way.DROP, _left(shape)))
    words = f", {len(own4) + len(own6)} addresses" if strict else ""
    return Judge(tuple(filters), f"{guard}, {vlan}{words}")


def _mac_values(mac: Mac) -> dict[str, int]:
    """A MAC address in the two halves of four and two bytes, and of two and four, by which it is compared."""
    whole = int(mac.replace(":", ""), 16)
    return {"mac high 4": whole >> 16, "mac low 2": whole & 0xFFFF, "mac high 2": whole >> 32, "mac low 4": whole & _MASK}


@lru_cache(maxsize=512)
def _templates(shape: Shape) -> tuple[tuple[Template, Way, Reason | None], ...]:
    """The filters of a shape."""
    code = decision(shape)
    try:
        passing = [(code.assemble([SUMMED]), Way.SUM, None)]
        passing += [] if shape.guard is Guard.NONE else [(code.assemble([PASS]), Way.COMPLETE, None)]
        dropping = [(code.assemble([reason.name]), Way.DROP, reason) for reason in _reasons(shape)]
    except ValueError as error:
        words = "it has more addresses or VLANs than the kernel can judge by"
        raise WorldError(f"{words} ({error}); write prefixes or fewer VLANs instead") from None
    # No frame of a port that must send a tag is without one, and so on.
    return tuple(one for one in (*passing, *dropping) if one[0].program != NONE)


def _left(shape: Shape) -> Reason:
    """The reason that needs no program, since all others have one: that a packet cannot be read."""
    return Reason.MALFORMED_IP if shape.strict else Reason.AMBIGUOUS


def _reasons(shape: Shape) -> tuple[Reason, ...]:
    """Those that have a program of their own."""
    tags = (Reason.FOREIGN_VLAN, Reason.NESTED_TAG)
    if not shape.strict:
        return tags if shape.guard is Guard.NONE else (Reason.FOREIGN_MAC, *tags)
    named = {reason for _, _, reason in verdicts() if reason is not None}
    named |= {Reason.FOREIGN_MAC, *tags, Reason.MALFORMED_ARP, Reason.AMBIGUOUS}
    return tuple(sorted(named - {_left(shape), *(() if shape.unaddressed else (Reason.UNADDRESSED,))}))


def decision(shape: Shape) -> Assembler:
    """The code of the decision; its outcomes are PASS, SUMMED and names of reasons."""
    code = Assembler()
    guarded = shape.guard is not Guard.NONE
    if guarded:
        skip_unless_word(code, 6, "mac high 4", Reason.FOREIGN_MAC.name)
        code.load(HALF, 10)
        code.equal("mac low 2", no=Reason.FOREIGN_MAC.name)
    alone, inside = code.fresh(), code.fresh()
    _judge_tag(code, shape, alone, inside)
    hidden = Reason.NESTED_TAG.name if shape.strict or shape.mode is VlanMode.DOT1Q_TUNNEL else PASS
    for label, nested in ((alone, Reason.NESTED_TAG.name), (inside, hidden)):
        code.label(label)
        code.load(HALF, 12)
        for kind in NESTED_TYPES:
            code.equal(kind, yes=nested)
        code.jump("typed")
    code.label("typed")
    code.equal(IPV4, yes="ipv4")
    code.equal(IPV6, yes="ipv6")
    if shape.strict:
        code.equal(ARP, yes="arp")
        code.equal(RARP, yes="rarp", no=Reason.UNKNOWN_TYPE.name)
        _judge_arp(code, shape)
    else:
        code.at_least(_FIRST_TYPE, yes=PASS, no=Reason.AMBIGUOUS.name if guarded else PASS)
    for kind, label, read in ((IPV4, "ipv4", read_ipv4), (IPV6, "ipv6", read_ipv6)):
        code.label(label)
        read(code, _left(shape).name if guarded else PASS)
        if shape.strict:
            _note_facts(code, shape, kind)
            rows = ((priority, match, reason.name if reason else f"{label} passes") for priority, match, reason in verdicts())
            judge_rows(code, kind, rows)
            code.jump(Reason.UNKNOWN_TYPE.name)
        code.label(f"{label} passes")
        if guarded:
            judge_rows(code, kind, [(100, match, Reason.AMBIGUOUS.name) for match in AMBIGUOUS_FRAMES])
        _pass(code, kind)
    return code


def _judge_tag(code: Assembler, shape: Shape, alone: str, inside: str) -> None:
    """VLAN: a frame without a tag, or with one that gives it a priority and no VLAN, goes to ``alone``, an allowed tag to ``inside``."""
    refused = Reason.FOREIGN_VLAN.name
    tunnel = shape.mode is VlanMode.DOT1Q_TUNNEL
    untagged = refused if shape.mode is VlanMode.TRUNK or (tunnel and shape.vlans) else alone
    code.beside(VLAN_TAG_PRESENT)
    code.equal(0, yes=untagged)
    code.beside(VLAN_TAG)
    code.mask(0xFFF)
    code.equal(0, yes=untagged)
    if tunnel and not shape.vlans:
        code.jump(inside)
    for low, high in shape.vlans:
        beyond = code.fresh()
        code.at_least(low, no=beyond)
        code.above(high, no=inside)
        code.label(beyond)
    code.jump(refused)


def _ranges(numbers: Iterable[int]) -> tuple[tuple[int, int], ...]:
    found: list[tuple[int, int]] = []
    for number in sorted(set(numbers)):
        if found and found[-1][1] == number - 1:
            found[-1] = found[-1][0], number
        else:
            found.append((number, number))
    return tuple(found)


def _pass(code: Assembler, kind: int) -> None:
    """Whether the checksum of what passes can be completed in its place by tc's action csum, as it does (net/sched/act_csum.c).

    A packet in pieces has a checksum over all of them, which no single one may be given, and one cut short has none. A chain of
    IPv6 headers is not followed behind each of them, and UDP whose length is not the packet's is left as it is. What is longer than
    a packet may be several datagrams that are still to be cut apart (UDP_SEGMENT, which taps take since Linux 6.2): the action would
    sum them as one.
    """
    code.recall(Slot.FRAGMENT)
    code.equal(Fragment.WHOLE, no=PASS)
    code.recall(Slot.READABLE)
    code.equal(0, yes=PASS)
    if kind == IPV6:
        code.recall(Slot.L4)
        code.equal(L3 + 40, no=PASS)
    tcp, udp = code.fresh(), code.fresh()
    code.recall(Slot.PROTOCOL)
    code.equal(TCP, yes=tcp)
    code.equal(UDP, yes=udp)
    code.equal(ICMP if kind == IPV4 else ICMP6, yes=SUMMED, no=PASS)
    code.label(tcp)
    within(code, 20, PASS)
    code.jump(SUMMED)
    code.label(udp)
    code.recall(Slot.END)
    code.above(L3 + _LONGEST, yes=PASS)
    code.recall_x(Slot.L4)
    code.load_at_x(HALF, 4)
    code.add_x()
    code.to_x()
    code.recall(Slot.END)
    code.subtract_x()
    code.equal(0, yes=SUMMED, no=PASS)


def _judge_arp(code: Assembler, shape: Shape) -> None:
    """ARP (RFC 826) and QEMU's announcement of a guest that has moved (RARP): their whole form, then whose addresses they name."""
    malformed, foreign = Reason.MALFORMED_ARP.name, Reason.FOREIGN_ARP.name
    refused = Reason.UNADDRESSED.name if shape.unaddressed else foreign
    sender, asked, announced = code.fresh(), code.fresh(), code.fresh()
    code.label("arp")
    _check_arp_form(code, malformed)
    code.load(HALF, 20)
    code.equal(1, yes=asked)
    code.equal(2, yes=sender, no=malformed)
    code.label(asked)
    code.load(WORD, 28)
    code.equal(0, no=sender)
    # A probe (RFC 5227): its sender's address is the one that it asks for.
    _hardware(code, 22, refused)
    _among4(code, shape, 38, Reason.UNADDRESSED.name if shape.unaddressed else PASS, refused)
    code.label(sender)
    _hardware(code, 22, refused)
    _among4(code, shape, 28, Reason.UNADDRESSED.name if shape.unaddressed else PASS, refused)
    code.label("rarp")
    _check_arp_form(code, malformed)
    code.load(HALF, 20)
    code.equal(3, no=malformed)
    for at in (28, 38):
        skip_unless_word(code, at, 0, malformed)
    skip_unless_word(code, 0, _MASK, malformed)
    code.load(HALF, 4)
    code.equal(0xFFFF, no=malformed)
    for at in (22, 32):
        code.label(announced if at == 32 else code.fresh())
        _hardware(code, at, foreign)
    code.jump(PASS)


def _check_arp_form(code: Assembler, malformed: str) -> None:
    """Ethernet's addresses and IPv4's."""
    code.length()
    code.at_least(42, no=malformed)
    skip_unless_word(code, 14, 0x0001_0800, malformed)
    code.load(HALF, 18)
    code.equal(0x0604, no=malformed)


def _hardware(code: Assembler, at: int, no: str) -> None:
    code.load(HALF, at)
    code.equal("mac high 2", no=no)
    skip_unless_word(code, at + 2, "mac low 4", no)


def _among4(code: Assembler, shape: Shape, at: int, yes: str, no: str) -> None:
    """Go to ``yes`` where the IPv4 address at this place is the port's own."""
    for number, length in enumerate(shape.lengths4):
        code.load(WORD, at)
        if length < 32:
            code.mask(_MASK << (32 - length) & _MASK)
        code.equal(f"own4 {number}", yes=yes)
    code.jump(no)


def _among6(code: Assembler, shape: Shape, yes: str, no: str) -> None:
    """Go to ``yes`` where the IPv6 address at X is the port's own."""
    for number, length in enumerate(shape.lengths6):
        other = code.fresh()
        match_words6(code, [f"own6 {number} {word}" for word in range(4)], length, 0, other, behind_x=True)
        code.jump(yes)
        code.label(other)
    code.jump(no)


def _note_facts(code: Assembler, shape: Shape, kind: int) -> None:
    """What SOURCE and TYPE find out: whether the address in question is the port's own, as bits of ``Fact`` in their slot."""
    base = Fact.UNADDRESSED if shape.unaddressed else 0
    own, foreign, done = code.fresh(), code.fresh(), code.fresh()
    if kind == IPV4:
        _among4(code, shape, L3 + 12, own, foreign)
    else:
        code.constant(L3 + 8)
        code.to_x()
        _among6(code, shape, own, foreign)
    for label, facts in ((own, base | Fact.OWN), (foreign, base)):
        code.label(label)
        code.constant(facts)
        code.keep(Slot.FACTS)
        code.jump(done)
    code.label(done)
    if kind == IPV6:
        _note_target(code, shape, base)


def _note_target(code: Assembler, shape: Shape, base: int) -> None:
    """In an advertisement, and while a guest looks for duplicates, the address in question is the target (RFC 4861, 7.1.1 and 7.1.2)."""
    probe, advertisement, targeted, own, done = (code.fresh() for _ in range(5))
    code.recall(Slot.PROTOCOL)
    code.equal(ICMP6, no=done)
    code.recall(Slot.TTL)
    code.equal(255, no=done)
    code.recall(Slot.DESTINATION_PORT)
    code.equal(0, no=done)
    code.recall(Slot.SOURCE_PORT)
    code.equal(_ADVERTISEMENT, yes=advertisement)
    code.equal(_SOLICITATION, yes=probe, no=done)
    code.label(probe)
    match_prefix6(code, "::", L3 + 8, done)
    match_prefix6(code, SOLICITED_NODE, L3 + 24, done)
    code.constant(base)
    code.jump(targeted)
    code.label(advertisement)
    # The sender's being the guest's own moves from its bit to another.
    sender = code.fresh()
    code.recall(Slot.FACTS)
    code.any_bit(Fact.OWN, yes=sender)
    code.constant(base)
    code.jump(targeted)
    code.label(sender)
    code.constant(base | Fact.SENDER_OWN)
    code.label(targeted)
    code.keep(Slot.FACTS)
    within(code, _TARGETED, done)
    code.from_x()
    code.add(8)
    code.to_x()
    _among6(code, shape, own, done)
    code.label(own)
    code.recall(Slot.FACTS)
    code.add(Fact.OWN)
    code.keep(Slot.FACTS)
    code.label(done)
