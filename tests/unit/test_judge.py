"""The kernel's judges: what the assembler makes, tags, guards, checksums, and the host's own port."""

from __future__ import annotations

import struct
import sys
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

import pytest
from bpf import Machine, Received, lines_of
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
from scapy.packet import Packet, Raw

sys.path.insert(0, str(Path(__file__).parents[1] / "functional"))

from attacks.cast import PORTS
from attacks.rows import TABLES
from attacks.tables import NAMES

from vnetd.errors import WorldError
from vnetd.judge.assembler import ALL, HALF, NONE, WORD, Assembler
from vnetd.judge.host import host_judge
from vnetd.judge.port import judge_of
from vnetd.model.judge import Filter, Judge, Way
from vnetd.model.names import Mac
from vnetd.model.network import Guard, Vlan, VlanMode
from vnetd.model.state import GuestWire
from vnetd.pipeline.catalogue import REASONS, Reason

MINE, OTHERS = "52:54:00:00:00:01", "52:54:00:00:00:02"
ADDRESS = "10.0.0.1"


def frame(inside: Packet | bytes = b"", kind: int = 0x0800, src: str = MINE, tags: tuple[tuple[int, int], ...] = ()) -> bytes:
    stack = b"".join(struct.pack("!HH", *tag) for tag in tags)
    return bytes.fromhex((OTHERS + src).replace(":", "")) + stack + struct.pack("!H", kind) + bytes(inside)


def ip(inside: Packet, src: str = ADDRESS, **fields: object) -> bytes:
    return frame(IP(src=src, dst="10.0.0.2", **fields) / inside)


def ip6(inside: Packet) -> bytes:
    return frame(IPv6(src="2001:db8::1", dst="2001:db8::2") / inside, 0x86DD)


def judge(guard: Guard, vlan: Vlan | None = None, mac: str = MINE) -> Judge:
    addresses = (IPv4Network(ADDRESS), IPv6Network("2001:db8::1")) if guard is Guard.STRICT else ()
    found = judge_of(GuestWire("tap0", Mac(mac), vlan or Vlan(VlanMode.ACCESS, 10), guard, addresses=addresses))
    assert found is not None
    return found


def verdict(judge: Judge, data: bytes) -> Filter:
    """The one filter that picks the frame before the last does."""
    picked = [one for one in judge.filters[:-1] if Machine(one.program).run(Received.of(data))]
    assert len(picked) <= 1, picked
    return (picked or judge.filters[-1:])[0]


def says(judge: Judge, data: bytes) -> str:
    found = verdict(judge, data)
    return str(found.way) if found.reason is None else REASONS[Reason(found.reason)]


# The assembler.


def test_a_program_ends_where_its_outcome_cannot_be_reached_any_more() -> None:
    code = Assembler()
    code.load(HALF, 12)
    code.equal(0x0800, yes="ip")
    code.load(WORD, 0)
    code.equal(7, yes="seven", no="other")
    code.label("ip")
    code.load(HALF, 14)
    code.equal(1, yes="one", no="other")
    assert lines_of(code.assemble(["one"]).program) == 6
    assert code.assemble(["never"]).program == NONE
    assert {name: bool(Machine(code.assemble([name]).program).run(Received(bytes(12) + b"\x08\0\0\x01"))) for name in ("one", "seven")} == {
        "one": True,
        "seven": False,
    }


def test_a_jump_that_is_too_far_for_one_byte_arrives_all_the_same() -> None:
    code = Assembler()
    code.load(HALF, 0)
    code.equal(1, yes="far")
    for number in range(400):
        code.equal(number + 2, yes="near")
    code.jump("near")
    code.label("far")
    code.load(HALF, 2)
    code.equal(1, yes="right", no="wrong")
    for first, second, found in ((1, 1, "right"), (1, 2, "wrong"), (9, 1, "near")):
        picked = [
            name
            for name in ("right", "wrong", "near")
            if Machine(code.assemble([name]).program).run(Received(struct.pack("!HH", first, second)))
        ]
        assert picked == [found]


def test_a_name_is_filled_in_later() -> None:
    code = Assembler()
    code.load(WORD, 0)
    code.equal("secret", yes="known", no="unknown")
    template = code.assemble(["known"])
    assert Machine(template.filled({"secret": 0x01020304})).run(Received(bytes([1, 2, 3, 4])))
    assert not Machine(template.filled({"secret": 0x01020305})).run(Received(bytes([1, 2, 3, 4])))


def test_more_than_the_kernel_takes_is_said_of_the_port() -> None:
    many = tuple(IPv4Network(f"10.{at >> 8}.{at & 255}.0/25") for at in range(3000))
    with pytest.raises(WorldError, match="write prefixes"):
        judge_of(GuestWire("tap0", Mac(MINE), Vlan(VlanMode.ACCESS), Guard.STRICT, addresses=many))


# Tags.

ACCESS, TRUNK = Vlan(VlanMode.ACCESS, 10), Vlan(VlanMode.TRUNK, None, (10, 11, 12, 20))
NATIVE = Vlan(VlanMode.NATIVE_UNTAGGED, 20, (10, 20))
TUNNEL, CUSTOMERS = Vlan(VlanMode.DOT1Q_TUNNEL, 100), Vlan(VlanMode.DOT1Q_TUNNEL, 100, (), (5, 6))
ALLOWED = {
    ACCESS: [(), (0,)],
    TRUNK: [(10,), (11,), (12,), (20,)],
    NATIVE: [(), (0,), (10,), (20,)],
    TUNNEL: [(), *((number,) for number in range(4095))],
    CUSTOMERS: [(5,), (6,)],
}


@pytest.mark.parametrize("guard", Guard)
@pytest.mark.parametrize("vlan", ALLOWED, ids=str)
def test_tags_are_those_of_the_port(vlan: Vlan, guard: Guard) -> None:
    found = judge(guard, vlan)
    for number in (None, 0, 1, 4, 5, 6, 7, 9, 10, 11, 12, 13, 19, 20, 21, 4094):
        tags = () if number is None else ((0x8100, number | 0x6000),)
        data = frame(IP(src=ADDRESS, dst="10.0.0.2") / UDP(sport=1, dport=2), tags=tags)
        allowed = (() if number is None else (number,)) in ALLOWED[vlan]
        assert (verdict(found, data).reason is None) is allowed, number


@pytest.mark.parametrize("guard", Guard)
@pytest.mark.parametrize("kind", [0x8100, 0x88A8, 0x9100])
def test_a_second_tag_passes_only_within_a_trunks_own(guard: Guard, kind: int) -> None:
    inside = struct.pack("!HH", 10, 0x0800) + bytes(46)
    assert says(judge(guard, ACCESS), frame(inside, kind, tags=((0x8100, 0),))) == "second VLAN tag"
    assert says(judge(guard, TUNNEL), frame(inside, kind, tags=((0x8100, 5),))) == "second VLAN tag"
    within = says(judge(guard, TRUNK), frame(inside, kind, tags=((0x8100, 10),)))
    assert within == ("second VLAN tag" if guard is Guard.STRICT else "complete")


# Guards.


def test_what_a_guard_does_not_ask_for_passes() -> None:
    assert says(judge(Guard.NONE), frame(b"\xaa\xaa\0" + bytes(40), 43, src=OTHERS)) == "complete"
    assert says(judge(Guard.NONE), frame(bytes(46), src=OTHERS)) == "complete"
    assert says(judge(Guard.NONE), frame(bytes(3), src=OTHERS)) == "complete"
    assert says(judge(Guard.MAC), ip(UDP(sport=67, dport=68), src="192.0.2.1")) == "sum"
    assert says(judge(Guard.MAC), ip(UDP(sport=67, dport=68), src="192.0.2.1")[:30]) == "read in two ways"
    assert says(judge(Guard.MAC), frame(src=OTHERS)) == "foreign source MAC"


def test_a_port_whose_mac_is_unknown_has_no_judge_unless_nobody_asks() -> None:
    assert judge_of(GuestWire("tap0", None, ACCESS, Guard.MAC)) is None
    assert judge_of(GuestWire("tap0", None, ACCESS, Guard.NONE)) is not None


def test_ports_that_are_alike_differ_by_their_numbers_alone() -> None:
    one, other = judge(Guard.STRICT), judge(Guard.STRICT, mac=OTHERS)
    assert one.digest != other.digest
    assert [len(each.program) for each in one.filters] == [len(each.program) for each in other.filters]
    assert judge(Guard.STRICT) is one
    assert judge(Guard.STRICT, Vlan(VlanMode.ACCESS, 11)).digest == one.digest


# Checksums: a frame with a wish for one somewhere else must not keep it.

SUMMED = {
    "TCP": ip(TCP()), "UDP": ip(UDP(sport=1, dport=2) / Raw(b"1234")), "ping": ip(ICMP()), "TCP by IPv6": ip6(TCP()),
    "UDP behind options": frame(IP(src=ADDRESS, dst="10.0.0.2", options=b"\1\1\1\0") / UDP(sport=1, dport=2)),
}  # fmt: skip
HARDWARE = bytes.fromhex(MINE.replace(":", ""))
COMPLETED = {
    "ARP": frame(b"\0\1\x08\0\6\4\0\1" + HARDWARE + bytes([10, 0, 0, 1]) + bytes(6) + bytes([10, 0, 0, 2]), 0x0806),
    "GRE": ip(Raw(bytes(20)), proto=47),
    "a first fragment": ip(UDP(sport=1, dport=2) / Raw(bytes(16)), flags="MF"),
    "a later fragment": ip(Raw(bytes(16)), proto=17, frag=3),
    "UDP with a length of its own": ip(UDP(sport=1, dport=2, len=9) / Raw(b"1234")),
    "UDP of several datagrams": ip(UDP(sport=1, dport=2) / Raw(bytes(2400))),
    "TCP cut short": ip(Raw(bytes(19)), proto=6),
    "TCP behind IPv6 options": ip6(IPv6ExtHdrDestOpt() / TCP()),
    "an only fragment": ip6(IPv6ExtHdrFragment() / TCP()),
    "OSPF": ip(Raw(bytes(20)), proto=89),
    "SCTP": ip(Raw(bytes(20)), proto=132),
}


@pytest.mark.parametrize("guard", Guard)
def test_only_what_tc_knows_how_to_sum_is_summed_in_place(guard: Guard) -> None:
    found = judge(guard)
    assert {words: says(found, data) for words, data in SUMMED.items()} == dict.fromkeys(SUMMED, "sum")
    assert {words: says(found, data) for words, data in COMPLETED.items()} == dict.fromkeys(COMPLETED, "complete")


def test_nothing_passes_a_ports_judge_with_its_wish() -> None:
    for guard in Guard:
        assert Way.OPEN not in {one.way for one in judge(guard).filters}


# The host's own port.

HOSTED = frozenset(nick for nick, port in PORTS.items() if port.network == "hosted")


def reaches(data: bytes, tag: int | None) -> bool:
    passing, last = host_judge().filters
    assert last == Filter(ALL, Way.DROP, Reason.HOST)
    return bool(Machine(passing.program).run(Received(data, tag)))


@pytest.mark.parametrize("name", [name for name in NAMES if any(row.sender in HOSTED for row in TABLES[name]())])
def test_the_host_hears_what_the_table_lets_it_hear_and_no_tunnels(name: str) -> None:
    wrong = []
    for row in TABLES[name]():
        received = Received.of(row.frame)
        tag = received.tag if received.tag is not None else {"red": 10, "green": 20}.get(PORTS[row.sender].group)
        if row.sender in HOSTED and "hosted1" in row.arrives and not reaches(received.data, tag):
            wrong.append(f"{row.name} does not reach it")
        if row.sender in HOSTED and row.reasons == {REASONS[Reason.HOST]} and reaches(received.data, tag):
            wrong.append(f"{row.name} reaches it")
    assert not wrong
