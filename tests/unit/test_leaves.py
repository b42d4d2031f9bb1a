"""Queues under limits in the userspace datapath: how long, where, and what becomes of one that is lost."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes import FakeHost, mac_of, uuid_of
from hypothesis import given
from hypothesis import strategies as st

from vnetd.leaves import TOGETHER, frames, share_of
from vnetd.model.names import IfName
from vnetd.model.network import Bandwidth, Inventory, Network, Nic, Rate
from vnetd.model.state import Shape
from vnetd.reconcile import look, reconcile

BLUE = Network("blue", uuid_of(1), IfName("br-blue"))
BUFFER = 212_992
"""Bytes of a socket, unless somebody has changed net.core.wmem_default."""


def nic(number: int, **more: object) -> Nic:
    common = Nic(
        mac_of(number),
        "blue",
        tap=IfName(f"vnet{number}"),
        iface_id=uuid_of(100 + number),
        owner=f"guest{number}",
        owner_uuid=uuid_of(300 + number),
        bandwidth=Bandwidth(Rate(1000), None),
    )
    return replace(common, **more)  # type: ignore[arg-type]


def sources(*nics: Nic, complete: bool = True) -> Inventory:
    return Inventory((BLUE,), nics, complete=complete)


@pytest.fixture
def userspace(host: FakeHost) -> FakeHost:
    host.datapath = "netdev"
    for number in range(1, 20):
        host.link_comes(f"vnet{number}")
    return host


def queues(host: FakeHost) -> dict[str, int]:
    return {name: limit.leaf for name in host.ports if (limit := host.limit_of(name)) and limit.leaf is not None}


def lose(host: FakeHost, leaf: int | None, *taps: str) -> None:
    """Somebody takes queues away by tc, or gives them another length."""
    for tap in taps:
        limit = host.limit_of(tap)
        assert limit
        limit.leaf = leaf


def test_a_limited_port_has_a_short_queue_and_another_has_none(userspace: FakeHost) -> None:
    outcome = reconcile(sources(nic(1), nic(2, bandwidth=Bandwidth(None, Rate(1000)))), userspace.rim())
    assert queues(userspace) == {"vnet1": 16}
    assert "~ link vnet1: a queue of 16 under its limit" in outcome.done
    assert reconcile(sources(nic(1), nic(2, bandwidth=Bandwidth())), userspace.rim()).problems == ()


def test_the_kernels_datapath_has_no_such_queue_and_no_other_burst(host: FakeHost) -> None:
    host.link_comes("vnet1")
    reconcile(sources(nic(1)), host.rim())
    assert queues(host) == {}
    assert host.rows().ports["vnet1"].port.shape == Shape(8_000_000, 8_000_000)


@pytest.mark.parametrize("lost", [None, 1, 1000])
def test_a_queue_that_somebody_changed_is_put_back_and_nothing_else_is_touched(userspace: FakeHost, lost: int | None) -> None:
    inventory = sources(nic(1), nic(2))
    reconcile(inventory, userspace.rim())
    lose(userspace, lost, "vnet1")
    assert look(inventory, userspace.rim())[2].lines() == ["~ link vnet1: a queue of 16 under its limit"]
    userspace.changes.clear()
    reconcile(inventory, userspace.rim())
    assert userspace.changes == ["queue of 16 at vnet1"]


def test_a_limit_that_the_switch_made_anew_gets_its_queue_again(userspace: FakeHost) -> None:
    inventory = sources(nic(1))
    reconcile(inventory, userspace.rim())
    userspace.vswitchd_restart()
    assert queues(userspace) == {}
    reconcile(inventory, userspace.rim())
    userspace.ports["vnet1"].qos = None
    assert reconcile(inventory, userspace.rim()).problems == ()
    assert queues(userspace) == {"vnet1": 16}


def test_a_row_that_is_still_to_be_changed_comes_first(userspace: FakeHost) -> None:
    """The switch may make the limit anew for it."""
    reconcile(sources(nic(1)), userspace.rim())
    lose(userspace, None, "vnet1")
    plan = look(sources(nic(1, bandwidth=Bandwidth(Rate(2000), None))), userspace.rim())[2]
    assert plan.rows
    assert plan.leaves == ()


def test_queues_are_shorter_where_there_are_more_and_longer_again_when_they_go(userspace: FakeHost) -> None:
    many = [nic(number) for number in range(1, 10)]
    reconcile(sources(*many), userspace.rim())
    assert set(queues(userspace).values()) == {4}
    reconcile(sources(*many[:5]), userspace.rim())
    assert [queues(userspace)[f"vnet{number}"] for number in range(1, 6)] == [8] * 5


def test_while_sources_are_missing_no_queue_becomes_longer(userspace: FakeHost) -> None:
    many = [nic(number) for number in range(1, 10)]
    reconcile(sources(*many), userspace.rim())
    lose(userspace, None, "vnet1")
    lose(userspace, 1000, "vnet2")
    reconcile(sources(*many[:2], complete=False), userspace.rim())
    assert [queues(userspace)[f"vnet{number}"] for number in (1, 2, 3)] == [16, 16, 4]
    reconcile(sources(*many), userspace.rim())
    assert set(queues(userspace).values()) == {4}


def test_large_frames_are_fewer(userspace: FakeHost) -> None:
    userspace.mtus["vnet1"] = 9000
    reconcile(sources(nic(1), nic(2)), userspace.rim())
    assert queues(userspace) == {"vnet1": 2, "vnet2": 16}


def test_a_queue_that_the_kernel_refuses_is_a_problem_of_its_port(userspace: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    reconcile(sources(nic(1), nic(2)), userspace.rim())
    lose(userspace, None, "vnet1", "vnet2")
    userspace.refusing = {"links"}
    problems = reconcile(sources(nic(1), nic(2)), userspace.rim()).problems
    assert [(one.kind, one.name) for one in problems] == [("port", "vnet1"), ("port", "vnet2")]


CHARGES = {64: 768, 1500: 2304, 3000: 4352, 4000: 8448, 8900: 13120}
"""What ``ss -0 -m`` showed for each frame of so many bytes that waited."""


@given(st.integers(1, TOGETHER), st.sampled_from(sorted(CHARGES)))
def test_all_queues_together_fit_into_the_socket(links: int, mtu: int) -> None:
    """Of frames that need more than a share at least one must fit, so that these are counted only where the share is larger."""
    held = frames(share_of(links), mtu)
    assert held == 1 or held * links * CHARGES[mtu] <= 0.75 * BUFFER
    assert frames(share_of(links), 1500) * links * CHARGES[1500] <= 0.75 * BUFFER


def test_no_link_is_left_without_a_queue() -> None:
    assert [share_of(links) for links in (1, 4, 5, 8, 9, 16, 32, 64, 1000)] == [16, 16, 8, 8, 4, 4, 2, 1, 1]
    assert frames(1, 9000) == 1
