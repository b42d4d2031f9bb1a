"""The group by which a frame is parsed again, asked for and made over a bridge's management socket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from openflow_switch import FakeSwitch

from vnetd.adapters.groups import has_again, put_again
from vnetd.errors import Unavailable, WorldError

AGAIN = bytes.fromhex(
    "0100 766e6574"  # select, its number
    "0020 0001 ffffffff ffffffff 00000000"  # a bucket of 32 bytes and weight 1, with no port or group to watch
    "ffff 0010 00002320 000e fff8 2c 000000"  # resubmit(,44), the action of Open vSwitch's own
)


@pytest.fixture
def switch(tmp_path: Path) -> Iterator[FakeSwitch]:
    fake = FakeSwitch(tmp_path / "br-blue.mgmt")
    yield fake
    fake.stop()


def test_it_is_made_where_it_is_not_there(switch: FakeSwitch, tmp_path: Path) -> None:
    path = tmp_path / "br-blue.mgmt"
    assert not has_again(path)
    put_again(path)
    assert switch.groups == {0x766E6574: AGAIN}
    assert has_again(path)


def test_one_that_somebody_has_changed_is_made_what_it_must_be_and_others_are_left_alone(switch: FakeSwitch, tmp_path: Path) -> None:
    path = tmp_path / "br-blue.mgmt"
    switch.groups = {7: bytes.fromhex("0000 00000007"), 0x766E6574: AGAIN[:-4] + bytes.fromhex("2b000000")}
    assert not has_again(path)
    put_again(path)
    assert switch.groups == {7: bytes.fromhex("0000 00000007"), 0x766E6574: AGAIN}


def test_a_switch_that_cannot_have_it_is_said(switch: FakeSwitch, tmp_path: Path) -> None:
    switch.stubborn = True
    with pytest.raises(WorldError, match="cannot have the group 1986946420 for dot1q-tunnel ports: error type 6, code 8"):
        put_again(tmp_path / "br-blue.mgmt")


def test_an_answer_that_breaks_off_is_no_group(switch: FakeSwitch, tmp_path: Path) -> None:
    switch.tell = lambda xid, kind: bytes.fromhex("0513 0014") + xid.to_bytes(4, "big") + bytes.fromhex("0007 0000 00000000 0028 0100")  # type: ignore[method-assign]
    with pytest.raises(Unavailable, match="groups breaks off"):
        has_again(tmp_path / "br-blue.mgmt")
