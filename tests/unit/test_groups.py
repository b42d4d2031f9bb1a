"""Groups asked for, made and deleted over a bridge's management socket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from openflow_switch import FakeSwitch

from vnetd.adapters.groups import drop_groups, put_groups, read_groups
from vnetd.errors import Unavailable, WorldError
from vnetd.model.state import Group, GroupKind

AGAIN, APART = 1001, 1002
GROUPS = [(AGAIN, Group(GroupKind.SELECT, 44)), (APART, Group(GroupKind.INDIRECT, 57))]
WIRE = {
    AGAIN: bytes.fromhex(
        "0100 000003e9"  # select, its number
        "0020 0001 ffffffff ffffffff 00000000"  # a bucket of 32 bytes and weight 1, with no port or group to watch
        "ffff 0010 00002320 000e fff8 2c 000000"  # resubmit(,44), the action of Open vSwitch's own
    ),
    APART: bytes.fromhex("0200 000003ea 0020 0000 ffffffff ffffffff 00000000 ffff 0010 00002320 000e fff8 39 000000"),
}
FOREIGN = {7: bytes.fromhex("0000 00000007"), 8: bytes.fromhex("0100 00000008"), 9: bytes.fromhex("0300 00000009") + WIRE[APART][6:]}


@pytest.fixture
def switch(tmp_path: Path) -> Iterator[FakeSwitch]:
    fake = FakeSwitch(tmp_path / "br-blue.mgmt")
    yield fake
    fake.stop()


def test_they_are_made_where_they_are_not_there(switch: FakeSwitch, tmp_path: Path) -> None:
    path = tmp_path / "br-blue.mgmt"
    assert read_groups(path) == {}
    put_groups(path, GROUPS)
    assert switch.groups == WIRE
    assert read_groups(path) == dict(GROUPS)


def test_one_that_somebody_has_changed_is_made_what_it_must_be_and_others_are_left_alone(switch: FakeSwitch, tmp_path: Path) -> None:
    path = tmp_path / "br-blue.mgmt"
    switch.groups = {**FOREIGN, AGAIN: WIRE[AGAIN][:-4] + bytes.fromhex("2b000000")}
    assert read_groups(path) == {AGAIN: Group(GroupKind.SELECT, 43)}
    put_groups(path, GROUPS)
    assert switch.groups == FOREIGN | WIRE


def test_deleting_takes_those_alone_and_one_that_is_gone_is_success(switch: FakeSwitch, tmp_path: Path) -> None:
    path = tmp_path / "br-blue.mgmt"
    switch.groups = {**FOREIGN, **WIRE}
    for _ in range(2):
        drop_groups(path, [AGAIN, APART])
        assert switch.groups == FOREIGN


def test_nothing_to_do_asks_nobody(tmp_path: Path) -> None:
    put_groups(tmp_path / "br-nobody.mgmt", [])
    drop_groups(tmp_path / "br-nobody.mgmt", [])


def test_a_switch_that_cannot_have_one_is_said(switch: FakeSwitch, tmp_path: Path) -> None:
    switch.stubborn = True
    with pytest.raises(WorldError, match=r"cannot have the group 1001 \(select, to table 44\): error type 6, code 8"):
        put_groups(tmp_path / "br-blue.mgmt", GROUPS)
    with pytest.raises(WorldError, match="does not delete the group 1001: error type 6, code 8"):
        drop_groups(tmp_path / "br-blue.mgmt", [AGAIN])


def test_an_answer_that_breaks_off_is_no_group(switch: FakeSwitch, tmp_path: Path) -> None:
    switch.tell = lambda xid, kind: bytes.fromhex("0513 0014") + xid.to_bytes(4, "big") + bytes.fromhex("0007 0000 00000000 0028 0100")  # type: ignore[method-assign]
    with pytest.raises(Unavailable, match="groups breaks off"):
        read_groups(tmp_path / "br-blue.mgmt")
