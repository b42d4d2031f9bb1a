"""What a guest is told when it asks everybody for an address that is bound, and when it is told nothing."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from fakes import FakeHost, mac_of, uuid_of
from reference import ARP, BROADCAST, ICMPV6, IPV6, number_of
from samples import as_seen
from switch import FIRST, Frame, Journey, Switch

from vnetd.intent import desire
from vnetd.model.names import IfName
from vnetd.model.network import (
    UNTAGGED,
    Binding,
    Guard,
    Inventory,
    Network,
    Nic,
    Overlay,
    OverlayType,
    Peer,
    PortGroup,
    QinQ,
    Vlan,
    VlanMode,
)
from vnetd.model.state import Answer, GuestWire, NetworkWiring
from vnetd.pipeline import Table, by_lines, network_flows
from vnetd.reconcile import reconcile

M, OTHER = number_of(mac_of(1)), number_of(mac_of(2))
ME4, YOU4, ME6, YOU6 = ("10.0.0.1", "10.0.0.2", "2001:db8::1", "2001:db8::2")
VLAN10 = Vlan(VlanMode.ACCESS, 10)
ASKER = GuestWire("vnet1", mac_of(1), VLAN10, Guard.STRICT, addresses=(ip_network(ME4), ip_network(ME6)))
NUMBERS = {"tun-a": 1, "vnet1": 2, "vnet2": 3}


def told(vlan: int | None, *addresses: str) -> tuple[Answer, ...]:
    """The second guest's addresses."""
    return tuple(Answer(mac_of(2), ip_address(one), vlan) for one in addresses or (YOU4, YOU6))


def bridge(asker: GuestWire = ASKER, vlan: int | None = 10, **more: object) -> NetworkWiring:
    return replace(NetworkWiring((asker,), patches=("tun-a",), answers=told(vlan)), **more)  # type: ignore[arg-type]


def switch_of(wiring: NetworkWiring) -> Switch:
    return Switch(by_lines(network_flows(wiring, NUMBERS), NUMBERS))


def who_has(target: str = YOU4, **more: int) -> Frame:
    own = {"arp_op": 1, "arp_spa": int(ip_address(ME4)), "arp_tpa": int(ip_address(target)), "arp_sha": M}
    return as_seen({"in_port": 2, "dl_src": M, "dl_dst": BROADCAST, "dl_type": ARP, "vlan_tci": 0, **own, **more})


def solicitation(target: str = YOU6, **more: int) -> Frame:
    wanted = int(ip_address(target))
    group = {"dl_dst": 0x3333_FF00_0000 | wanted & 0xFF_FFFF, "ipv6_dst": int(ip_address("ff02::1:ff00:0")) | wanted & 0xFF_FFFF}
    head = {"in_port": 2, "dl_src": M, "dl_type": IPV6, "vlan_tci": 0, "ipv6_src": int(ip_address(ME6)), **group}
    packet = {"nw_proto": ICMPV6, "nw_ttl": 255, "tp_src": 135, "tp_dst": 0, "nd_target": wanted, "nd_sll": M, "nd_options_type": 1}
    return as_seen({**head, **packet, **more})


QUESTIONS = pytest.mark.parametrize("question", [who_has(), solicitation()], ids=["ARP", "ND"])


def is_flooded(journey: Journey, question: Frame) -> bool:
    """The question went to the tunnels just as it came, and nothing came back."""
    names = [name for name in question if name not in ("in_port", "vlan_tci", "pkt_mark", "second")]
    return [(port, [frame[name] for name in names]) for port, frame in journey.outputs] == [(1, [question[name] for name in names])]


# What the answer is.


def test_arp_is_answered_with_the_bound_mac_to_the_asker_alone() -> None:
    ((port, reply),) = switch_of(bridge()).send(who_has()).outputs
    assert port == 2
    assert (reply["dl_src"], reply["dl_dst"], reply["vlan_tci"], reply["arp_op"]) == (OTHER, M, 0, 2)
    assert (reply["arp_sha"], reply["arp_spa"]) == (OTHER, int(ip_address(YOU4)))
    assert (reply["arp_tha"], reply["arp_tpa"]) == (M, int(ip_address(ME4)))


def test_a_solicitation_is_answered_by_a_solicited_advertisement() -> None:
    """RFC 4861, 4.4: from the target, to the asker, with the flags solicited and override and the target's link-layer address."""
    ((port, reply),) = switch_of(bridge()).send(solicitation()).outputs
    assert port == 2
    assert (reply["dl_src"], reply["dl_dst"], reply["vlan_tci"]) == (OTHER, M, 0)
    assert (reply["ipv6_src"], reply["ipv6_dst"], reply["nw_ttl"]) == (int(ip_address(YOU6)), int(ip_address(ME6)), 255)
    assert (reply["tp_src"], reply["tp_dst"], reply["nd_target"]) == (136, 0, int(ip_address(YOU6)))
    assert (reply["nd_reserved"], reply["nd_options_type"], reply["nd_tll"]) == (0x6000_0000, 2, OTHER)


@QUESTIONS
@pytest.mark.parametrize(
    ("vlan", "came", "back"),
    [
        (UNTAGGED, 0, 0),
        (VLAN10, 0, 0),
        (VLAN10, 0x1000, 0),
        (Vlan(VlanMode.TRUNK, None, (10, 20)), 0x100A, 0x100A),
        (Vlan(VlanMode.NATIVE_UNTAGGED, 10, (10, 20)), 0, 0),
        (Vlan(VlanMode.NATIVE_TAGGED, 10, (10, 20)), 0, 0x100A),
    ],
    ids=["untagged", "access", "priority tag", "trunk", "native untagged", "native tagged"],
)
def test_the_answer_has_the_tag_that_the_port_gets(question: Frame, vlan: Vlan, came: int, back: int) -> None:
    wiring = bridge(replace(ASKER, vlan=vlan), vlan.tag or (10 if vlan.trunks else 0))
    ((port, reply),) = switch_of(wiring).send({**question, "vlan_tci": came}).outputs
    assert (port, reply["vlan_tci"]) == (2, back)


def test_a_probe_for_anothers_address_finds_it_in_use() -> None:
    """RFC 5227: the sender has no address yet, and is told at once that it cannot have this one."""
    ((port, reply),) = switch_of(bridge(replace(ASKER, guard=Guard.MAC))).send(who_has(arp_spa=0)).outputs
    assert (port, reply["arp_sha"], reply["arp_tpa"]) == (2, OTHER, 0)


# Who is not answered, and what.


@pytest.mark.parametrize(
    "frame",
    [
        who_has(ME4),
        who_has("10.0.0.3"),
        who_has(arp_op=2),
        who_has(dl_dst=OTHER),
        solicitation(ME6),
        solicitation("2001:db8::3"),
        solicitation(tp_src=136, nd_target=int(ip_address(ME6))),
        solicitation(dl_dst=OTHER),
        solicitation(nd_sll=0, nd_options_type=0),
    ],
    ids=["own", "unbound", "reply", "unicast", "own ND", "unbound ND", "advertisement", "unicast ND", "no link-layer address"],
)
def test_what_is_no_question_about_anothers_bound_address_goes_where_it_went(frame: Frame) -> None:
    wiring = bridge(answers=(*told(10), *(Answer(mac_of(1), ip_address(one), 10) for one in (ME4, ME6))))
    with_answers, without = switch_of(wiring).send(frame), switch_of(replace(wiring, answers=())).send(frame)
    assert with_answers.outputs
    assert [(port, {**sent, "reg1": 0}) for port, sent in with_answers.outputs] == [
        (port, {**sent, "reg1": 0}) for port, sent in without.outputs
    ]


@pytest.mark.parametrize("more", [{"ipv6_src": 0}, {"nw_ttl": 64}, {"nw_frag": FIRST}, {"tp_dst": 1}], ids=str)
def test_neither_duplicate_address_detection_nor_a_malformed_solicitation_is_answered(more: dict[str, int]) -> None:
    asker = replace(ASKER, guard=Guard.MAC)
    frame = solicitation(**more)
    assert [port for port, _ in switch_of(bridge(asker)).send(frame).outputs] == [1]


@QUESTIONS
@pytest.mark.parametrize("guard", [Guard.STRICT, Guard.MAC])
def test_an_isolated_guest_asks_everybody_as_before(question: Frame, guard: Guard) -> None:
    wiring = bridge(replace(ASKER, isolated=True, guard=guard), isolating=True)
    assert [port for port, _ in switch_of(wiring).send(question).outputs] == [1]
    assert [port for port, _ in switch_of(replace(wiring, guests=(ASKER,))).send(question).outputs] == [2]


@QUESTIONS
def test_a_port_behind_which_many_may_be_is_not_answered(question: Frame) -> None:
    """Behind it somebody may announce the very address, or ask whether it is in use, and nobody knows who."""
    for asker in (replace(ASKER, guard=Guard.NONE), replace(ASKER, vlan=Vlan(VlanMode.DOT1Q_TUNNEL, 10, (), (), 0x8100))):
        assert [port for port, _ in switch_of(bridge(asker)).send(question).outputs] == [1]


@QUESTIONS
def test_what_comes_from_elsewhere_is_not_answered(question: Frame) -> None:
    wiring = bridge(uplinks=("eth1",), joints=("join-a",), host=True)
    numbers = {**NUMBERS, "eth1": 4, "join-a": 5}
    switch = Switch(by_lines(network_flows(wiring, numbers), numbers))
    for port in (1, 4, 5, 0xFFFE):
        journey = switch.send({**question, "in_port": port, "dl_src": OTHER + 1, "vlan_tci": 0x100A})
        assert Table.ANSWER not in journey.tables
        assert port not in [number for number, _ in journey.outputs]
        assert 2 in [number for number, _ in journey.outputs], "it is flooded"


# VLANs.


@QUESTIONS
def test_an_asker_in_another_vlan_is_told_nothing(question: Frame) -> None:
    assert [port for port, _ in switch_of(bridge(vlan=20)).send(question).outputs] == [1]


def spoken(vlan: int) -> Frame:
    """The second guest, which another host has, in a VLAN."""
    return as_seen({"in_port": 1, "dl_src": OTHER, "dl_dst": BROADCAST, "dl_type": 0x88CC, "vlan_tci": 0x1000 | vlan})


@QUESTIONS
def test_where_the_vlan_is_not_known_only_who_has_been_heard_in_it_is_told_of(question: Frame) -> None:
    switch = switch_of(bridge(vlan=None))
    assert is_flooded(switch.send(question), question)
    switch.send(spoken(20))
    assert is_flooded(switch.send(question), question), "heard in another VLAN only"
    switch.send(spoken(10))
    assert [port for port, _ in switch.send(question).outputs] == [2]


@QUESTIONS
def test_a_trunk_is_answered_in_the_vlans_where_it_is_true(question: Frame) -> None:
    switch = switch_of(bridge(replace(ASKER, vlan=Vlan(VlanMode.TRUNK, None, (10, 20))), None))
    switch.send(spoken(20))
    assert [port for port, _ in switch.send({**question, "vlan_tci": 0x1014}).outputs] == [2]
    assert is_flooded(switch.send({**question, "vlan_tci": 0x100A}), question)


# What a host answers, by the network's XML.

HV1, HV2 = ip_address("192.0.2.11"), ip_address("192.0.2.12")
MESH = Overlay(OverlayType.GRE, 100, (Peer("hv1", HV1), Peer("hv2", HV2)))


def binds(*addresses: str, mac: int = 2) -> tuple[Binding, ...]:
    return tuple(Binding(mac_of(mac), ip_network(one)) for one in addresses)


BLUE = Network("blue", uuid_of(1), IfName("br-blue"), overlay=MESH, bindings=binds(YOU4, YOU6))


def group(name: str, tag: int | None, default: bool = False) -> PortGroup:
    return PortGroup(name, default, Vlan(VlanMode.ACCESS, tag) if tag else None)


def answers(*networks: Network, nics: tuple[Nic, ...] = (), fakes: dict[str, int] | None = None) -> set[tuple[str, str, int | None]]:
    """(address, MAC, VLAN) of what the first network's bridge answers."""
    host = FakeHost(links={nic.tap: True for nic in nics if nic.tap}, addresses={HV1})
    if fakes:
        reconcile(Inventory(networks[:1], complete=True), host.rim())
    for name, tag in (fakes or {}).items():
        host.hand_fake_bridge(name, networks[0].bridge, tag)
    desired = desire(Inventory(networks, nics, complete=True), host.host(), host.rows())
    assert not [problem for problem in desired.problems if not problem.soft], desired.problems
    return {(str(one.address), one.mac, one.vlan) for one in desired.wirings[networks[0].bridge].answers}


def test_a_host_answers_for_bindings_of_whole_addresses_in_an_overlay() -> None:
    assert answers(BLUE) == {(YOU4, mac_of(2), 0), (YOU6, mac_of(2), 0)}
    assert answers(replace(BLUE, bindings=binds("10.1.0.0/16", "2001:db8:1::/64"))) == set()
    assert answers(replace(BLUE, overlay=None)) == set()
    assert answers(replace(BLUE, overlay=replace(MESH, responder=False))) == set()


def test_a_link_local_address_is_not_answered() -> None:
    """An answer that says "no router" would take the default route from a guest that has it from this address (RFC 4861, 7.2.5)."""
    assert answers(replace(BLUE, bindings=binds("fe80::1", "169.254.1.1", YOU4))) == {(YOU4, mac_of(2), 0)}


@pytest.mark.parametrize(
    ("network", "groups", "vlan"),
    [
        (None, (), 0),
        (10, (), 10),
        (10, (group("web", None),), 10),
        (10, (group("web", 10),), 10),
        (None, (group("web", 10, default=True),), 10),
        (None, (group("web", 10),), None),
        (10, (group("web", 20),), None),
        (None, (group("web", 10, default=True), group("db", 20)), None),
    ],
)
def test_the_vlan_is_known_where_all_ports_are_in_one(network: int | None, groups: tuple[PortGroup, ...], vlan: int | None) -> None:
    one = replace(BLUE, vlan=Vlan(VlanMode.ACCESS, network) if network else None, portgroups=groups)
    assert {found for _, _, found in answers(one)} == {vlan}


def test_a_trunk_among_the_portgroups_or_a_nic_of_its_own_vlan_leaves_it_open() -> None:
    trunk = PortGroup("router", vlan=Vlan(VlanMode.TRUNK, None, (10,)))
    assert {vlan for _, _, vlan in answers(replace(BLUE, vlan=VLAN10, portgroups=(trunk,)))} == {None}
    own = Nic(mac_of(1), "blue", tap=IfName("vnet1"), vlan=Vlan(VlanMode.ACCESS, 20))
    assert {vlan for _, _, vlan in answers(replace(BLUE, vlan=VLAN10), nics=(own,))} == {None}
    assert {vlan for _, _, vlan in answers(replace(BLUE, vlan=VLAN10), nics=(replace(own, vlan=None),))} == {10}


def test_nothing_is_answered_where_customers_have_addresses_of_their_own() -> None:
    customer = PortGroup("customer", vlan=Vlan(VlanMode.ACCESS, 100), qinq=QinQ())
    assert answers(replace(BLUE, portgroups=(customer,))) == set()


def test_a_network_on_a_vlan_of_another_ones_bridge_is_answered_in_that_vlan() -> None:
    child = Network("green", uuid_of(2), IfName("br-green"), bindings=binds("10.7.0.2", mac=3))
    assert answers(BLUE, child, fakes={"br-green": 7}) == {(YOU4, mac_of(2), 0), (YOU6, mac_of(2), 0), ("10.7.0.2", mac_of(3), 7)}


def test_an_address_that_two_networks_of_one_vlan_give_to_two_is_left_to_them() -> None:
    child = Network("green", uuid_of(2), IfName("br-green"), bindings=binds(YOU4, mac=3))
    assert answers(replace(BLUE, vlan=Vlan(VlanMode.ACCESS, 7)), child, fakes={"br-green": 7}) == {(YOU6, mac_of(2), 7)}
    assert (YOU4, mac_of(3), 7) in answers(BLUE, child, fakes={"br-green": 7})
