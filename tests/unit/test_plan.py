"""The steps between two states: which, in which order, what is left alone, and how it reads."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from fakes import FakeHost, mac_of, uuid_of
from lines import LEARNED, is_learned

from vnetd.errors import WorldError
from vnetd.intent import patch_names
from vnetd.model.names import IfName
from vnetd.model.network import Bandwidth, Inventory, Network, Nic, Overlay, OverlayType, Peer, Policy, Rate, Uplink, Vlan, VlanMode
from vnetd.model.state import Meter, Role, Shape
from vnetd.pipeline import Table
from vnetd.plan import ChangeFlows, Plan, flow_key, kept_bridges
from vnetd.reconcile import Rim, look, reconcile
from vnetd.rowplan import PutPort

HV1, HV2 = ip_address("192.0.2.11"), ip_address("192.0.2.12")
MESH = Overlay(OverlayType.GRE, 100, (Peer("hv1", HV1), Peer("hv2", HV2)))
BLUE = Network("blue", uuid_of(1), IfName("br-blue"), vlan=Vlan(VlanMode.ACCESS, 10))
RED = Network("red", uuid_of(2), IfName("br-red"))
WEB = Nic(
    mac_of(1),
    "blue",
    tap=IfName("vnet1"),
    iface_id=uuid_of(11),
    owner="web",
    owner_uuid=uuid_of(9),
    bandwidth=Bandwidth(Rate(100), Rate(50)),
)


def sources(*networks: Network, nics: tuple[Nic, ...] = (), **more: object) -> Inventory:
    return replace(Inventory(networks, nics, complete=True), **more)  # type: ignore[arg-type]


def plan_for(host: FakeHost, inventory: Inventory) -> Plan:
    return look(inventory, host.rim())[2]


def rows(plan: Plan) -> list[str]:
    return list(map(str, plan.rows))


@pytest.fixture
def running(host: FakeHost) -> FakeHost:
    """A host with one network and one guest on it, as libvirt plugged it and a pass wired it."""
    reconcile(sources(BLUE), host.rim())
    host.link_comes("vnet1")
    ids = {"vm-id": uuid_of(9), "iface-id": uuid_of(11), "attached-mac": mac_of(1)}
    host.libvirt_add_port("vnet1", "br-blue", ids, tag=10, shape=Shape(1, 2), policing=400)
    reconcile(sources(BLUE, nics=(WEB,)), host.rim())
    return host


# A new network, step by step.


def test_a_new_network_reads_as_what_will_be_made(host: FakeHost) -> None:
    host.link_comes("vnet1")
    host.addresses = {HV1}
    there, here = patch_names("br-blue")
    plan = plan_for(host, sources(replace(BLUE, overlay=MESH, uplink=Uplink((IfName("eth1"),))), nics=(WEB,)))
    tunnel = next(step.port.name for step in plan.rows if isinstance(step, PutPort) and step.port.role is Role.TUNNEL)
    assert rows(plan) == [
        "+ bridge br-blue (system, fail_mode=secure)",
        "+ bridge br-tun (system, fail_mode=secure)",
        "+ port eth1 on br-blue (uplink)",
        f"+ port {tunnel} on br-tun (tunnel, gre to 192.0.2.12)",
        f"+ port {there} on br-tun (patch)",
        f"+ port {here} on br-blue (patch)",
        "+ port vnet1 on br-blue (guest, VLAN 10)",
    ]
    assert set(plan.expected) == {"eth1", tunnel, there, here, "vnet1"}
    assert f"+ flows of {tunnel}, once the switch has numbered it" in plan.lines()


def test_flows_come_when_the_switch_has_numbered_the_port(host: FakeHost) -> None:
    host.link_comes("vnet1")
    inventory = sources(BLUE, nics=(WEB,))
    first = plan_for(host, inventory)
    assert first.flows == ()
    assert first.meters == ()
    host.rim().apply(first)
    second = plan_for(host, inventory)
    assert second.rows == ()
    assert [step.bridge for step in second.flows] == ["br-blue"]
    number = host.ports["vnet1"].ofport
    assert dict(second.meters[0].put) == {
        number * 4: Meter(400, 256),
        number * 4 + 1: Meter(1000, 1000, "pktps"),
        number * 4 + 2: Meter(500, 500, "pktps"),
    }


def test_the_switch_is_believed_and_not_the_transaction(running: FakeHost) -> None:
    """A port whose row is there and which the switch did not make has no flows, and says so."""
    running.link_goes("vnet1")
    running.links["vnet1"] = True
    outcome = reconcile(sources(BLUE, nics=(WEB,)), running.rim())
    assert not [line for line in running.flows("br-blue") if "in_port=vnet1" in line or "gone" in line]
    (problem,) = outcome.problems
    assert "Open vSwitch did not make it: could not open network device vnet1" in str(problem)


def test_a_link_comes_up_when_its_flows_are_there(host: FakeHost) -> None:
    """Set up earlier, the tap would lose the first frames of its guest."""
    host.link_comes("vnet1", up=False)
    reconcile(sources(BLUE, nics=(replace(WEB, owner_uuid=None),)), host.rim())
    at = {change: number for number, change in enumerate(host.changes)}
    assert at["link vnet1 up"] > max(number for change, number in at.items() if "flow on br-blue" in change and "in_port=vnet1" in change)


def test_meters_come_before_the_flows_that_name_them_and_go_after(running: FakeHost) -> None:
    unlimited = sources(BLUE, nics=(replace(WEB, bandwidth=Bandwidth()),))
    running.changes.clear()
    reconcile(unlimited, running.rim())
    assert [change[:7] for change in running.changes] == ["~ port ", "+ flow ", "- meter"]
    assert {meter.unit for meter in running.bridges["br-blue"].meters.values()} == {"pktps"}
    running.changes.clear()
    reconcile(sources(BLUE, nics=(WEB,)), running.rim())
    assert [change[:7] for change in running.changes] == ["~ port ", "+ meter", "+ flow "]


def test_a_changed_rate_changes_the_meter_and_no_flow(running: FakeHost) -> None:
    plan = plan_for(running, sources(BLUE, nics=(replace(WEB, bandwidth=Bandwidth(Rate(100), Rate(60))),)))
    assert plan.lines() == [f"~ meter {running.ports['vnet1'].ofport * 4} on br-blue: 480 kbit/s"]


def test_a_changed_limit_on_packets_changes_its_own_meter_and_no_flow(running: FakeHost) -> None:
    plan = plan_for(running, sources(BLUE, nics=(replace(WEB, policy=Policy(neighbour=50)),)))
    assert plan.lines() == [f"~ meter {running.ports['vnet1'].ofport * 4 + 2} on br-blue: 50 packets/s"]


def test_a_tap_that_changes_bridges_has_one_port_at_any_time(running: FakeHost) -> None:
    inventory = sources(BLUE, RED, nics=(replace(WEB, network="red"),))
    assert rows(plan_for(running, inventory)) == [
        "+ bridge br-red (system, fail_mode=secure)",
        "+ port vnet1 on br-red (guest, untagged)",
    ]
    reconcile(inventory, running.rim())
    assert running.ports["vnet1"].bridge == "br-red"
    assert not [line for line in running.flows("br-blue") if "gone" in line]


def test_what_leaves_goes_before_what_comes(running: FakeHost) -> None:
    steps = rows(plan_for(running, sources(RED)))
    assert steps == ["- bridge br-blue", "+ bridge br-red (system, fail_mode=secure)"]


# Repairs.


def test_nothing_is_done_where_everything_is_as_it_should_be(running: FakeHost) -> None:
    plan = plan_for(running, sources(BLUE, nics=(WEB,)))
    assert not plan
    assert plan.lines() == []


def test_a_port_that_libvirt_made_is_taken_over_and_its_line_says_what_changes(running: FakeHost) -> None:
    ids = {"vm-id": uuid_of(9), "iface-id": uuid_of(11)}
    running.libvirt_add_port("vnet1", "br-blue", ids, tag=10, shape=Shape(1, 2), policing=400)
    (line,) = rows(plan_for(running, sources(BLUE, nics=(WEB,))))
    assert line == (
        "~ port vnet1 on br-blue: take over, VLAN 10, external_ids, to the guest 800 kbit/s, the switch's meter instead of tc policing"
    )


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("vlan", Vlan(VlanMode.ACCESS, 99), "VLAN 10"),
        ("mtu", 9000, "MTU unset"),
        ("qos", None, "to the guest 800 kbit/s"),
        ("policing", 100, "the switch's meter instead of tc policing"),
        ("type", "internal", "system {}"),
        ("ids", {}, "external_ids"),
        ("mark", Role.UPLINK, "take over"),
    ],
)
def test_what_somebody_changes_on_a_row_is_put_back_and_named(running: FakeHost, column: str, value: object, said: str) -> None:
    setattr(running.ports["vnet1"], column, value)
    (line,) = rows(plan_for(running, sources(BLUE, nics=(WEB,))))
    assert line == f"~ port vnet1 on br-blue: {said}"
    reconcile(sources(BLUE, nics=(WEB,)), running.rim())
    assert not plan_for(running, sources(BLUE, nics=(WEB,)))


def test_ids_that_others_wrote_on_a_row_stay(running: FakeHost) -> None:
    running.ports["vnet1"].ids["owner-note"] = "rack 7"
    assert not plan_for(running, sources(BLUE, nics=(WEB,)))


def test_a_bridge_that_somebody_opened_is_closed_again(running: FakeHost) -> None:
    row = running.bridges["br-blue"]
    row.fail_mode, row.flows = "standalone", {}
    assert rows(plan_for(running, sources(BLUE, nics=(WEB,)))) == ["~ bridge br-blue (system, fail_mode=secure)"]
    reconcile(sources(BLUE, nics=(WEB,)), running.rim())
    assert row.fail_mode == "secure"
    assert len(row.flows) > 5


def test_a_flow_whose_actions_were_changed_is_replaced_and_not_first_removed(running: FakeHost) -> None:
    """Delete-then-add would leave a moment without the rule, even in a bundle that fails half-way."""
    row = running.bridges["br-blue"]
    key = next(key for key in row.flows if key[0] == Table.CLASSIFY and key[1] == 0)
    before = row.flows[key]
    row.flows[key] = before.partition(" actions=")[0] + " actions=NORMAL"
    (step,) = plan_for(running, sources(BLUE, nics=(WEB,))).flows
    assert step.remove == ()
    assert list(step.add_lines) == [before]


def test_a_flow_with_vnetds_cookie_that_is_none_of_vnetds_is_removed(running: FakeHost) -> None:
    running.hand_flow("br-blue", "cookie=0x766e657400000001, priority=500 actions=NORMAL")
    assert plan_for(running, sources(BLUE, nics=(WEB,))).lines() == [
        "- flow on br-blue: cookie=0x766e657400000001, priority=500 actions=NORMAL"
    ]


def test_a_restarted_switch_gets_its_flows_in_one_pass_with_its_new_numbers(running: FakeHost) -> None:
    running.hand_port("my-port", "br-blue")
    before = [line for line in running.flows("br-blue") if "my-port" not in line]
    running.vswitchd_restart(order=["my-port", "vnet1"])
    reconcile(sources(BLUE, nics=(WEB,)), running.rim())
    assert running.flows("br-blue") == before
    assert running.ports["vnet1"].ofport == 2


def test_flows_of_a_port_that_has_gone_go_too(running: FakeHost) -> None:
    running.libvirt_del_port("vnet1")
    running.link_goes("vnet1")
    number = running.ports["vnet1"].ofport if "vnet1" in running.ports else 1
    meters = tuple(f"- meter {number * 4 + kind} on br-blue" for kind in range(3))
    lines = plan_for(running, sources(BLUE)).lines()
    assert all(line.startswith(("- flow on br-blue", "- link vnetd-sums", *meters)) for line in lines)
    assert set(meters) <= set(lines)
    reconcile(sources(BLUE), running.rim())
    assert not [line for line in running.flows("br-blue") if "gone" in line]


# What is not vnetd's.


def test_foreign_bridges_ports_and_flows_are_left_alone_and_the_flow_is_told(running: FakeHost) -> None:
    running.hand_bridge("br-user")
    running.hand_port("my-port", "br-blue")
    running.hand_flow("br-blue", "priority=7,in_port=LOCAL actions=drop")
    outcome = reconcile(sources(BLUE, nics=(WEB,)), running.rim())
    assert outcome.done == ()
    (problem,) = outcome.problems
    assert str(problem).startswith("bridge br-blue: it has a flow that vnetd did not make: priority=7,in_port=LOCAL actions=drop")


def test_a_bridge_with_somebodys_port_is_emptied_but_kept(running: FakeHost) -> None:
    running.hand_port("my-port", "br-blue")
    outcome = reconcile(sources(), running.rim())
    assert set(running.ports) == {"my-port"}
    assert running.bridges["br-blue"].flows == {}
    assert running.bridges["br-blue"].meters == {}
    assert str(outcome.problems[0]) == "bridge br-blue: it is no longer needed but kept for my-port, which vnetd did not add"
    running.hand_delete_port("my-port")
    reconcile(sources(), running.rim())
    assert running.bridges == {}


def test_a_bridge_that_goes_takes_its_patch_on_the_tunnel_bridge_along(host: FakeHost) -> None:
    host.addresses = {HV1}
    blue, red = replace(BLUE, overlay=MESH), replace(RED, overlay=replace(MESH, segment=200))
    reconcile(sources(blue, red), host.rim())
    reconcile(sources(red, gone_networks=frozenset({BLUE.uuid}), complete=False), host.rim())
    assert patch_names("br-blue")[0] not in host.ports
    assert patch_names("br-red")[0] in host.ports


def test_a_meter_that_somebodys_flow_names_stays_since_the_flow_would_go_with_it(running: FakeHost) -> None:
    running.bridges["br-blue"].meters[500] = Meter(1, 1)
    running.hand_flow("br-blue", "priority=7,in_port=LOCAL actions=meter:500,drop")
    reconcile(sources(BLUE, nics=(WEB,)), running.rim())
    assert "priority=7,in_port=LOCAL actions=meter:500,drop" in running.bridges["br-blue"].flows.values()


# What may go, and when.


def test_nothing_is_pruned_while_sources_are_missing(running: FakeHost) -> None:
    assert not plan_for(running, Inventory())
    assert not plan_for(running, Inventory((), (WEB,)))
    assert kept_bridges(look(Inventory(), running.rim())[0], running.rows()) == []


def test_a_network_that_was_just_stopped_goes_even_while_sources_are_missing(running: FakeHost) -> None:
    reconcile(sources(BLUE, RED, nics=(WEB,)), running.rim())
    plan = plan_for(running, Inventory(gone_networks=frozenset({BLUE.uuid})))
    assert plan.lines() == ["- bridge br-blue"]


def test_a_guests_port_stays_silent_for_as_long_as_its_tap_is_there(running: FakeHost) -> None:
    """libvirt may have plugged it a moment ago, and will say whose it is."""
    reconcile(sources(BLUE), running.rim())
    assert "vnet1" in running.ports
    assert not [line for line in running.flows("br-blue") if "in_port=vnet1" in line]
    running.link_goes("vnet1")
    assert rows(plan_for(running, sources(BLUE))) == ["- port vnet1 on br-blue"]


def test_a_tap_that_its_owner_gave_up_goes_at_once(running: FakeHost) -> None:
    assert rows(plan_for(running, sources(BLUE, gone_taps=frozenset({"vnet1"})))) == ["- port vnet1 on br-blue"]


def test_a_carrier_goes_when_nothing_wants_it_any_more(host: FakeHost) -> None:
    uplinked = replace(BLUE, uplink=Uplink((IfName("eth1"),)))
    reconcile(sources(uplinked), host.rim())
    assert rows(plan_for(host, sources(BLUE))) == ["- port eth1 on br-blue"]
    assert not plan_for(host, Inventory())


def test_qos_rows_that_no_port_uses_are_swept(running: FakeHost) -> None:
    scripted = replace(WEB, tap=IfName("tap0"), owner_uuid=None)
    running.link_comes("tap0")
    reconcile(sources(BLUE, nics=(scripted,)), running.rim())
    running.hand_delete_port("tap0")
    assert "- 1 QoS row that no port uses" in plan_for(running, sources(BLUE)).lines()
    reconcile(sources(BLUE, nics=(scripted,)), running.rim())
    assert len([row for row in running.qos.values() if row.ours]) == 1


# What the switch has learned.


@pytest.fixture
def meshed(host: FakeHost) -> FakeHost:
    """Two networks that share the tunnel to hv2, with a guest of hv2's learned in the first."""
    host.addresses = {HV1}
    reconcile(sources(replace(BLUE, overlay=MESH), replace(RED, overlay=replace(MESH, segment=200))), host.rim())
    (tunnel,) = [name for name, row in host.ports.items() if row.mark is Role.TUNNEL]
    host.learn(patch_names("br-blue")[0], tunnel, mac_of(7))
    return host


def test_what_was_learned_stays(meshed: FakeHost) -> None:
    inventory = sources(replace(BLUE, overlay=MESH), replace(RED, overlay=replace(MESH, segment=200)))
    assert not plan_for(meshed, inventory)
    assert len(meshed.learned()) == 1


def test_what_was_learned_of_a_network_goes_with_it(meshed: FakeHost) -> None:
    """The number of its patch will be another port's."""
    reconcile(sources(replace(RED, overlay=replace(MESH, segment=200))), meshed.rim())
    assert meshed.learned() == []


def test_what_was_learned_since_the_last_look_goes_too(meshed: FakeHost) -> None:
    """Nobody tells vnetd that the switch has learned something, so what it remembers of that table is in doubt now."""
    remembering = Rim(meshed, meshed, meshed)
    reconcile(sources(replace(BLUE, overlay=MESH), replace(RED, overlay=replace(MESH, segment=200))), remembering)
    (tunnel,) = [name for name, row in meshed.ports.items() if row.mark is Role.TUNNEL]
    meshed.learn(patch_names("br-blue")[0], tunnel, mac_of(8))
    reconcile(sources(replace(RED, overlay=replace(MESH, segment=200))), remembering)
    assert meshed.learned() == []


def test_what_was_learned_of_a_peer_goes_when_the_network_has_left_it(meshed: FakeHost) -> None:
    """The tunnel is still there, for the other network: the guests' frames must not go on to the old peer."""
    alone = replace(BLUE, overlay=replace(MESH, peers=MESH.peers[:1]))
    reconcile(sources(alone, replace(RED, overlay=replace(MESH, segment=200))), meshed.rim())
    assert meshed.learned() == []


def test_what_a_networks_bridge_learned_and_counts_stays_while_the_port_is_there(running: FakeHost) -> None:
    running.hear("vnet1", mac_of(1))
    running.refuse("vnet1", 0x11)
    before = running.flows("br-blue")
    assert not plan_for(running, sources(BLUE, nics=(WEB,)))
    reconcile(sources(BLUE, nics=(replace(WEB, bandwidth=Bandwidth()),)), running.rim())
    assert [line for line in running.flows("br-blue") if is_learned(line)] == [line for line in before if is_learned(line)]


def test_what_a_networks_bridge_learned_goes_with_the_port(running: FakeHost) -> None:
    """Its number will be another port's, which would be given its frames and its drops."""
    running.hear("vnet1", mac_of(1))
    running.refuse("vnet1", 0x11)
    running.libvirt_del_port("vnet1")
    running.link_goes("vnet1")
    reconcile(sources(BLUE), running.rim())
    assert not [line for line in running.flows("br-blue") if is_learned(line)]


def test_what_a_networks_bridge_learned_since_the_last_look_goes_with_the_port_too(running: FakeHost) -> None:
    remembering = Rim(running, running, running)
    reconcile(sources(BLUE, nics=(WEB,)), remembering)
    running.hear("vnet1", mac_of(7))
    running.libvirt_del_port("vnet1")
    running.link_goes("vnet1")
    reconcile(sources(BLUE), remembering)
    assert not [line for line in running.flows("br-blue") if is_learned(line)]


def test_a_bridge_that_stays_for_somebodys_port_keeps_nothing_that_was_learned(running: FakeHost) -> None:
    running.hand_port("my-port", "br-blue")
    running.hear("vnet1", mac_of(1))
    reconcile(sources(), running.rim())
    assert running.bridges["br-blue"].flows == {}


def test_a_port_without_a_source_yet_keeps_its_place_in_the_lists_that_name_it(running: FakeHost) -> None:
    """While sources are missing it must go on hearing, and a newcomer is served all the same."""
    running.link_comes("vnet2")
    newcomer = replace(WEB, mac=mac_of(2), tap=IfName("vnet2"), iface_id=uuid_of(12), owner="db", owner_uuid=uuid_of(8))
    known = [line for line in running.flows("br-blue") if "vnet1" in line]
    running.hand_bridge("br-other")
    running.bridges["br-other"].owner = uuid_of(77)
    reconcile(Inventory((BLUE,), (newcomer,)), running.rim())
    assert set(known) <= set(running.flows("br-blue"))
    assert [line for line in running.flows("br-blue") if "in_port=vnet2,dl_src=" in line]
    reconcile(sources(BLUE, nics=(WEB, newcomer)), running.rim())
    lists = [line.partition(" actions=")[2] for line in running.flows("br-blue") if "actions=" in line]
    assert [line for line in lists if "vnet1" in line and "vnet2" in line]


@pytest.mark.parametrize(
    ("change", "touched"),
    [
        ("a flow that outputs to it", True),
        ("a meter of its own", True),
        ("a learned flow that is nobody's", False),
        ("a flow of another port", False),
        ("a flow that all ports share", True),
    ],
)
def test_a_plan_knows_what_it_changes_of_one_port(running: FakeHost, change: str, touched: bool) -> None:
    flows, number = running.bridges["br-blue"].flows, running.ports["vnet1"].ofport
    if change == "a flow that outputs to it":
        del flows[next(key for key, line in flows.items() if line.endswith(f"output:{number}"))]
    elif change == "a meter of its own":
        running.bridges["br-blue"].meters.pop(number * 4 + 1)
    elif change == "a learned flow that is nobody's":
        running.hear("vnet1", mac_of(9))
        key, line = next((key, line) for key, line in flows.items() if mac_of(9) in line)
        flows[key] = line.replace(f"load:0x{number:x}", "load:0x63")
    elif change == "a flow of another port":
        running.hand_flow("br-blue", "cookie=0x766e657400000001, priority=7,in_port=99 actions=drop")
    else:
        del flows[next(key for key in flows if key[0] == Table.TYPE)]
    plan = plan_for(running, sources(BLUE, nics=(WEB,)))
    assert plan
    assert plan.touches("vnet1", "br-blue", number) is touched


def test_a_forged_learned_flow_is_removed(running: FakeHost) -> None:
    running.hand_flow("br-blue", f"{LEARNED.format(patch=0).replace('table=30, ', '')},in_port=1 actions=NORMAL")
    reconcile(sources(BLUE, nics=(WEB,)), running.rim())
    assert not [line for line in running.flows("br-blue") if line.startswith("cookie=0x766e657400000032")]


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("cookie=0x766e657400000001, priority=100,in_port=1 actions=drop", "table=0,priority=100,in_port=1"),
        ("cookie=0x766e657400000001, priority=0 actions=drop", "table=0,priority=0"),
        (f"{LEARNED.format(patch=2)},in_port=2 actions=load:0x1->NXM_NX_REG1[0..15]", "table=30,priority=5,in_port=2"),
        ("cookie=0x766e657400000001, idle_timeout=3, hard_timeout=4, priority=5,ip actions=drop", "table=0,priority=5,ip"),
        ("cookie=0x766e657400000001, table=4, importance=4, ip actions=drop", "table=4,ip"),
        ("cookie=0x766e657400000001, send_flow_rem priority=5,ip actions=drop", "table=0,priority=5,ip"),
        ("cookie=0x766e657400000001, in_port=9 actions=drop", "table=0,in_port=9"),
        ("cookie=0x766e657400000001, actions=drop", "table=0"),
    ],
)
def test_a_flow_is_deleted_by_its_table_priority_and_match_alone(line: str, key: str) -> None:
    """ovs-ofctl refuses a whole bundle for a timeout or a flag in a strict deletion, and takes one without a table for one in all."""
    assert [part for part in flow_key(line).replace(" ", "").split(",") if part] == [part for part in key.split(",") if part]


# A world that refuses.


def test_one_bridge_that_the_switch_refuses_does_not_hold_the_others_up(host: FakeHost) -> None:
    """One bad port must not stop all: a datapath without meters, or a flow it does not take, is that network's trouble."""
    host.link_comes("vnet2")
    host.refusing = {"br-blue"}
    inventory = sources(BLUE, RED, nics=(replace(WEB, tap=IfName("vnet2"), network="red"),))
    try:
        outcome = reconcile(inventory, host.rim())
    except WorldError:
        outcome = None
    assert [line for line in host.flows("br-red") if "in_port=vnet2" in line], "the other network's guest is cut off"
    assert outcome is not None
    assert [problem for problem in outcome.problems if problem.name == "br-blue"]


def test_a_switch_that_says_yes_and_does_nothing_is_told_and_not_waited_for(host: FakeHost) -> None:
    class Restless(FakeHost):
        def change_flows(self, step: ChangeFlows) -> None:
            """It says yes and does nothing."""

    outcome = reconcile(sources(BLUE), Restless(links=host.links).rim())
    assert [problem for problem in outcome.problems if problem.kind == "bridge" and not problem.soft]
