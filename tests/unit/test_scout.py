"""What is found out about peers: whom it asks about what, what it knows at each moment, and what it remembers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path as File

import pytest
from fakes import FakeHost, uuid_of

from vnetd.adapters.learned import Memory
from vnetd.adapters.scout import Scout
from vnetd.model.names import HostName, IfName, IpAddress
from vnetd.model.network import Inventory, Network, Overlay, OverlayType, Peer
from vnetd.model.state import Desired, Learned, Path
from vnetd.reconcile import reconcile

HV1, HV2, HV3, HV4 = (ip_address(f"192.0.2.1{number}") for number in (1, 2, 3, 4))
NAME = HostName("hv4.example")
PEERS = (Peer("hv1", HV1), Peer("hv2", HV2), Peer("hv3", HV3), Peer("hv4", NAME))
BLUE = Network("blue", uuid_of(1), IfName("br-blue"), overlay=Overlay(OverlayType.GRE, 100, PEERS))


@dataclass
class FakeResolver:
    """Names have the addresses that a test says; it answers only for those that are watched."""

    addresses: dict[str, tuple[IpAddress, ...]] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)
    watched: set[str] = field(default_factory=set)
    started: bool = False

    def start(self) -> None:
        self.started = True

    def watch(self, wanted: Collection[str]) -> None:
        self.watched = set(wanted)

    def known(self) -> Mapping[str, tuple[IpAddress, ...]]:
        return {name: found for name, found in self.addresses.items() if name in self.watched}

    def failing(self) -> Mapping[str, str]:
        return {name: why for name, why in self.why.items() if name in self.watched}


@dataclass
class FakeProbe:
    """Paths are as wide as a test says."""

    found: dict[IpAddress, Path] = field(default_factory=dict)
    unheard: set[IpAddress] = field(default_factory=set)
    watched: set[tuple[IpAddress, IpAddress]] = field(default_factory=set)
    started: bool = False

    def start(self) -> None:
        self.started = True

    def watch(self, pairs: Collection[tuple[IpAddress, IpAddress]]) -> None:
        self.watched = set(pairs)

    def paths(self) -> Mapping[IpAddress, Path]:
        return dict(self.found)

    def silent(self) -> frozenset[IpAddress]:
        return frozenset(self.unheard)


@dataclass
class Desk:
    """A daemon's scout on this host, which is hv1, with those whom it asks."""

    file: File
    host: FakeHost
    names: FakeResolver = field(default_factory=FakeResolver)
    probe: FakeProbe = field(default_factory=FakeProbe)

    def __post_init__(self) -> None:
        self.host.addresses = {HV1}
        self.scout = Scout(lambda: None, Memory(self.file), self.names, self.probe)

    def make_pass(self, *networks: Network, complete: bool = True) -> Desired:
        """A pass by what is known, after which the scout hears what matters."""
        self.host.found_out = self.scout.learned()
        outcome = reconcile(Inventory(networks, complete=complete), self.host.rim())
        self.scout.want(outcome.desired)
        return outcome.desired

    def restarted(self) -> Desk:
        """The next daemon, which has asked nobody yet."""
        return Desk(self.file, self.host)


@pytest.fixture
def desk(tmp_path: File, host: FakeHost) -> Desk:
    return Desk(tmp_path / "learned.json", host)


def test_both_begin_to_ask_with_the_daemon_and_not_before(desk: Desk) -> None:
    assert (desk.names.started, desk.probe.started) == (False, False)
    desk.scout.start()
    assert (desk.names.started, desk.probe.started) == (True, True)


def test_at_first_nothing_is_known(desk: Desk) -> None:
    assert desk.scout.learned() == Learned()
    assert desk.scout.rtts() == {}
    assert not desk.file.exists()


# Whom it asks.


def test_living_peers_are_probed_from_the_tunnels_own_address_and_names_are_looked_up(desk: Desk) -> None:
    desk.make_pass(BLUE)
    assert desk.names.watched == {NAME}
    assert desk.probe.watched == {(HV1, HV2), (HV1, HV3)}
    desk.names.addresses = {NAME: (HV4,)}
    desk.make_pass(BLUE)
    assert desk.probe.watched == {(HV1, HV2), (HV1, HV3), (HV1, HV4)}


def test_a_dead_peer_is_not_probed(desk: Desk) -> None:
    """Probes that nobody answers would have its path taken for narrow, or silent."""
    desk.make_pass(BLUE)
    desk.host.dead = {str(HV3)}
    desk.make_pass(BLUE)
    assert desk.probe.watched == {(HV1, HV2)}


def test_a_host_that_is_no_peer_probes_nobody_and_looks_names_up_all_the_same(desk: Desk) -> None:
    """One of them may be its own."""
    desk.host.addresses = set()
    desk.make_pass(BLUE)
    assert desk.names.watched == {NAME}
    assert desk.probe.watched == set()


def test_a_network_that_is_gone_has_nobody_asked_for_it(desk: Desk) -> None:
    desk.make_pass(BLUE)
    desk.make_pass()
    assert desk.names.watched == set()
    assert desk.probe.watched == set()


# What it knows.


def test_what_it_knows_is_what_was_found(desk: Desk) -> None:
    desk.make_pass(BLUE)
    desk.names.addresses, desk.names.why = {NAME: (HV4,)}, {NAME: "no name server answers"}
    desk.probe.found, desk.probe.unheard = {HV2: Path(1500, 0.5), HV3: Path(1400)}, {HV4}
    assert desk.scout.learned() == Learned({HV2: 1500, HV3: 1400}, {NAME: (HV4,)}, frozenset({HV4}), {NAME: "no name server answers"})
    assert desk.scout.rtts() == {HV2: 0.5}, "a path that was not measured since has no round trip"


def test_what_was_known_once_stands_until_something_newer_is(desk: Desk) -> None:
    desk.make_pass(BLUE)
    desk.names.addresses, desk.probe.found = {NAME: (HV4,)}, {HV2: Path(1500), HV3: Path(1400)}
    desk.make_pass(BLUE)
    desk.names.addresses, desk.probe.found = {}, {HV3: Path(1300)}
    desk.host.dead = {str(HV2)}
    desk.make_pass(BLUE)
    assert desk.scout.learned() == Learned({HV2: 1500, HV3: 1300}, {NAME: (HV4,)})


def test_that_a_peer_is_silent_or_a_name_fails_is_true_of_now_alone(desk: Desk) -> None:
    desk.make_pass(BLUE)
    desk.names.why, desk.probe.unheard = {NAME: "there is no such name"}, {HV2}
    desk.make_pass(BLUE)
    desk.names.why, desk.probe.unheard = {}, set()
    assert desk.scout.learned() == Learned()


# What it remembers.


def test_the_next_daemon_knows_what_this_one_found(desk: Desk) -> None:
    desk.make_pass(BLUE)
    desk.names.addresses, desk.probe.found = {NAME: (HV4,)}, {HV2: Path(1500, 0.5)}
    desk.make_pass(BLUE)
    known = Learned({HV2: 1500}, {NAME: (HV4,)})
    assert Memory(desk.file).read() == known, "as does a hook without any daemon"
    after = desk.restarted()
    assert after.scout.learned() == known
    assert str(HV4) in {str(facts.remote) for facts in after.make_pass(BLUE).tunnels.values()}


def test_nothing_that_is_true_of_now_alone_is_remembered(desk: Desk) -> None:
    desk.names.why, desk.probe.unheard = {NAME: "there is no such name"}, {HV2}
    desk.make_pass(BLUE)
    assert Memory(desk.file).read() == Learned()


def test_what_nobody_needs_is_forgotten(desk: Desk) -> None:
    desk.make_pass(BLUE)
    desk.names.addresses, desk.probe.found = {NAME: (HV4,)}, {HV2: Path(1500), HV3: Path(1400)}
    desk.make_pass(BLUE)
    assert BLUE.overlay is not None
    narrower = replace(BLUE, overlay=replace(BLUE.overlay, peers=PEERS[:2]))
    desk.probe.found = {HV2: Path(1500)}
    desk.make_pass(narrower)
    assert Memory(desk.file).read() == Learned({HV2: 1500})
    desk.probe.found = {}
    desk.make_pass()
    assert Memory(desk.file).read() == Learned()


def test_while_sources_are_missing_nothing_is_forgotten(desk: Desk) -> None:
    """A daemon that starts has not heard of all networks yet, and their peers' names take time to look up."""
    desk.make_pass(BLUE)
    desk.names.addresses, desk.probe.found = {NAME: (HV4,)}, {HV2: Path(1500)}
    desk.make_pass(BLUE)
    after = desk.restarted()
    after.make_pass(complete=False)
    assert Memory(desk.file).read() == Learned({HV2: 1500}, {NAME: (HV4,)})
    assert after.scout.learned() == Learned({HV2: 1500}, {NAME: (HV4,)})


def test_a_host_that_has_lost_its_address_for_a_moment_does_not_forget_its_paths(desk: Desk) -> None:
    """Its guests' MTUs would change, and change back, when a cable is plugged in again."""
    desk.make_pass(BLUE)
    desk.probe.found = {HV2: Path(1400)}
    desk.make_pass(BLUE)
    desk.host.addresses, desk.probe.found = set(), {}
    desk.make_pass(BLUE)
    desk.host.addresses = {HV1}
    assert desk.make_pass(BLUE).mtus == {"blue": 1358}
