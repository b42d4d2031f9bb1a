"""The steps that lead from one mesh to another: peers that die, come and go, what the switch has learned of them, and changed options."""

from __future__ import annotations

import re
from dataclasses import replace
from ipaddress import ip_address

import pytest
from fakes import FakeHost, mac_of, uuid_of
from lines import LEARNED, is_learned

from vnetd.intent import patch_names, tunnel_name
from vnetd.model.names import IfName
from vnetd.model.network import Bfd, Encapsulation, Inventory, Network, Overlay, OverlayType, Peer
from vnetd.model.state import Learned, Role, Rows
from vnetd.plan import Plan
from vnetd.reconcile import Rim, look, reconcile

HV1, HV2, HV3, HV4 = (ip_address(f"192.0.2.1{number}") for number in (1, 2, 3, 4))
PEERS = (Peer("hv1", HV1), Peer("hv2", HV2), Peer("hv3", HV3))
MESH = Overlay(OverlayType.GRE, 100, PEERS)
BLUE = Network("blue", uuid_of(1), IfName("br-blue"), overlay=MESH)
RED = Network("red", uuid_of(2), IfName("br-red"), overlay=replace(MESH, segment=200))
TO_HV2, TO_HV3, TO_HV4 = (tunnel_name(OverlayType.GRE, HV1, remote) for remote in (HV2, HV3, HV4))
TO_BLUE, TO_RED = (patch_names(f"br-{name}")[0] for name in ("blue", "red"))


def sources(*networks: Network) -> Inventory:
    return Inventory(networks, complete=True)


ALL = sources(BLUE, RED)


def plan_for(host: FakeHost, inventory: Inventory = ALL) -> Plan:
    return look(inventory, host.rim())[2]


def flows(plan: Plan) -> list[str]:
    """The lines of the plan about flows, without their cookies; nothing else may be in it."""
    assert (plan.rows, plan.meters, plan.groups, plan.expected) == ((), (), (), ())
    return [line.partition(" on br-tun: ")[0][0] + line.partition(" on br-tun: ")[2] for line in plan.lines()]


@pytest.fixture
def running(host: FakeHost) -> FakeHost:
    """Two networks among three hosts, of which this is hv1; a guest of each other one was heard in each network."""
    host.addresses = {HV1}
    reconcile(ALL, host.rim())
    learn_all(host)
    assert not plan_for(host)
    return host


def learn_all(host: FakeHost, first: int = 20) -> None:
    for patch in (TO_BLUE, TO_RED):
        host.learn(patch, TO_HV2, mac_of(first))
        host.learn(patch, TO_HV3, mac_of(first + 1))


# A peer that dies.


def test_a_peer_that_dies_leaves_the_floods_and_costs_no_row(running: FakeHost) -> None:
    running.dead = {str(HV2)}
    plan = plan_for(running)
    assert plan.rows == ()
    (step,) = plan.flows
    added = [flow.text() for flow in step.add]
    assert len([line for line in added if "table=40" in line and "output" in line]) == 2
    assert not [line for line in added if f"output:{TO_HV2}" in line]
    assert not [line for line in added if f"in_port={TO_HV2}" in line and "learn" in line], "nothing more is learned of it"


def test_what_was_learned_of_it_goes_in_the_same_bundle_and_nothing_else_does(running: FakeHost) -> None:
    """In between, frames to its guests would go to the dead, or those to others be flooded."""
    running.dead = {str(HV2)}
    (step,) = plan_for(running).flows
    gone = [line for line in step.remove if is_learned(line)]
    assert len(gone) == 2
    assert all(f"load:0x{running.ports[TO_HV2].ofport:x}->" in line for line in gone)
    kept = [line for line in running.flows("br-tun") if TO_HV3 in line and is_learned(line)]
    reconcile(ALL, running.rim())
    assert set(running.learned()) == {(TO_BLUE, TO_HV3), (TO_RED, TO_HV3)}
    assert [line for line in running.flows("br-tun") if is_learned(line)] == kept


def test_only_flows_of_the_dead_peer_and_floods_are_touched(running: FakeHost) -> None:
    before = {line for line in running.flows("br-tun") if TO_HV2 not in line}
    running.dead = {str(HV2)}
    reconcile(ALL, running.rim())
    assert before <= set(running.flows("br-tun"))


def test_what_was_learned_since_the_last_look_goes_too(running: FakeHost) -> None:
    """A peer's death is no reason to doubt what is remembered of the switch, which has learned more meanwhile."""
    remembering = Rim(running, running, running)
    reconcile(ALL, remembering)
    learn_all(running, first=40)
    running.dead = {str(HV2)}
    reconcile(ALL, remembering)
    assert {tunnel for _, tunnel in running.learned()} == {TO_HV3}
    assert len(running.learned()) == 4


def test_a_peer_that_returns_is_taken_as_it_was_with_nothing_learned(running: FakeHost) -> None:
    before = [line for line in running.flows("br-tun") if not is_learned(line)]
    for dead in ({str(HV2)}, set()):
        running.dead = dead
        reconcile(ALL, running.rim())
    assert [line for line in running.flows("br-tun") if not is_learned(line)] == before
    assert {tunnel for _, tunnel in running.learned()} == {TO_HV3}


def test_when_all_peers_are_dead_nothing_leaves_the_host_and_nothing_is_taken_down(running: FakeHost) -> None:
    ports = set(running.ports)
    running.dead = {str(HV2), str(HV3)}
    outcome = reconcile(ALL, running.rim())
    assert not outcome.left
    assert running.learned() == []
    assert not [line for line in running.flows("br-tun") if f"output:{TO_HV2}" in line or f"output:{TO_HV3}" in line]
    assert set(running.ports) == ports


# Peers that come and go.


def test_one_peer_more_is_one_row_and_its_flows(running: FakeHost) -> None:
    wider = sources(replace(BLUE, overlay=replace(MESH, peers=(*PEERS, Peer("hv4", HV4)))), RED)
    plan = plan_for(running, wider)
    assert plan.lines() == [
        f"+ port {TO_HV4} on br-tun (tunnel, gre to 192.0.2.14)",
        f"+ flows of {TO_HV4}, once the switch has numbered it",
    ]
    before = [line for line in running.flows("br-tun") if is_learned(line)]
    reconcile(wider, running.rim())
    assert [line for line in running.flows("br-tun") if is_learned(line)] == before
    assert not [line for line in running.flows("br-tun") if TO_HV4 in line and f"in_port={TO_RED}" in line]


def test_a_peer_that_leaves_is_one_row_and_its_flows(running: FakeHost) -> None:
    left = sources(*(replace(one, overlay=replace(one.overlay, peers=PEERS[:2])) for one in (BLUE, RED) if one.overlay))
    plan = plan_for(running, left)
    assert list(map(str, plan.rows)) == [f"- port {TO_HV3} on br-tun"]
    reconcile(left, running.rim())
    assert {tunnel for _, tunnel in running.learned()} == {TO_HV2}
    assert not [line for line in running.flows("br-tun") if TO_HV3 in line or "gone" in line]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"encapsulation": Encapsulation(csum=True)}, "gre {'csum': 'true', 'key': 'flow', 'local_ip': '192.0.2.11', 'remote_ip': "),
        ({"bfd": Bfd(100, 5)}, "watched by BFD {'check_tnl_key': 'true', 'enable': 'true', 'min_rx': '100', 'min_tx': '100', 'mult': '5'}"),
        ({"bfd": None}, "watched by BFD {}"),
    ],
)
def test_what_is_said_anew_of_tunnels_changes_their_rows_in_place_and_reads_as_that(
    running: FakeHost, said: dict[str, object], words: str
) -> None:
    changed = sources(*(replace(one, overlay=replace(one.overlay, **said)) for one in (BLUE, RED) if one.overlay))  # type: ignore[arg-type]
    plan = plan_for(running, changed)
    assert [str(step).partition(": ")[0] for step in plan.rows] == sorted(f"~ port {name} on br-tun" for name in (TO_HV2, TO_HV3))
    assert all(f": {words}" in str(step) for step in plan.rows)
    assert plan.flows == ()
    numbers = {name: running.ports[name].ofport for name in (TO_HV2, TO_HV3)}
    learned = running.learned()
    assert not reconcile(changed, running.rim()).left
    assert {name: running.ports[name].ofport for name in numbers} == numbers
    assert running.learned() == learned


@pytest.mark.parametrize("column", ["options", "bfd"])
def test_what_somebody_changes_on_a_tunnels_row_is_put_back(running: FakeHost, column: str) -> None:
    before = getattr(running.ports[TO_HV2], column)
    setattr(running.ports[TO_HV2], column, (("enable", "false"),))
    assert [str(step).partition(": ")[0] for step in plan_for(running).rows] == [f"~ port {TO_HV2} on br-tun"]
    reconcile(ALL, running.rim())
    assert getattr(running.ports[TO_HV2], column) == before
    assert not plan_for(running)


def test_a_path_that_is_measured_changes_flows_alone(running: FakeHost) -> None:
    learned = running.learned()
    running.found_out = Learned({HV2: 1400})
    plan = plan_for(running)
    assert flows(plan)
    assert all(re.search(r"table=(35|36|40|41),", line) for line in flows(plan))
    assert any("check_pkt_larger(1372)" in line for line in flows(plan))
    assert not reconcile(ALL, running.rim()).left
    assert running.learned() == learned


# What the switch has learned.


def test_flows_that_an_earlier_vnetd_had_learned_go(running: FakeHost) -> None:
    """They send a frame off themselves, and it would be flooded as well."""
    running.bridges["br-tun"].flows = {key: line for key, line in running.bridges["br-tun"].flows.items() if not is_learned(line)}
    patch, tunnel = running.ports[TO_BLUE].ofport, running.ports[TO_HV2].ofport
    learned = LEARNED.format(patch=0)
    running.hand_flow("br-tun", f"{learned},in_port={patch},vlan_tci=0x000a/0x0fff,dl_dst={mac_of(20)} actions=output:{tunnel}")
    (line,) = plan_for(running).lines()
    assert line.startswith("- flow on br-tun: ")
    reconcile(ALL, running.rim())
    assert not [line for line in running.flows("br-tun") if is_learned(line)]


def test_a_count_of_large_frames_lives_as_long_as_their_sender(running: FakeHost) -> None:
    running.hand_port("my-port", "br-blue")
    sender = running.ports["my-port"].ofport
    for patch, number in ((TO_BLUE, sender), (TO_BLUE, 0xFFFE), (TO_RED, 0xFFFE), (TO_RED, sender)):
        running.refuse_toward_peers(patch, number)
    (line,) = plan_for(running).lines()
    assert f"reg5=0x{sender:x}/0xffff,in_port={running.ports[TO_RED].ofport} " in line, "that bridge has no such port"
    running.hand_delete_port("my-port")
    running.dead = {str(HV2)}
    reconcile(ALL, running.rim())
    assert len([line for line in running.flows("br-tun") if "reg5=0xfffe/" in line]) == 2, "whatever becomes of the peers"
    assert not [line for line in running.flows("br-tun") if f"reg5=0x{sender:x}/" in line]
    reconcile(sources(RED), running.rim())
    assert [f"in_port={TO_RED} " in line for line in running.flows("br-tun") if "reg5=0xfffe/" in line] == [True]


def test_while_sources_are_missing_nothing_that_was_learned_goes(running: FakeHost) -> None:
    learned = running.learned()
    running.dead = {str(HV2)}
    assert not plan_for(running, Inventory())
    assert running.learned() == learned
    assert running.ports[TO_HV2].mark is Role.TUNNEL


def heard(host: FakeHost, bridge: str) -> list[str]:
    """The MAC addresses that a network's bridge knows."""
    return sorted(line.partition("dl_dst=")[2].split()[0] for line in host.flows(bridge) if is_learned(line) and "table=41" in line)


@pytest.mark.parametrize("how", ["dead", "removed"])
def test_the_networks_bridge_forgets_who_was_behind_a_peer_that_is_gone(running: FakeHost, how: str) -> None:
    """Known to be somewhere behind the patch, they would be sent for to all other peers, past the limit on such frames."""
    remembering = Rim(running, running, running)
    here = patch_names("br-blue")[1]
    reconcile(ALL, remembering)
    learn_all(running)
    for number in (20, 21, 30):
        running.hear(here, mac_of(number))
    if how == "dead":
        running.dead = {str(HV2)}
    left = ALL if how == "dead" else sources(replace(BLUE, overlay=replace(MESH, peers=(PEERS[0], PEERS[2]))), RED)
    assert not reconcile(left, remembering).left
    assert heard(running, "br-blue") == [mac_of(21), mac_of(30)], "who is behind the living, and who was never heard of by a tunnel"


class Restless(FakeHost):
    """A host on which another peer dies or returns whenever somebody looks, for so many looks."""

    looks: int = 0

    def rows(self) -> Rows:
        if self.looks:
            self.looks -= 1
            self.dead = {str((HV2, HV3)[self.looks % 2])} if self.looks % 3 else set()
        return super().rows()


def test_a_world_that_moves_refuses_nothing(host: FakeHost) -> None:
    restless = Restless(links=host.links, addresses={HV1})
    reconcile(ALL, restless.rim())
    restless.looks = 40
    outcome = reconcile(ALL, restless.rim())
    assert not [problem for problem in outcome.problems if "do not last" in problem.text]
    restless.looks = 0
    assert not reconcile(ALL, restless.rim()).left
