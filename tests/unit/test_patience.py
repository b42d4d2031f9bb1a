"""Ports that somebody changed are spared until libvirt was asked why, for a bounded time, and nothing else waits for that."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest
from fake_rows import FakeQos
from fakes import FakeHost, domain_xml, hook_xml, network_xml, nic_xml, uuid_of
from services import serving

from vnetd import patience
from vnetd.model.network import Vlan, VlanMode
from vnetd.model.state import Shape
from vnetd.patience import Patience, Touched
from vnetd.requests import Answer, Request
from vnetd.service import Service
from vnetd.store import Kind, Store

FINE = Answer()
OTHER = Vlan(VlanMode.ACCESS, 99)


@pytest.fixture
def service(host: FakeHost, tmp_path: Path) -> Service:
    """Two guests of libvirt's, both in order."""
    found = serving(host, tmp_path)
    for number in (1, 2):
        host.link_comes(f"vnet{number}")
        host.libvirt_add_port(f"vnet{number}", "br-blue", {"vm-id": uuid_of(number), "iface-id": uuid_of(100 + number)})
        assert found.serve([start(number)]) == [FINE]
    return found


def guest(number: int, more: str = "") -> bytes:
    return domain_xml(f"web{number}", number, nic_xml(number, "blue", f"vnet{number}", more))


def start(number: int) -> Request:
    return Request("qemu", (f"web{number}", "start", "begin", "-"), guest(number))


def test_what_is_in_order_was_touched_by_nobody(service: Service) -> None:
    assert service.touched() == {}


@pytest.mark.parametrize("what", ["vlan", "policing", "shape"])
def test_a_touched_port_is_spared_and_put_back_when_it_no_longer_is(service: Service, host: FakeHost, what: str) -> None:
    row = host.ports["vnet1"]
    if what == "vlan":
        row.vlan = OTHER
    elif what == "policing":
        row.policing = -1
    else:
        host.qos[99] = FakeQos("vnet1", Shape(8, 8), ours=False)
        row.qos = 99
    touched = service.touched()
    assert set(touched) == {"vnet1"}
    before = (row.vlan, row.policing, row.qos)
    host.ports["vnet2"].vlan = OTHER
    service.spared = touched
    service.run()
    assert (row.vlan, row.policing, row.qos) == before
    assert host.ports["vnet2"].vlan != OTHER, "others are not spared"
    assert set(service.touched()) == {"vnet1"}, "it is still as somebody left it"
    service.spared = {}
    service.run()
    assert (row.vlan, row.policing, row.qos) != before
    assert service.touched() == {}


def test_a_spared_port_takes_what_its_guest_is_given_meanwhile(service: Service, host: FakeHost) -> None:
    host.ports["vnet1"].vlan = Vlan(VlanMode.ACCESS, 30)
    service.spared = service.touched()
    service.store.put(Kind.DOMAIN, uuid_of(1), guest(1, "<vlan><tag id='30'/></vlan>"))
    outcome = service.run()
    assert not outcome.left
    assert host.ports["vnet1"].vlan == Vlan(VlanMode.ACCESS, 30)
    assert any("4126->vlan_vid" in line and "in_port=vnet1" in line for line in host.flows("br-blue"))
    service.spared = {}
    assert service.touched() == {}


def test_a_port_that_goes_meanwhile_is_no_trouble(service: Service, host: FakeHost) -> None:
    host.ports["vnet1"].vlan = OTHER
    service.spared = service.touched()
    host.libvirt_del_port("vnet1")
    host.link_goes("vnet1")
    service.store.drop(Kind.DOMAIN, uuid_of(1))
    service.run()
    assert "vnet1" not in host.ports
    assert service.touched() == {}


def test_ports_that_libvirt_did_not_make_are_put_back_at_once(service: Service, host: FakeHost) -> None:
    host.link_comes("tap0")
    request = Request("ifup", ("tap0", "ovs-ifup-blue"), b"qemu\0-nic\0tap,ifname=tap0,mac=52:54:00:00:00:07\0")
    assert service.serve([request]) == [FINE]
    host.ports["tap0"].vlan = OTHER
    assert service.touched() == {}


# Processes that begin when guests run already: what the spool says of limits may be old, since domiftune calls no hook.


def tuned(host: FakeHost, rate: int = 50_000_000) -> Shape:
    """``virsh domiftune`` of the first guest, while nobody was there to see it."""
    shape = Shape(rate, rate)
    host.qos[99] = FakeQos("vnet1", shape, ours=False)
    host.ports["vnet1"].qos = 99
    host.ports["vnet1"].policing = 50_000
    return shape


def process(service: Service, host: FakeHost, *, deaf: bool = False) -> Service:
    """The next process on the same spool and host."""
    store = Store(service.store.root)
    store.load()
    return Service(store, host.rim, taps=service.taps, lock=service.lock, deaf=deaf)


def in_force(host: FakeHost, tap: str = "vnet1") -> tuple[Shape | None, int]:
    row = host.ports[tap]
    return (host.qos[row.qos].shape if row.qos is not None else None), row.policing


def test_a_new_daemon_spares_what_was_tuned_before_it_began(service: Service, host: FakeHost) -> None:
    daemon = process(service, host)
    assert daemon.touched() == {}
    shape = tuned(host)
    assert set(daemon.touched()) == {"vnet1"}
    daemon.spared = daemon.touched()
    assert not daemon.run().left
    assert in_force(host) == (shape, 50_000)
    assert set(daemon.touched()) == {"vnet1"}, "it waits for libvirt's word, as for what is tuned later"
    daemon.sync(time.time() + 1, {uuid_of(1): network_xml("blue", 1)}, {uuid_of(n): guest(n) for n in (1, 2)})
    daemon.spared = {}
    daemon.run()
    assert in_force(host) == (None, 0), "libvirt has no such limit"


def test_what_libvirt_has_been_asked_about_is_spared_no_more(service: Service, host: FakeHost) -> None:
    tuned(host)
    daemon = process(service, host)
    daemon.sync(time.time() + 1, {uuid_of(1): network_xml("blue", 1)}, {uuid_of(n): guest(n) for n in (1, 2)})
    assert daemon.touched() == {}


def test_a_port_that_nobody_has_wired_yet_is_not_spared(service: Service, host: FakeHost) -> None:
    host.ports["vnet1"].mark = None
    tuned(host)
    assert process(service, host).touched() == {}


def test_a_hook_by_itself_leaves_other_guests_limits_as_they_are(service: Service, host: FakeHost) -> None:
    shape = tuned(host)
    host.link_comes("vnet3")
    host.libvirt_add_port("vnet3", "br-blue", {"vm-id": uuid_of(3), "iface-id": uuid_of(103)})
    assert process(service, host, deaf=True).serve([start(3)]) == [FINE]
    assert host.ports["vnet3"].mark == "guest"
    assert in_force(host) == (shape, 50_000)
    process(service, host, deaf=True).run()
    assert in_force(host) == (shape, 50_000)


def test_a_hook_by_itself_changes_what_it_is_about(service: Service, host: FakeHost) -> None:
    tuned(host)
    told = guest(1, "<bandwidth><inbound average='1250'/></bandwidth>")
    assert process(service, host, deaf=True).serve([Request("qemu", ("web1", "reconnect", "begin", "-"), told)]) == [FINE]
    found, policing = in_force(host)
    assert found is not None
    assert (found.max_rate, policing) == (10_000_000, 0)


def test_a_hook_by_itself_changes_limits_with_the_portgroup(service: Service, host: FakeHost) -> None:
    tuned(host)
    text = network_xml("blue", 1, "<portgroup name='all' default='yes'><bandwidth><inbound average='1250'/></bandwidth></portgroup>")
    assert process(service, host, deaf=True).serve([Request("network", ("blue", "updated", "begin", "-"), hook_xml(text))]) == [FINE]
    for tap in ("vnet1", "vnet2"):
        found, _ = in_force(host, tap)
        assert found is not None
        assert found.max_rate == 10_000_000


def test_a_hook_by_itself_puts_a_vlan_back(service: Service, host: FakeHost) -> None:
    """libvirt changes none without a hook, and a port whose row and flows disagree is cut off."""
    before = host.ports["vnet1"].vlan
    host.ports["vnet1"].vlan = OTHER
    assert process(service, host, deaf=True).serve([start(2)]) == [FINE]
    assert host.ports["vnet1"].vlan == before


def test_apply_puts_back_what_libvirt_does_not_say(service: Service, host: FakeHost) -> None:
    tuned(host)
    assert process(service, host).serve([Request("apply", ())]) == [FINE]
    assert in_force(host) == (None, 0)


# For how long.


class Asked:
    """A libvirt that counts how often it is asked."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


def touched(service: Service, host: FakeHost, tag: int = 99) -> dict[str, Touched]:
    host.ports["vnet1"].vlan = Vlan(VlanMode.ACCESS, tag)
    return service.touched()


def test_libvirt_is_asked_once_and_patience_ends_with_its_answer(service: Service, host: FakeHost) -> None:
    asked = Asked()
    patient = Patience(asked)
    assert not patient.heard(time.time())
    for _ in range(3):
        assert set(patient.spare(touched(service, host))) == {"vnet1"}
    assert asked.times == 1
    assert patient.heard(time.time() - 60), "that listing began before"
    assert set(patient.spare(touched(service, host))) == {"vnet1"}
    patient.heard(time.time())
    assert patient.spare(touched(service, host)) == {}
    assert patient.end == math.inf
    assert patient.spare({}) == {}
    assert not patient.heard(time.time())


def test_a_port_that_is_changed_again_is_asked_about_again(service: Service, host: FakeHost) -> None:
    asked = Asked()
    patient = Patience(asked)
    patient.spare(touched(service, host))
    patient.heard(time.time())
    assert set(patient.spare(touched(service, host, 98))) == {"vnet1"}
    assert asked.times == 2


def test_patience_ends_without_an_answer_too(service: Service, host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    patient = Patience(Asked())
    begun = time.monotonic()
    patient.spare(touched(service, host))
    assert begun < patient.end <= time.monotonic() + patience.PATIENCE_SECONDS
    assert not patient.give_up()
    monkeypatch.setattr(time, "monotonic", lambda: begun + patience.PATIENCE_SECONDS + 1)
    assert patient.give_up()
    assert patient.spare(touched(service, host)) == {}
    assert not patient.give_up(), "whoever waits for its end again would do so for ever"
    assert patient.end == math.inf
