"""One thing's fault is not every thing's: what is broken, slow, half known or somebody else's, and what goes on all the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import FakeHost, domain_xml, hook_xml, mac_of, network_xml, nic_xml, port_xml, uuid_of
from services import serving

from vnetd.errors import InputError, Unavailable, WorldError
from vnetd.model.state import Table
from vnetd.plan import ChangeMeters, RowStep
from vnetd.requests import Answer, Request
from vnetd.service import Service
from vnetd.store import Kind
from vnetd.xmlread import read_network

BLUE_XML = network_xml("blue", 1)
FINE = Answer()


class Poor(FakeHost):
    """A host on which some things do not work."""

    mute: frozenset[str] = frozenset()
    slow = False
    blind = False
    calls = 0

    def table(self, bridge: str) -> Table:
        if bridge in self.mute:
            raise WorldError("the bridge does not speak OpenFlow 1.4")
        return super().table(bridge)

    def apply(self, steps: Sequence[RowStep]) -> None:
        self.calls += 1
        if self.slow:
            raise Unavailable("ovsdb-server did not take the change within 10 s")
        super().apply(steps)

    def match_fragments(self, bridge: str) -> None:
        if self.blind:
            raise WorldError("the switch refused: it cannot handle fragments so")
        super().match_fragments(bridge)

    def put_meters(self, step: ChangeMeters) -> None:
        """It takes meters of packets, and none of bits."""
        taken = [tuple(one for one in meters if one[1].unit == "pktps") for meters in (step.put, step.change)]
        super().put_meters(replace(step, put=taken[0], change=taken[1]))
        if taken != [step.put, step.change]:
            raise WorldError("the switch has no more meters")


@pytest.fixture
def host() -> Poor:
    return Poor(links={"eth1": True})


@pytest.fixture
def service(host: Poor, tmp_path: Path) -> Service:
    return serving(host, tmp_path)


def start(service: Service, host: Poor, number: int, more: str = "") -> Answer:
    """A guest with one NIC, as libvirt and its hook bring it."""
    tap = f"vnet{number}"
    host.link_comes(tap)
    host.libvirt_add_port(tap, "br-blue", {"vm-id": uuid_of(number), "iface-id": uuid_of(100 + number), "attached-mac": mac_of(number)})
    xml = domain_xml(f"guest{number}", number, nic_xml(number, "blue", tap, more=more))
    return service.serve([Request("qemu", (f"guest{number}", "start", "begin", "-"), xml)])[0]


def flows_of(host: Poor, tap: str) -> list[str]:
    return [line for line in host.flows("br-blue") if f"in_port={tap}" in line]


def test_a_world_that_is_away_is_asked_once_and_not_piece_by_piece(service: Service, host: Poor) -> None:
    """Ten seconds a try, halved until each step stands alone, would be minutes for a handful of ports."""
    start(service, host, 1)
    host.slow, host.calls = True, 0
    assert start(service, host, 2).status == 1
    assert host.calls <= 2, "once for the guest, once to take it back"


def test_a_guest_whose_meter_is_refused_does_not_keep_others_from_starting(service: Service, host: Poor) -> None:
    limited = "<bandwidth><outbound average='1000'/></bandwidth>"
    assert start(service, host, 1, limited).status == 1
    assert start(service, host, 2) == FINE
    assert flows_of(host, "vnet2")


def test_a_bridge_that_hides_the_ports_of_fragments_gets_no_flows_until_it_shows_them(service: Service, host: Poor) -> None:
    """Its flows would let pass what they are there to refuse."""
    host.vswitchd_restart()
    host.blind = True
    service.forget()
    service.run()
    assert host.flows("br-blue") == []
    assert service.last is not None
    assert [problem for problem in service.last.problems if problem.name == "br-blue"]
    host.blind = False
    host.changes.clear()
    service.run()
    assert host.changes[0] == "fragments on br-blue"
    assert host.flows("br-blue")


def test_a_bridge_that_cannot_be_spoken_to_is_the_only_one_without_service(service: Service, host: Poor) -> None:
    host.mute = frozenset({"br-blue"})
    red = Request("network", ("red", "start", "begin", "-"), hook_xml(network_xml("red", 2)))
    assert service.serve([red]) == [FINE]
    assert host.flows("br-red")
    assert service.last is not None
    assert "OpenFlow 1.4" in " ".join(str(problem) for problem in service.last.problems)


def test_a_look_that_is_due_is_not_lost_to_a_request_without_news(service: Service, host: Poor) -> None:
    assert start(service, host, 1) == FINE
    host.vswitchd_restart()
    prepare = Request("qemu", ("other", "prepare", "begin", "-"), domain_xml("other", 50))
    assert service.serve([prepare], look=True) == [FINE]
    assert flows_of(host, "vnet1")


def test_a_nic_that_becomes_unreadable_stays_as_it_was(service: Service, host: Poor) -> None:
    assert start(service, host, 1) == FINE
    before = flows_of(host, "vnet1")
    bad = "<bandwidth><inbound average='1000' peak='500'/></bandwidth>"
    xml = domain_xml("guest1", 1, nic_xml(1, "blue", "vnet1", more=bad))
    service.serve([Request("qemu", ("guest1", "reconnect", "begin", "-"), xml)])
    assert flows_of(host, "vnet1") == before
    assert service.last is not None
    assert "peak" in " ".join(str(problem) for problem in service.last.problems)


def test_a_guest_that_no_source_has_named_yet_keeps_its_flows(service: Service, host: Poor, tmp_path: Path) -> None:
    """A process whose spool lacks the guest, before libvirt was listed, must not take it for gone."""
    assert start(service, host, 1) == FINE
    service.store.drop(Kind.DOMAIN, uuid_of(1))
    host.hand_bridge("br-other")
    host.bridges["br-other"].owner = uuid_of(77)
    before = flows_of(host, "vnet1")
    service.run()
    assert flows_of(host, "vnet1") == before
    service.complete = True
    service.run()
    assert flows_of(host, "vnet1") == []


def test_a_spool_that_somebody_removed_is_written_again(service: Service, host: Poor, tmp_path: Path) -> None:
    assert start(service, host, 1) == FINE
    for path in sorted((tmp_path / "spool").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    service.run()
    assert flows_of(host, "vnet1")
    assert (tmp_path / "spool/domains" / f"{uuid_of(1)}.xml").exists()


def test_a_taps_claim_ends_with_its_device(service: Service, host: Poor, tmp_path: Path) -> None:
    """A QEMU that is killed calls no downscript, and the next device of that name may be anybody's."""
    (tmp_path / "taps").mkdir()
    (tmp_path / "taps/tap0.xml").write_text(f"<interface><mac address='{mac_of(9)}'/><source network='blue'/></interface>")
    host.link_comes("tap0")
    assert service.serve([Request("ifup", ("tap0", "ovs-ifup"))]) == [FINE]
    assert "tap0" in host.ports
    host.link_goes("tap0")
    service.run()
    host.link_comes("tap0")
    service.run()
    assert "tap0" not in host.ports
    assert service.store.taps() == []


def test_a_hotplugged_nic_has_the_policy_of_its_guest_at_once(service: Service, host: Poor) -> None:
    """The network is open by its XML, this NIC is not, and libvirt has not been listed since."""
    red = hook_xml(network_xml("red", 2, metadata="<v:policy guard='none'/>"))
    assert service.serve([Request("network", ("red", "start", "begin", "-"), red)]) == [FINE]
    inside = f"<v:interface mac='{mac_of(7)}'><v:policy guard='mac'/></v:interface>"
    policy = f"<metadata><v:domain xmlns:v='urn:vnetd:domain:1'>{inside}</v:domain></metadata>"
    xml = domain_xml("guest3", 3).replace(b"<devices", policy.encode() + b"<devices")
    service.serve([Request("qemu", ("guest3", "reconnect", "begin", "-"), xml)])
    plugged = hook_xml(network_xml("red", 2, metadata="<v:policy guard='none'/>"), port_xml(7, "guest3", 3, 44))
    service.serve([Request("network", ("red", "port-created", "begin", "-"), plugged)])
    iface_id = next(nic.iface_id for nic in service.store.inventory(False).nics if nic.portid == uuid_of(44))
    host.link_comes("vnet9")
    host.libvirt_add_port("vnet9", "br-red", {"vm-id": uuid_of(3), "iface-id": str(iface_id), "attached-mac": mac_of(7)})
    service.run()
    assert any(f"dl_src={mac_of(7)}" in line for line in host.flows("br-red"))


def test_an_uplink_and_an_overlay_do_not_go_together() -> None:
    """Where two hosts' uplinks meet, a broadcast would go round by wire and tunnel for ever."""
    both = "<v:overlay type='gre' segment='1'><v:peer name='a' address='192.0.2.1'/></v:overlay><v:uplink dev='eth1'/>"
    with pytest.raises(InputError, match="write one"):
        read_network(network_xml("blue", 1, metadata=both))


def test_an_uplink_that_gets_the_default_route_later_stays(service: Service, host: Poor) -> None:
    lan = hook_xml(network_xml("lan", 3, metadata="<v:uplink dev='eth1'/>"))
    assert service.serve([Request("network", ("lan", "start", "begin", "-"), lan)]) == [FINE]
    host.default_route = {"eth1"}
    service.run()
    assert "eth1" in host.ports
    assert service.last is not None
    assert [problem.soft for problem in service.last.problems_of("network", ("lan",))] == [True]
