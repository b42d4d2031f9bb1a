"""What a bridge makes of fragments, asked and told over its management socket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from openflow_switch import FakeSwitch

from vnetd.adapters.fragments import read_mode, set_mode
from vnetd.errors import Unavailable, WorldError


@pytest.fixture
def switch(tmp_path: Path) -> Iterator[FakeSwitch]:
    fake = FakeSwitch(tmp_path / "br-blue.mgmt")
    yield fake
    fake.stop()


def test_the_mode_is_read_in_the_words_of_ovs_ofctl(switch: FakeSwitch, tmp_path: Path) -> None:
    found = []
    for switch.config in range(4):
        found.append(read_mode(tmp_path / "br-blue.mgmt"))
    assert found == ["normal", "drop", "reassemble", "nx-match"]


def test_setting_it_leaves_the_rest_of_the_switchs_settings_alone(switch: FakeSwitch, tmp_path: Path) -> None:
    switch.config = 0x0104
    set_mode(tmp_path / "br-blue.mgmt", "nx-match")
    assert switch.config == 0x0107
    assert bytes.fromhex("0509 000c") in b"".join(switch.heard)
    assert b"".join(switch.heard).count(bytes.fromhex("0107 0080")) == 1, "the bytes that go to a controller are as before"


def test_a_switch_that_does_not_take_it_is_said(switch: FakeSwitch, tmp_path: Path) -> None:
    switch.stubborn = True
    with pytest.raises(WorldError, match="cannot handle fragments as nx-match"):
        set_mode(tmp_path / "br-blue.mgmt", "nx-match")


def test_a_bridge_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        read_mode(tmp_path / "none.mgmt")
