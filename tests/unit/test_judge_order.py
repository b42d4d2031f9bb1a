"""When a judge is put: before its port's flows, and never a flow without it; and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fakes import FakeHost, domain_xml, mac_of, network_xml, nic_xml, uuid_of
from services import serving

from vnetd.model.judge import Judge
from vnetd.model.state import Host
from vnetd.requests import Answer, Request
from vnetd.service import Service

FINE = Answer()


class Watched(FakeHost):
    """A host on which somebody's own filters may stand before vnetd's."""

    before: frozenset[str] = frozenset()

    def host(self) -> Host:
        host = super().host()
        links = {name: replace(link, outrun=name in self.before) for name, link in host.links.items()}
        return replace(host, links=links)


@pytest.fixture
def host() -> Watched:
    return Watched(links={"eth1": True})


@pytest.fixture
def service(host: Watched, tmp_path: Path) -> Service:
    return serving(host, tmp_path)


def start(service: Service, host: FakeHost, number: int) -> Answer:
    tap = f"vnet{number}"
    host.link_comes(tap)
    host.libvirt_add_port(tap, "br-blue", {"vm-id": uuid_of(number), "iface-id": uuid_of(100 + number), "attached-mac": mac_of(number)})
    xml = domain_xml(f"guest{number}", number, nic_xml(number, "blue", tap))
    return service.serve([Request("qemu", (f"guest{number}", "start", "begin", "-"), xml)])[0]


def opened(host: FakeHost, tap: str) -> list[str]:
    """The flows that judge what the port sends; without any it is a port that nobody has claimed."""
    return [line for line in host.flows("br-blue") if f"in_port={tap}" in line]


def problems(service: Service) -> list[str]:
    assert service.last is not None
    return [str(problem) for problem in service.last.problems]


def test_a_ports_judge_comes_before_its_flows(service: Service, host: Watched) -> None:
    host.changes.clear()
    assert start(service, host, 1) == FINE
    judged = host.changes.index("judge of vnet1")
    first = next(at for at, line in enumerate(host.changes) if line.startswith("+ flow") and "in_port=vnet1" in line)
    assert judged < first
    assert host.judges["vnet1"].words == "mac, untagged"


def test_a_port_that_the_kernel_does_not_judge_stays_closed_and_the_others_do_not_notice(service: Service, host: Watched) -> None:
    host.unjudgeable = {"vnet1"}
    assert start(service, host, 1).status == 1
    host.link_goes("vnet1")
    assert start(service, host, 2) == FINE
    assert opened(host, "vnet2")


def test_a_port_whose_judge_is_lost_for_good_is_closed(service: Service, host: Watched) -> None:
    assert start(service, host, 1) == FINE
    host.unjudgeable = {"vnet1"}
    del host.judges["vnet1"]
    service.forget()
    service.run()
    assert opened(host, "vnet1") == []
    assert [text for text in problems(service) if "cannot be judged" in text]
    host.unjudgeable = set()
    service.forget()
    service.run()
    assert opened(host, "vnet1")
    assert problems(service) == []


def test_a_judge_that_was_changed_by_hand_is_put_back_and_nothing_else_touched(service: Service, host: Watched) -> None:
    assert start(service, host, 1) == FINE
    host.judges["vnet1"] = Judge((), "nothing")
    service.forget()
    _, _, plan = service.look()
    assert plan.lines() == ["~ judge of vnet1: mac, untagged"]
    host.changes.clear()
    service.run()
    assert host.changes == ["judge of vnet1"]


def test_a_filter_that_stands_before_a_judge_is_said(service: Service, host: Watched) -> None:
    assert start(service, host, 1) == FINE
    host.before = frozenset({"vnet1", "eth1"})
    service.forget()
    service.run()
    assert [text for text in problems(service) if "stands before its judge" in text]
    assert opened(host, "vnet1"), "it may be there to look on"


def test_there_is_none_in_the_userspace_data_plane(tmp_path: Path) -> None:
    host = Watched(links={"eth1": True}, datapath="netdev")
    service = serving(host, tmp_path)
    assert start(service, host, 1) == FINE
    assert host.judges == {}


def test_the_host_is_out_of_reach_where_the_kernel_takes_no_judge_for_it(tmp_path: Path) -> None:
    host = Watched(links={"eth1": True})
    service = serving(host, tmp_path, network_xml("blue", 1, metadata="<v:policy host='yes'/>"))
    assert host.judges["br-blue"].words == "for guests that may reach the host"
    assert reached(host)
    host.unjudgeable = {"br-blue"}
    del host.judges["br-blue"]
    service.forget()
    service.run()
    assert not reached(host)
    assert [text for text in problems(service) if "cannot be judged" in text]
    host.unjudgeable = set()
    service.forget()
    service.run()
    assert reached(host)


def reached(host: FakeHost) -> list[str]:
    """The flows that give something to the bridge's own port."""
    return [line for line in host.flows("br-blue") if "LOCAL" in line.partition("actions=")[2]]
