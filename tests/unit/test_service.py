"""Requests in, one pass for all of them, answers out; and what happens when the world, or another process, is in the way."""

from __future__ import annotations

import fcntl
import logging
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from fakes import FakeHost, domain_xml, hook_xml, mac_of, network_xml, nic_xml, port_xml, uuid_of

from vnetd.errors import Unavailable, WorldError
from vnetd.model.state import Host, Rows
from vnetd.plan import RowStep
from vnetd.reconcile import Rim
from vnetd.requests import Answer, Request
from vnetd.service import Service, locked
from vnetd.store import Kind, Store

BLUE_XML = network_xml("blue", 1)
FINE = Answer()


class Away(FakeHost):
    """A host whose OVSDB can be taken away, and which counts the passes that look at it."""

    away = False
    looks = 0

    def rows(self) -> Rows:
        if self.away:
            raise Unavailable("ovsdb-server is away")
        return super().rows()

    def host(self) -> Host:
        self.looks += 1
        return super().host()

    def apply(self, steps: Sequence[RowStep]) -> None:
        if self.away:
            raise Unavailable("ovsdb-server is away")
        super().apply(steps)


@pytest.fixture
def host() -> Away:
    return Away(links={"eth1": True})


@pytest.fixture
def service(host: Away, tmp_path: Path) -> Service:
    return process(host, tmp_path)


def process(host: FakeHost, place: Path) -> Service:
    """A process of vnetd's: its own memory, the same spool, host and lock as any other's."""
    store = Store(place / "spool")
    store.load()
    return Service(store, host.rim, taps=place / "taps", lock=place / "run" / "lock")


def network(name: str, number: int, operation: str = "start", port: str = "", metadata: str = "") -> Request:
    return Request("network", (name, operation, "begin", "-"), hook_xml(network_xml(name, number, metadata=metadata), port))


def guest(name: str, number: int, *nics: str, operation: str = "start") -> Request:
    return Request("qemu", (name, operation, "begin", "-"), domain_xml(name, number, *nics))


def plug(host: FakeHost, number: int, bridge: str = "br-blue") -> None:
    """As libvirt plugs tap vnetN."""
    host.link_comes(f"vnet{number}")
    host.libvirt_add_port(f"vnet{number}", bridge, {"iface-id": uuid_of(number), "vm-id": uuid_of(100 + number)})


def web(number: int, network_name: str = "blue") -> Request:
    return guest(f"web{number}", 100 + number, nic_xml(number, network_name, f"vnet{number}"))


def wired(host: FakeHost, number: int, bridge: str = "br-blue") -> bool:
    return any(f"in_port=vnet{number}," in line and f"dl_src={mac_of(number)}" in line for line in host.flows(bridge))


# One pass for many.


def test_requests_that_wait_together_are_served_by_one_pass(service: Service, host: Away) -> None:
    service.serve([network("blue", 1)])
    for number in (2, 3, 4):
        plug(host, number)
    host.looks = 0
    assert service.serve([web(2), web(3), web(4)]) == [FINE, FINE, FINE]
    assert all(wired(host, number) for number in (2, 3, 4))
    alone = host.looks
    plug(host, 5)
    host.looks = 0
    service.serve([web(5)])
    assert host.looks == alone


def test_a_request_that_changes_nothing_costs_no_pass(service: Service, host: Away) -> None:
    service.serve([network("blue", 1)])
    host.looks = 0
    requests = [network("blue", 1, "started"), Request("qemu", ("web", "migrate", "begin", "-"), b""), web(2)]
    service.serve(requests[:2])
    service.serve([guest("other", 50, operation="prepare")])
    assert host.looks == 0


def test_one_bad_request_spoils_no_other(service: Service, host: Away) -> None:
    bad = guest("bad", 60, nic_xml(6, "blue", "a;reboot"))
    strange = Request("qemu", ("web", "start", "begin", "-"), b"<domain")
    answers = service.serve([network("blue", 1), bad, strange, network("red", 2)])
    assert [answer.status for answer in answers] == [0, 2, 2, 0]
    assert "a;reboot" in answers[1].text
    assert set(host.bridges) == {"br-blue", "br-red"}


def test_a_refused_network_is_taken_back_and_the_others_stay(service: Service, host: Away) -> None:
    answers = service.serve([network("blue", 1), network("red", 2, metadata="<v:uplink dev='eth9'/>")])
    assert [answer.status for answer in answers] == [0, 1]
    assert "its uplink eth9 is not on this host" in answers[1].text
    assert set(host.bridges) == {"br-blue"}
    assert [one.name for one in service.store.networks()] == ["blue"]


def test_a_refused_guest_is_taken_back_and_its_port_stays_silent(service: Service, host: Away) -> None:
    service.serve([network("blue", 1)])
    plug(host, 2)
    two_nics = guest("web", 102, nic_xml(2, "blue", "vnet2"), nic_xml(3, "blue", "vnet3"))
    (answer,) = service.serve([two_nics])
    assert answer == Answer(1, "port vnet3: its tap device is not there")
    assert not wired(host, 2)
    assert service.store.get(Kind.DOMAIN, uuid_of(102)) is None


def test_a_refused_tap_is_taken_back(service: Service, host: Away) -> None:
    service.serve([network("blue", 1)])
    (answer,) = service.serve([Request("ifup", ("tap0", "ovs-ifup-blue"), b"qemu\0-nic\0tap,ifname=tap0,mac=52:54:00:00:00:07\0")])
    assert answer.status == 1
    assert service.store.taps() == []


def test_who_may_not_be_refused_is_told_that_all_is_well(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    """A failing "reconnect" kills a running guest; what was wrong goes to the log, with foreign names escaped."""
    with caplog.at_level(logging.WARNING):
        answers = service.serve([Request("qemu", ("we\nb", operation, "begin", "-"), b"<domain") for operation in ("reconnect", "stopped")])
    assert answers == [FINE, FINE]
    assert len(caplog.messages) == 2
    assert all("we\n" not in message for message in caplog.messages)


def test_what_a_pass_found_is_said_once_and_its_end_too(service: Service, host: Away, caplog: pytest.LogCaptureFixture) -> None:
    service.store.put(Kind.NETWORK, uuid_of(1), network_xml("blue", 1, metadata="<v:uplink dev='eth9'/>"))
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            service.run()
        host.link_comes("eth9")
        service.run()
    told = [message for message in caplog.messages if "is not on this host" in message]
    assert [message.startswith("no longer: ") for message in told] == [False, True]


def test_queues_that_are_lost_together_are_one_line_of_the_log(service: Service, host: Away, caplog: pytest.LogCaptureFixture) -> None:
    """Open vSwitch takes away those of a whole host at once."""
    host.datapath = "netdev"
    service.serve([network("blue", 1)])
    for number in (2, 3):
        plug(host, number)
        limited = nic_xml(number, "blue", f"vnet{number}", more="<bandwidth><inbound average='1000'/></bandwidth>")
        assert service.serve([guest(f"web{number}", 100 + number, limited)]) == [FINE]
    for limit in filter(None, map(host.limit_of, ("vnet2", "vnet3"))):
        limit.leaf = None
    with caplog.at_level(logging.INFO):
        service.run()
    assert [message for message in caplog.messages if "queue" in message] == ["~ queues under limits: 2"]


# A world that is away.


def test_a_start_is_refused_while_the_switch_is_away_and_leaves_nothing(service: Service, host: Away) -> None:
    service.serve([network("blue", 1)])
    plug(host, 2)
    host.away = True
    assert service.serve([web(2)]) == [Answer(1, "ovsdb-server is away")]
    assert service.trouble == "ovsdb-server is away"
    host.away = False
    service.run()
    assert service.trouble == ""
    assert not wired(host, 2)


def test_a_network_start_is_refused_while_the_switch_is_away_and_leaves_nothing(service: Service, host: Away) -> None:
    host.away = True
    assert [answer.status for answer in service.serve([network("blue", 1)])] == [1]
    host.away = False
    service.run()
    assert host.bridges == {}


def test_what_was_stopped_while_the_switch_was_away_goes_when_it_is_back(service: Service, host: Away) -> None:
    service.serve([network("blue", 1), network("red", 2)])
    service.store.drop(Kind.NETWORK, uuid_of(2))
    host.away = True
    assert service.serve([network("blue", 1, "stopped")]) == [FINE]
    host.away = False
    service.run()
    assert "br-blue" not in host.bridges
    assert "br-red" in host.bridges, "nothing was said of it, and libvirt has not been listed"


def test_a_guest_of_no_concern_starts_while_the_switch_is_away(service: Service, host: Away) -> None:
    """One guest's trouble, or one service's, is not every guest's."""
    host.away = True
    other = guest("other", 50, nic_xml(5, "default", "vnet5"))
    prepare = guest("other", 50, operation="prepare")
    assert service.serve([other]) == [FINE]
    assert service.serve([network("blue", 1), other, prepare])[1:] == [FINE, FINE]


def test_a_guest_of_no_concern_starts_whatever_an_earlier_pass_left(service: Service, host: Away) -> None:
    service.serve([network("blue", 1)])
    plug(host, 2)
    host.refusing = {"br-blue"}
    service.serve([web(2)])
    assert service.serve([guest("other", 50, nic_xml(5, "default", "vnet5"))]) == [FINE]


# Looking.


def test_looking_says_what_a_pass_would_do_and_does_nothing(service: Service, host: Away) -> None:
    service.store.put(Kind.NETWORK, uuid_of(1), BLUE_XML)
    desired, _, plan = service.look()
    assert plan.lines() == ["+ bridge br-blue (system, fail_mode=secure)"]
    assert set(desired.bridges) == {"br-blue"}
    assert host.bridges == {}


def test_drops_are_told_by_port_and_reason(service: Service, host: Away) -> None:
    service.serve([network("blue", 1)])
    desired, observed, _ = service.look()
    assert service.drops(desired, observed) == []


def test_nothing_is_pruned_before_libvirt_has_been_listed(service: Service, host: Away, tmp_path: Path) -> None:
    service.serve([network("blue", 1)])
    newcomer = Service(Store(tmp_path / "empty"), host.rim, lock=tmp_path / "lock")
    newcomer.run()
    assert "br-blue" in host.bridges
    newcomer.complete = True
    newcomer.run()
    assert host.bridges == {}


# Other processes.


def test_hotplug_is_wired_when_libvirt_has_put_the_tap_in(service: Service, host: Away) -> None:
    service.serve([network("blue", 1), network("blue", 1, "port-created", port_xml(2, "web", 102, 7))])
    assert not host.ports
    plug(host, 2)
    service.run()
    assert wired(host, 2)
    host.libvirt_del_port("vnet2")
    host.link_goes("vnet2")
    service.serve([network("blue", 1, "port-deleted", port_xml(2, "web", 102, 7))])
    assert not [line for line in host.flows("br-blue") if mac_of(2) in line]


def test_a_hook_without_a_daemon_does_what_the_daemon_would(host: Away, tmp_path: Path) -> None:
    """Each hook is a process of its own, and all it knows is on disk."""
    plugged = False
    for request in (network("blue", 1), network("red", 2), web(3)):
        if request.verb == "qemu" and not plugged:
            plug(host, 3)
            plugged = True
        assert process(host, tmp_path).serve([request]) == [FINE]
    twin = Away(links={"eth1": True})
    daemon = process(twin, tmp_path / "other")
    daemon.serve([network("blue", 1), network("red", 2)])
    plug(twin, 3)
    daemon.serve([web(3)])
    assert host.text() == twin.text()


def test_two_hooks_at_once_without_a_daemon_do_not_undo_each_other(host: Away, tmp_path: Path) -> None:
    """The second to get the lock has read the spool before the first has written to it."""
    process(host, tmp_path).serve([network("blue", 1)])
    plug(host, 2)
    plug(host, 3)
    one, other = process(host, tmp_path), process(host, tmp_path)
    assert one.serve([web(2)]) == [FINE]
    assert other.serve([web(3)]) == [FINE]
    assert wired(host, 2), "the second hook has cut the first one's guest off"
    assert wired(host, 3)


def test_a_network_that_stops_while_another_hook_waits_does_not_come_back(host: Away, tmp_path: Path) -> None:
    process(host, tmp_path).serve([network("blue", 1), network("red", 2)])
    plug(host, 3)
    waiting = process(host, tmp_path)
    process(host, tmp_path).serve([network("red", 2, "stopped")])
    waiting.serve([web(3)])
    assert set(host.bridges) == {"br-blue"}


def test_passes_of_two_processes_take_turns(host: Away, tmp_path: Path) -> None:
    inside, seen = threading.Event(), []

    class Watched(Away):
        def host(self) -> Host:
            seen.append(inside.is_set())
            return super().host()

    service = process(Watched(), tmp_path)
    with locked(service.lock):
        inside.set()
        runner = threading.Thread(target=service.run)
        runner.start()
        runner.join(0.1)
        assert seen == []
        inside.clear()
    runner.join(5)
    assert seen
    assert not any(seen)


def test_a_lock_that_is_held_for_too_long_is_told(tmp_path: Path) -> None:
    with (
        locked(tmp_path / "run" / "lock"),
        pytest.raises(Unavailable, match="another vnetd has been at work"),
        locked(tmp_path / "run" / "lock", seconds=0.02),
    ):
        pass


def test_the_lock_is_let_go_when_a_pass_fails(service: Service, host: Away) -> None:
    host.away = True
    with pytest.raises(Unavailable):
        service.run()
    with service.lock.open() as handle:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_lock_that_cannot_be_made_is_told(host: Away, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    service = Service(Store(tmp_path / "spool"), host.rim, lock=tmp_path / "file" / "lock")
    with pytest.raises(WorldError, match="cannot be had"):
        service.run()


def test_the_rim_is_opened_only_when_a_pass_needs_it(tmp_path: Path) -> None:
    """Many hooks change nothing, and opening the adapters costs most of a hook's time."""

    def open_rim() -> Rim:
        raise AssertionError("opened")

    service = Service(Store(tmp_path / "spool"), open_rim, lock=tmp_path / "lock")
    assert service.serve([Request("qemu", ("web", "migrate", "begin", "-"), b"")]) == [FINE]
