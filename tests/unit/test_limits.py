"""Limits that tc does not have: told by status and once by the log, and not while anything is on its way there."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fakes import FakeHost, hook_xml, network_xml

from vnetd.errors import Unavailable
from vnetd.model.network import Problem
from vnetd.model.shaping import HtbClass, SeenTap
from vnetd.model.state import Shape
from vnetd.patience import Touched
from vnetd.requests import Request
from vnetd.service import Service
from vnetd.status import report
from vnetd.store import Store

WHOLE, HALF = (SeenTap("htb", classes={1: HtbClass(rate, rate, 1564), 0xFFFE: HtbClass(rate, rate, 1500)}) for rate in (100_000, 50_000))
FILE = "<interface><mac address='52:54:00:00:00:{}'/><source network='blue'/>{}</interface>"
LIMIT = "<bandwidth><inbound average='100'/></bandwidth>"


@dataclass
class FakeTc:
    """What tc has on taps, and which of them it was asked about."""

    there: dict[str, SeenTap] = field(default_factory=dict)
    asked: list[set[str]] = field(default_factory=list)
    away: bool = False

    def taps(self, wanted: Mapping[str, int]) -> dict[str, SeenTap]:
        self.asked.append(set(wanted))
        if self.away:
            raise Unavailable("the kernel does not answer by netlink")
        return {name: self.there[name] for name in wanted if name in self.there}


@pytest.fixture
def tc() -> FakeTc:
    return FakeTc({"tap1": WHOLE, "tap2": SeenTap("tbf")})


@pytest.fixture
def service(host: FakeHost, tc: FakeTc, tmp_path: Path) -> Service:
    """A limited tap and one without a limit, both wired."""
    store = Store(tmp_path / "spool")
    store.load()
    service = Service(store, host.rim, taps=tmp_path / "taps", lock=tmp_path / "run" / "lock", tc=tc)
    service.taps.mkdir()
    service.serve([Request("network", ("blue", "start", "begin", "-"), hook_xml(network_xml("blue", 1)))])
    for number, limit in ((1, LIMIT), (2, "")):
        host.link_comes(f"tap{number}")
        (service.taps / f"tap{number}.xml").write_text(FILE.format(f"0{number}", limit), encoding="utf-8")
        (answer,) = service.serve([Request("ifup", (f"tap{number}", "ovs-ifup"))])
        assert answer.status == 0, answer
    return service


def told(service: Service) -> dict[str, str]:
    """What status says of each port."""
    desired, observed, plan = service.look()
    found = report(desired, observed, plan, limits=service.limits(desired, observed))
    return {port["tap"]: port["error"] or port["state"] for port in found["ports"]}


def test_a_limit_that_tc_has_is_nothing_to_tell(service: Service, tc: FakeTc) -> None:
    assert told(service) == {"tap1": "up", "tap2": "up"}
    assert tc.asked == [{"tap1"}], "what has no limit is not looked at: it is whose tap it is"


def test_a_limit_that_tc_does_not_have_is_an_error_of_its_port(service: Service, tc: FakeTc) -> None:
    tc.there["tap1"] = HALF
    assert told(service)["tap1"].startswith("what it gets should be limited to 800 kbit/s, but tc lets 400 kbit/s pass")


def test_without_a_way_to_tc_nothing_is_told(service: Service, tc: FakeTc) -> None:
    tc.there["tap1"] = HALF
    service.tc = None
    assert told(service)["tap1"] == "up"


def test_a_row_that_asks_for_something_else_is_not_held_against_tc(service: Service, host: FakeHost, tc: FakeTc) -> None:
    """There the plan says what is wrong, and tc does as it is told."""
    qos = host.ports["tap1"].qos
    assert qos is not None
    host.qos[qos].shape = Shape(8, 8)
    tc.there["tap1"] = HALF
    assert told(service)["tap1"] == "up"


def test_what_open_vswitch_has_not_acted_on_is_as_it_was_known(service: Service, host: FakeHost, tc: FakeTc) -> None:
    host.acted = False
    tc.there["tap1"] = HALF
    assert told(service)["tap1"] == "up"
    host.acted = True
    assert "tc lets 400 kbit/s pass" in told(service)["tap1"]
    host.acted, tc.there["tap1"] = False, WHOLE
    assert "tc lets 400 kbit/s pass" in told(service)["tap1"]
    host.acted = True
    assert told(service)["tap1"] == "up"


def test_a_kernel_that_does_not_answer_costs_the_status_nothing_else(service: Service, tc: FakeTc) -> None:
    tc.away = True
    desired, observed, _ = service.look()
    assert service.limits(desired, observed) == {Problem("switch", "tc", "the kernel does not answer by netlink", soft=True)}


def test_the_log_says_it_once_and_when_it_is_over(service: Service, tc: FakeTc, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "vnetd")
    tc.there["tap1"] = HALF
    for _ in range(3):
        service.run()
        service.audit_limits()
    tc.there["tap1"] = WHOLE
    service.run()
    service.audit_limits()
    said = [record.message for record in caplog.records if "tc lets" in record.message]
    assert [line.partition(" what")[0] for line in said] == ["port tap1:", "no longer: port tap1:"]


def test_a_port_that_goes_takes_its_fault_along(service: Service, host: FakeHost, tc: FakeTc) -> None:
    tc.there["tap1"] = HALF
    service.run()
    service.audit_limits()
    assert [problem.name for problem in service.said] == ["tap1"]
    service.serve([Request("ifdown", ("tap1", "ovs-ifdown"))])
    assert service.said == frozenset()


def test_a_port_that_is_spared_is_not_looked_at(service: Service, tc: FakeTc) -> None:
    """Somebody has just changed it, and libvirt is asked about it."""
    tc.there["tap1"] = HALF
    seen = service.run().observed.rows.ports["tap1"]
    service.spared = {"tap1": Touched(seen, seen)}
    service.audit_limits()
    assert service.said == frozenset()
