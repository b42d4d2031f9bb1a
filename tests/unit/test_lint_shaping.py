"""Whether tc's classes are the limit that was asked for: what Open vSwitch makes of a shape is, and everything else is named."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vnetd.adapters.shaping import decode_class
from vnetd.model.shaping import TICK, HtbClass, SeenTap
from vnetd.model.state import Desired, Port, Role, Shape
from vnetd.shaping import HARMLESS, shaping_problems

SHAPE = Shape(8_000_000, 16_000_000, 1_048_576)
PARMS, RATE64, CEIL64 = 1, 6, 7


def as_the_switch_does(shape: Shape, mtu: int = 1500) -> SeenTap:
    """netdev-linux.c, htb_parse_class_details__ and tc_calc_buffer: bytes/s, and bursts in whole ticks."""
    ceil = shape.max_rate // 8
    rate = min(max(shape.min_rate // 8, 1500), ceil)
    burst = max((shape.burst or 0) // 8, mtu + 64)
    ticks = int(burst / rate / TICK)
    whole = HtbClass(ceil, ceil, int(mtu / ceil / TICK) * TICK * ceil)
    return SeenTap("htb", classes={1: HtbClass(rate, ceil, ticks * TICK * rate), 0xFFFE: whole})


def words(shape: Shape | None, seen: SeenTap) -> str:
    desired = Desired(ports={"vnet0": Port("vnet0", "br-blue", Role.GUEST, shape=shape)})
    found = shaping_problems(desired, {"vnet0": seen})
    assert all((one.kind, one.name) == ("port", "vnet0") for one in found)
    return "; ".join(one.text for one in found)


@given(
    average=st.integers(1, 2**29 - 1),
    more=st.integers(0, 2**29),
    burst=st.one_of(st.none(), st.integers(1, 2**20)),
    mtu=st.sampled_from([68, 1280, 1454, 1500, 9000, 65535]),
)
def test_what_the_switch_makes_of_a_shape_is_no_problem(average: int, more: int, burst: int | None, mtu: int) -> None:
    shape = Shape(average * 8000, (average + more) * 8000, burst * 1024 * 8 if burst else None)
    assert words(shape, as_the_switch_does(shape, mtu)) == ""


@given(average=st.integers(2, 2**29 - 1), factor=st.sampled_from([0.5, 0.9, 0.99, 1.01, 1.1, 2, 100]))
def test_another_rate_is_named(average: int, factor: float) -> None:
    shape = Shape(average * 8000, average * 8000)
    other = Shape(shape.min_rate, int(average * 1000 * factor) * 8)
    assert "what it gets should be limited to" in words(shape, as_the_switch_does(other))


def test_another_burst_is_named() -> None:
    seen = as_the_switch_does(replace(SHAPE, burst=SHAPE.burst and SHAPE.burst * 2))
    assert "tc lets 262144 bytes pass at once instead of 131072" in words(SHAPE, seen)
    assert "pass at once instead of 131072" in words(SHAPE, as_the_switch_does(replace(SHAPE, burst=None)))


def test_another_guarantee_is_named() -> None:
    seen = as_the_switch_does(replace(SHAPE, min_rate=16_000_000))
    assert "tc guarantees it 16 Mbit/s instead of 8 Mbit/s" in words(SHAPE, seen)


TAKEN_AWAY: Mapping[str, tuple[SeenTap, str]] = {
    "the default qdisc": (SeenTap("pfifo_fast"), "tc has no limit there (its qdisc is pfifo_fast)"),
    "no qdisc": (SeenTap("noqueue"), "tc has no limit there (its qdisc is noqueue)"),
    "another limiter": (SeenTap("tbf"), "tc has a qdisc tbf"),
    "no class": (SeenTap("htb"), "tc has an htb without its class"),
    "what libvirt makes of an average": (as_the_switch_does(Shape(8_000_000, 10_000_000_000)), "tc lets 10000 Mbit/s pass"),
}


@pytest.mark.parametrize("case", TAKEN_AWAY)
def test_a_limit_that_is_not_there_is_named_with_the_way_back(case: str) -> None:
    seen, fault = TAKEN_AWAY[case]
    found = words(SHAPE, seen)
    assert found.startswith(f"what it gets should be limited to 16 Mbit/s, but {fault}")
    assert found.endswith("ovs-vsctl clear Port vnet0 qos; vnetctl apply puts it there anew")


def test_a_limit_that_nobody_asked_for_is_named() -> None:
    assert "tc limits what it gets by a qdisc tbf that nothing asks for; tc qdisc del dev vnet0 root" in words(None, SeenTap("tbf"))
    assert "by a qdisc htb" in words(None, as_the_switch_does(SHAPE))
    assert words(None, SeenTap("netem")) != ""
    for kind in HARMLESS:
        assert words(None, SeenTap(kind)) == ""


def test_a_second_limiter_is_named() -> None:
    good = as_the_switch_does(SHAPE)
    assert "a second limiter below its own on what it gets (tbf)" in words(SHAPE, replace(good, others=("fq_codel", "tbf")))
    assert words(SHAPE, replace(good, others=("fq_codel", "clsact"))) == ""
    more = replace(good, classes={**good.classes, 0x2A: HtbClass(1, 1, 1)})
    assert "tc has classes on it that nothing asks for (1:2a)" in words(SHAPE, more)


def test_a_filter_is_named_by_its_direction() -> None:
    good = as_the_switch_does(SHAPE)
    assert "tc has a filter u32 on what it sends" in words(SHAPE, replace(good, filters=("u32 on ingress",)))
    assert "tc filter show dev vnet0 egress" in words(None, SeenTap("noqueue", filters=("matchall on egress",)))


def test_only_guests_ports_that_were_looked_at_are_judged() -> None:
    ports = {"vnet0": Port("vnet0", "br-blue", Role.GUEST, shape=SHAPE), "eth1": Port("eth1", "br-blue", Role.UPLINK)}
    assert shaping_problems(Desired(ports=ports), {"eth1": SeenTap("tbf"), "vnet7": SeenTap("tbf")}) == []


def htb(rate: int, ceil: int, buffer: int) -> bytes:
    """tc_htb_opt of linux/pkt_sched.h: two tc_ratespec, buffer, cbuffer, quantum, level, prio."""
    ratespec = struct.Struct("=BBHhHI")
    return ratespec.pack(3, 1, 0, -1, 0, rate) + ratespec.pack(3, 1, 0, -1, 0, ceil) + struct.pack("=IIIII", buffer, buffer, 0, 0, 0)


def test_a_class_is_read_as_the_kernel_sends_it() -> None:
    found = decode_class({PARMS: htb(1_000_000, 2_000_000, 2_048_000)})
    assert (found.rate, found.ceil) == (1_000_000, 2_000_000)
    assert found.burst == pytest.approx(131_072)


def test_rates_beyond_32_bits_have_attributes_of_their_own() -> None:
    fast = 5_000_000_000
    found = decode_class({PARMS: htb(2**32 - 1, 2**32 - 1, 16), RATE64: struct.pack("=Q", fast), CEIL64: struct.pack("=Q", 2 * fast)})
    assert (found.rate, found.ceil) == (fast, 2 * fast)
    assert found.burst == pytest.approx(16 * 64e-9 * fast)
