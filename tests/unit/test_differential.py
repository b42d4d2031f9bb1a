"""The differential search's own parts: its frames, its readings, its classes, and the table that people read."""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from random import Random

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "functional"))

from differential.classes import COMPLETED, NAMES, UNKNOWN, classes_of, differing, table
from differential.datapath import attribute, attributes
from differential.grammar import frame, frames, header, segmented
from differential.readings import NO_TYPE, TAG, kernel_reading, switch_reading
from differential.search import Findings, Read, one_tag, pcap
from differential.shapes import BY_HEADER, SHAPES, example, tagged
from differential.tap import Header, aimed, folded

MACS = attribute(4, bytes.fromhex("525400a70001525400a70004"))
LINK = {"eth_src": 0x525400A70001, "eth_dst": 0x525400A70004}
BOTH = LINK | {"eth_type": 0x86DD, "ip_src": 1, "ip_dst": 2}
TEXT = "in_port=ANY,vlan_tci=0x0000,dl_src=52:54:00:a7:00:01,dl_dst=52:54:00:a7:00:04"


def ipv4(protocol: int, frag: int = 0) -> bytes:
    return attribute(6, b"\x08\x00") + attribute(7, struct.pack("!IIBBBB", 0x0A000001, 0x0A000004, protocol, 0xB8, 64, frag))


def test_a_seed_makes_the_same_frames_again() -> None:
    one, other = (Random(7) for _ in range(2))
    corpus = [frame(Random(3)) for _ in range(20)]
    assert [frames(one, corpus) for _ in range(500)] == [frames(other, corpus) for _ in range(500)]
    assert [segmented(one) for _ in range(50)] == [segmented(other) for _ in range(50)]
    assert frames(Random(8), corpus) != frames(Random(9), corpus)


def test_frames_have_everything_that_either_parser_knows() -> None:
    rng = Random(1)
    made = [frames(rng, []) for _ in range(4000)]
    assert all(len(one) >= 14 for one in made)
    kinds = {one[12:14] for one in made}
    for kind in (0x0800, 0x86DD, 0x0806, 0x8035, 0x8847, 0x8848, 0x8863, 0x8864, 0x894F, 0x8100, 0x88A8, 0x9100):
        assert struct.pack("!H", kind) in kinds
    assert any(int.from_bytes(kind, "big") < 0x600 for kind in kinds)
    packets = [one[14:] for one in made if one[12:14] == b"\x86\xdd" and len(one) > 60]
    assert {0, 43, 44, 50, 51, 59, 60} <= {packet[6] for packet in packets}
    lengths = [int.from_bytes(packet[4:6], "big") - len(packet) + 40 for packet in packets]
    assert min(lengths) < -8
    assert max(lengths) > 8
    assert lengths.count(0) > len(lengths) / 5


def test_headers_ask_for_a_checksum_anywhere() -> None:
    rng = Random(1)
    made = [header(rng, bytes(100)) for _ in range(2000)]
    places = {one.csum_start + one.csum_offset for one in made if one.flags & 1}
    assert {10, 12, 28, 30, 36, 76} <= places
    assert {0, 1, 3, 4, 5} <= {one.gso_type for one in made}


def test_attributes_come_back_as_they_were_written() -> None:
    assert list(attributes(attribute(3, b"abc") + attribute(0x8004, b"") + attribute(5, b"12345"))) == [
        (3, b"abc"),
        (4, b""),
        (5, b"12345"),
    ]


def test_the_kernels_key_and_the_switchs_text_are_read_alike() -> None:
    key = MACS + ipv4(17) + attribute(10, struct.pack("!HH", 4000, 5000))
    text = f"udp,{TEXT},nw_src=10.0.0.1,nw_dst=10.0.0.4,nw_tos=184,nw_ecn=0,nw_ttl=64,nw_frag=no,tp_src=4000,tp_dst=5000"
    assert kernel_reading(key) == switch_reading(text)
    assert kernel_reading(key)["tp_dst"] == 5000


def test_tags_are_read_alike() -> None:
    inner = attribute(6, b"\x08\x06")
    key = MACS + attribute(6, b"\x81\x00") + attribute(5, struct.pack("!H", 0xF00A)) + attribute(1, inner)
    text = f"arp,in_port=ANY,dl_vlan=10,dl_vlan_pcp=7,vlan_tci1=0x0000,{TEXT.partition('vlan_tci=0x0000,')[2]}"
    assert kernel_reading(key) == switch_reading(text) | {"eth_type": 0x0806}
    assert kernel_reading(key)["vlan0"] == 0xF00A


def test_the_type_of_a_tag_without_a_tag_is_one() -> None:
    key = MACS + attribute(6, bytes(2)) + attribute(5, bytes(2)) + attribute(1, b"")
    assert kernel_reading(key)["eth_type"] == TAG
    assert switch_reading(f"{TEXT},dl_type=0x88a8")["eth_type"] == TAG


def test_what_has_no_type_has_the_same_for_both() -> None:
    assert kernel_reading(MACS)["eth_type"] == switch_reading(f"{TEXT},dl_type=0x05ff")["eth_type"] == NO_TYPE


def test_unknown_words_are_not_passed_over() -> None:
    with pytest.raises(ValueError, match="nobody has taught"):
        switch_reading(f"{TEXT},dl_type=0x88b5,nw_new=1")


@pytest.mark.parametrize(
    ("name", "kernel", "switch"),
    [
        ("second tag", {"vlan0": 1, "vlan1": 2, "eth_type": 0x800, "proto": 6}, {"vlan0": 1, "eth_type": TAG}),
        ("packet in LLC", {"eth_type": 0x800, "ip_src": 1}, {"eth_type": NO_TYPE}),
        ("malformed IPv4", {"eth_type": 0x800, "ip_src": 1, "proto": 47, "ttl": 1, "frag": 2}, {"eth_type": 0x800}),
        ("malformed IPv6", BOTH | {"proto": 17, "tp_dst": 546}, LINK | {"eth_type": 0x86DD}),
        ("label of malformed IPv6", {"eth_type": 0x86DD, "label": 5}, {"eth_type": 0x86DD}),
        ("broken chain", BOTH | {"proto": 58, "ttl": 255, "tp_src": 134}, BOTH),
        ("later fragment with an extension", BOTH | {"proto": 59, "frag": 1}, BOTH | {"proto": 44, "frag": 2}),
        ("only fragment", BOTH | {"proto": 17, "frag": 1, "tp_dst": 1}, BOTH | {"proto": 17, "tp_dst": 1}),
        (
            "UDP behind IPv4's total length",
            BOTH | {"eth_type": 0x800, "proto": 17, "tp_dst": 68},
            BOTH | {"eth_type": 0x800, "proto": 17},
        ),
        (
            "TCP, SCTP or ICMP behind IPv4's total length",
            BOTH | {"eth_type": 0x800, "proto": 1, "tp_src": 8},
            BOTH | {"eth_type": 0x800, "proto": 1},
        ),
        ("TCP or SCTP behind IPv6's payload length", BOTH | {"proto": 6, "tcp_flags": 2}, BOTH | {"proto": 6}),
        ("UDP or ICMPv6 behind IPv6's payload length", BOTH | {"proto": 17, "tp_dst": 546}, BOTH | {"proto": 17}),
        ("neighbour discovery's options", BOTH | {"proto": 58, "tp_src": 136}, BOTH | {"proto": 58, "tp_src": 136, "nd_target": 1}),
        ("neighbour discovery with a code", BOTH | {"proto": 58, "tp_dst": 1, "nd_sll": 7}, BOTH | {"proto": 58, "tp_dst": 1}),
        ("IGMP and ICMP of the other family", BOTH | {"eth_type": 0x800, "proto": 2}, BOTH | {"eth_type": 0x800, "proto": 2, "tp_src": 22}),
        ("pieces of a UDP datagram", BOTH | {"proto": 17, "frag": 2}, BOTH | {"proto": 44, "frag": 2}),
        ("labels of MPLS", {"eth_type": 0x8847}, {"eth_type": 0x8847, "mpls0": 64}),
        ("NSH", {"eth_type": 0x894F, "nsh_si": 1}, {"eth_type": 0x894F}),
    ],
)
def test_a_difference_is_of_its_class(name: str, kernel: dict[str, int], switch: dict[str, int]) -> None:
    assert classes_of(kernel, switch) == [name]
    assert classes_of(kernel, kernel) == []


@pytest.mark.parametrize(
    ("kernel", "switch"),
    [
        (BOTH | {"proto": 17, "tp_dst": 68}, BOTH | {"proto": 17, "tp_dst": 69}),
        (BOTH, BOTH | {"ip_src": 7}),
        ({"eth_type": NO_TYPE}, {"eth_type": 0x800}),
        ({"eth_type": 0x806, "arp_spa": 1}, {"eth_type": 0x806, "arp_spa": 2}),
        ({"vlan0": 1}, {"vlan0": 2}),
        (BOTH | {"proto": 17}, BOTH | {"proto": 17, "tp_dst": 68}),
        (BOTH | {"proto": 6}, BOTH | {"proto": 17}),
        ({"eth_src": 1, "eth_type": 0x800}, {"eth_src": 2, "eth_type": 0x800}),
    ],
)
def test_what_no_class_explains_is_called_unknown(kernel: dict[str, int], switch: dict[str, int]) -> None:
    assert classes_of(kernel, switch)[-1].startswith(UNKNOWN)


def test_two_classes_may_come_together() -> None:
    kernel = BOTH | {"proto": 17, "frag": 1, "tp_dst": 546}
    assert classes_of(kernel, BOTH | {"proto": 17}) == ["only fragment", "UDP or ICMPv6 behind IPv6's payload length"]
    assert differing(kernel, BOTH | {"proto": 17}) == {"frag", "tp_dst"}


def test_every_class_stands_in_the_table_with_what_refuses_it() -> None:
    found = table()
    assert list(found) == NAMES
    assert not [name for name, entry in found.items() if not entry.refused]
    assert set(SHAPES) | set(BY_HEADER) == set(NAMES)
    assert COMPLETED in BY_HEADER


def test_the_tables_examples_are_the_frames_that_are_played() -> None:
    for name, entry in table().items():
        if name in SHAPES:
            assert entry.example == example(name, next(iter(SHAPES[name].values())))


def test_a_row_without_a_refusal_refuses_nothing() -> None:
    text = "| NSH | a | b | `00` | | | |\n| second tag | a | b | `00` | | the judge | |"
    found = table(text)
    assert not found["NSH"].refused
    assert found["second tag"].refused


def test_a_reason_may_hold_for_one_guard_alone() -> None:
    found = table(
        "| NSH | a | b | `00` | f | | mac: why |\n| second tag | a | b | `00` | f | | why |\n| only fragment | a | b | `00` | f | | |"
    )
    assert {name: [guard for guard in ("strict", "mac") if entry.may_pass(guard)] for name, entry in found.items()} == {
        "NSH": ["mac"],
        "second tag": ["strict", "mac"],
        "only fragment": [],
    }


def test_a_second_tag_is_hidden_from_who_would_read_it() -> None:
    plain = bytes(12) + b"\x08\x00" + bytes(20)
    assert one_tag(tagged(plain, (0x8100, 10))) == tagged(plain, (0x8100, 10))
    assert one_tag(tagged(plain, (0x8100, 10), (0x88A8, 20)))[16:18] == b"\xff\xff"
    assert len(pcap([plain, plain])) == 24 + 2 * (16 + len(plain))


def test_findings_keep_the_shortest_frame_of_a_class() -> None:
    found = Findings()
    for frame_ in (b"long", b"sh", b"longer"):
        found.enter(Read(frame_, Header(), frame_, LINK, BOTH), ["NSH"])
    assert found.lines() == [f"       3 NSH: {b'sh'.hex()}"]


@pytest.mark.parametrize(("place", "wanted"), [(10, 0x0099), (12, 0x88B5), (28, 0x63), (31, 0xFFFE), (36, 68)])
def test_a_frame_is_made_so_that_its_checksum_is_what_is_wanted(place: int, wanted: int) -> None:
    made = aimed(bytes(range(71)), place, wanted)
    assert made[:71] == bytes(range(71))
    assert folded(made[place:]) ^ 0xFFFF == wanted
