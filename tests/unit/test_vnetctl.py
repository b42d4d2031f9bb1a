"""``vnetctl plan``: it shows what ``apply`` would do, and does nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from fakes import FakeHost, hook_xml, mac_of, network_xml

from vnetd import vnetctl
from vnetd.requests import Answer, Request
from vnetd.service import Service
from vnetd.store import Store

TAP = "<interface><mac address='{}'/><source network='blue'/>{}</interface>"


@dataclass
class Desk:
    """A host with the network blue and a tap of ovs-ifup's in it, and two processes on one spool."""

    host: FakeHost
    taps: Path
    service: Callable[[], Service]

    def write(self, text: str) -> None:
        (self.taps / "tap0.xml").write_text(text)

    def plan(self) -> Result:
        return CliRunner().invoke(vnetctl.main, ["plan"])

    def apply(self) -> Answer:
        return self.service().serve([Request("apply", ())])[0]


@pytest.fixture
def desk(host: FakeHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    taps = tmp_path / "taps"
    taps.mkdir()

    def service(remember: bool = True, take: bool = False) -> Service:
        store = Store(tmp_path / "spool", remember=remember)
        store.load()
        return Service(store, host.rim, taps=taps, lock=tmp_path / "lock", complete=True)

    monkeypatch.setattr(vnetctl, "_local_service", service)
    found = Desk(host, taps, service)
    found.write(TAP.format(mac_of(7), ""))
    host.link_comes("tap0")
    requests = Request("network", ("blue", "start", "begin", "-"), hook_xml(network_xml("blue", 1))), Request("ifup", ("tap0", "ovs-ifup"))
    for request in requests:
        assert service().serve([request]) == [Answer()]
    return found


def test_a_tap_file_that_was_not_edited_is_nothing_to_do(desk: Desk) -> None:
    result = desk.plan()
    assert (result.exit_code, result.output) == (0, "nothing to do\n")


def test_a_plan_shows_what_apply_does_with_an_edited_tap_file(desk: Desk) -> None:
    desk.write(TAP.format(mac_of(7), "<vlan><tag id='30'/></vlan>"))
    before = desk.host.ports["tap0"].vlan
    result = desk.plan()
    assert result.exit_code == vnetctl.CHANGES
    assert "~ port tap0 on br-blue: VLAN 30\n" in result.output
    assert desk.host.ports["tap0"].vlan == before
    again = desk.plan()
    assert again.output == result.output, "a plan is no more than that"
    assert desk.apply() == Answer()
    assert desk.plan().exit_code == 0


def test_a_plan_tells_the_fault_in_a_tap_file_as_apply_does(desk: Desk) -> None:
    desk.write(TAP.format(mac_of(7), "<vlan><tag id='5000'/></vlan>"))
    result, answer = desk.plan(), desk.apply()
    assert (result.exit_code, answer.status) == (2, 2)
    assert f"vnetctl: {answer.text}\n" in result.output
    assert "nothing to do" in result.output
    assert str(desk.taps / "tap0.xml") in answer.text
