"""The kernel's judge over all attack tables: its verdict and its reason are those of the flows, frame by frame."""

from __future__ import annotations

import sys
from functools import cache
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

import pytest
from bpf import Machine, Received

sys.path.insert(0, str(Path(__file__).parents[1] / "functional"))

from attacks.cast import PORTS, Port
from attacks.rows import TABLES, Row
from attacks.tables import NAMES

from vnetd.judge.port import judge_of
from vnetd.model.judge import Filter
from vnetd.model.names import Mac
from vnetd.model.network import Guard, Vlan, VlanMode
from vnetd.model.state import GuestWire
from vnetd.pipeline.catalogue import REASONS, Reason

VLANS = {"red": Vlan(VlanMode.ACCESS, 10), "green": Vlan(VlanMode.ACCESS, 20), "alone": Vlan(VlanMode.ACCESS, 10)}
VLANS["plain"] = Vlan(VlanMode.ACCESS)
VLANS["both"] = Vlan(VlanMode.TRUNK, None, (10, 20))

ELSEWHERE = {
    REASONS[reason]
    for reason in (Reason.RESERVED, Reason.MISCAST, Reason.ISOLATED, Reason.NOT_ADDRESSED, Reason.HOST, Reason.TOO_LARGE, Reason.WATCH)
}
"""Reasons that depend on who is to get the frame, which is for the flows to say."""


@cache
def filters(nick: str) -> tuple[Filter, ...]:
    port: Port = PORTS[nick]
    own = (IPv4Network(port.ip), IPv6Network(port.ip6)) if port.owns else ()
    judge = judge_of(GuestWire(port.tap, Mac(port.mac), VLANS[port.group], Guard(port.guard), addresses=own))
    assert judge is not None
    return judge.filters


def verdicts_on(nick: str, frame: bytes) -> list[Filter]:
    """The filters that pick the frame, but for the last, which picks all."""
    return [one for one in filters(nick)[:-1] if Machine(one.program).run(Received.of(frame))]


def wrong(row: Row) -> str:
    """What is wrong about the judge's verdict on a row, "" for nothing."""
    picked = verdicts_on(row.sender, row.frame)
    if len(picked) > 1:
        return f"{row.name}: {len(picked)} filters pick it"
    reason = (picked or filters(row.sender)[-1:])[0].reason
    words = "passes" if reason is None else REASONS[Reason(reason)]
    if row.verdict == "PASS":
        return "" if reason is None else f"{row.name}: {words} instead of passing"
    if reason is None:
        return "" if row.verdict == "MAY" or row.counted or row.reasons & ELSEWHERE or not row.surely else f"{row.name}: passes"
    return "" if words in row.reasons or not row.reasons else f"{row.name}: {words} instead of {' or '.join(sorted(row.reasons))}"


@pytest.mark.parametrize("name", NAMES)
def test_the_judge_says_what_the_table_says(name: str) -> None:
    assert not [fault for row in TABLES[name]() if (fault := wrong(row))]


def test_the_last_filter_drops_whatever_is_left() -> None:
    for nick in ("P", "P0", "T"):
        last = filters(nick)[-1]
        assert last.reason is not None
        assert Machine(last.program).run(Received(b""))
