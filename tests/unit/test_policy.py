"""The flows held against the policy, frame by frame: the switch of switch.py against the model of reference.py."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_network
from itertools import product

import pytest
from examples import NETWORKS, flows_of, tunnel_flows_of, wired
from fakes import mac_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference import ARP, BROADCAST, ICMPV6, IPV4, IPV6, RARP, UDP, Expected, Hearer, Reference, addresses_of, number_of
from samples import ASKING, IPV4_POOL, answers, as_seen, frames, numbers_of, wirings
from switch import FIRST, LATER, LOCAL, Frame, Journey, Switch

from vnetd.model.network import UNTAGGED, Guard, Network, Vlan, VlanMode
from vnetd.model.state import Answer, GuestWire, NetworkWiring, SegmentWire
from vnetd.pipeline import Cookie, Flow, Reason, Table, by_lines, network_flows, tunnel_flows
from vnetd.pipeline.catalogue import Fact, TunnelTable, reason_of
from vnetd.pipeline.deliver import vlans_of

M, OTHER = number_of(mac_of(1)), number_of(mac_of(2))
OWN4, OWN6 = int(ip_address("10.0.0.1")), int(ip_address("2001:db8::1"))
LOCAL6 = int(ip_address("fe80::5054:ff:fe00:1"))
STRICT = GuestWire("vnet0", mac_of(1), UNTAGGED, Guard.STRICT, addresses=(ip_network("10.0.0.1"), ip_network("2001:db8::1")))


def told(journey: Journey) -> list[tuple[Reason, int]]:
    """(reason, account) of every drop that is counted when it happens."""
    found = []
    for cookie, port in journey.drops:
        reason = reason_of(cookie, "total") or reason_of(cookie, "direct")
        if reason is not None:
            found.append((reason, port))
    return found


def heard_by(journey: Journey, reference: Reference) -> list[Hearer]:
    """Where a frame came out, with all its tags, its DSCP, and the mark where a patch hands it on."""
    found = []
    for port, frame in journey.outputs:
        tags = tuple(tag & 0xFFF for tag in (frame["vlan_tci"], frame["second"], frame["inner"]) if tag)
        mark = frame["pkt_mark"] if port in (*reference.patches, *reference.joints) else 0
        found.append((port, tags, frame.get("ip_dscp", frame.get("~ip_dscp", 0)), mark))
    return sorted(found)


def disagreement(expected: Expected, journey: Journey, reference: Reference) -> str:
    """In words, what came out otherwise than it should have; nothing where all is well."""
    heard = heard_by(journey, reference)
    if heard != sorted(expected.hearers):
        return f"heard by {heard}, and should be by {sorted(expected.hearers)}; {told(journey)}"
    wanted = list(expected.drops)
    for reason, port in told(journey):
        fitting = next((one for one in wanted if reason in one[0] and one[1] == port), None)
        if fitting is None:
            return f"counted {reason!r} for {port}, and expected {wanted}"
        wanted.remove(fitting)
    if wanted:
        return f"not counted: {wanted}"
    used = sorted(journey.meters)
    return f"used {used}, and should have used {expected.meters}" if expected.meters is not None and sorted(expected.meters) != used else ""


def readable(frame: Frame, journey: Journey) -> str:
    """A frame that went wrong, and its way."""
    fields = " ".join(f"{name}={value:#x}" for name, value in frame.items() if value)
    return "\n".join([fields, *(rule.line for rule in journey.rules)])


def hold_together(wiring: NetworkWiring, sent: Iterable[Frame]) -> int:
    """Send frames through the flows and past the model; how many of them came out somewhere."""
    numbers = numbers_of(wiring)
    switch, reference = Switch(by_lines(network_flows(wiring, numbers), numbers)), Reference(wiring, numbers)
    passed = 0
    for frame in sent:
        expected, journey = reference.send(frame), switch.send(frame)
        assert disagreement(expected, journey, reference) == "", readable(frame, journey)
        passed += bool(journey.outputs)
    return passed


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(wirings().flatmap(lambda wiring: st.tuples(st.just(wiring), st.lists(frames(wiring), min_size=1, max_size=10))))
def test_every_frame_goes_where_the_policy_says_and_drops_for_a_reason_that_is_true(case: tuple[NetworkWiring, list[Frame]]) -> None:
    hold_together(*case)


@st.composite
def asked(draw: st.DrawFn) -> tuple[NetworkWiring, list[Frame]]:
    """A bridge that has answers, after some talk, and questions to it."""
    drawn = draw(wirings())
    guests = tuple(replace(guest, isolated=guest.isolated and not draw(st.integers(0, 3))) for guest in drawn.guests)
    wiring = replace(drawn, guests=guests, answers=draw(answers([None, *{vlan for guest in guests for vlan in vlans_of(guest)}], least=5)))
    talk = draw(st.lists(frames(wiring), max_size=4))
    return wiring, [*talk, *draw(st.lists(frames(wiring, ASKING), min_size=4, max_size=10))]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(asked())
def test_every_question_is_answered_where_the_policy_says_and_by_nobody_else(case: tuple[NetworkWiring, list[Frame]]) -> None:
    hold_together(*case)


@pytest.mark.parametrize("vlan", [UNTAGGED, Vlan(VlanMode.ACCESS, 10)], ids=str)
@pytest.mark.parametrize("guard", Guard)
def test_a_tag_behind_a_priority_tag_is_no_way_into_another_vlan(guard: Guard, vlan: Vlan) -> None:
    """With the first tag off, the frame would be one of VLAN 20 for whoever gets it next: the wire, or another host."""
    wiring = NetworkWiring((replace(STRICT, guard=guard, vlan=vlan),), ("eth1",))
    numbers = numbers_of(wiring)
    switch = Switch(by_lines(network_flows(wiring, numbers), numbers))
    frame = as_seen({"in_port": numbers["vnet0"], "dl_src": M, "dl_dst": BROADCAST, "vlan_tci": 0x1000, "inner": 0x1014, "dl_type": 0x8100})
    journey = switch.send(frame)
    assert (20,) not in [tags for _, tags, _, _ in heard_by(journey, Reference(wiring, numbers))], readable(frame, journey)


def test_what_the_host_sends_itself_is_no_drop_of_its_own() -> None:
    """Its own tunnel packets to an address that it has not heard of yet go out, and the copy for itself was never one."""
    wiring = NetworkWiring(uplinks=("eth1",), host=True)
    hold_together(wiring, combined(in_port=[LOCAL], dl_type=[IPV4], nw_proto=[UDP], tp_dst=[4789], dl_dst=[BROADCAST, OTHER]))


def test_a_priority_tag_of_the_hosts_own_is_none() -> None:
    wiring = replace(strictly("10.0.0.1"), host=True)
    hold_together(wiring, combined(in_port=[LOCAL], dl_type=[ARP], vlan_tci=[0x1000], dl_dst=[BROADCAST, M]))


# Every combination of the fields that a rule is about, where drawing would meet too few of them.


def combined(**choices: Iterable[int]) -> Iterator[Frame]:
    """One frame for each combination, from the first guest of a bridge with an uplink."""
    for values in product(*choices.values()):
        yield as_seen({"in_port": 2, "dl_src": M, "vlan_tci": 0, **dict(zip(choices, values, strict=True))})


def strictly(*addresses: str) -> NetworkWiring:
    """A strict guest, an unguarded one and an uplink."""
    own = replace(STRICT, addresses=tuple(map(ip_network, addresses)))
    return NetworkWiring((own, GuestWire("vnet1", None, UNTAGGED, Guard.NONE)), ("eth1",))


addressed = pytest.mark.parametrize("wiring", [strictly("10.0.0.1", "2001:db8::1"), strictly()], ids=["addresses", "none"])


@addressed
def test_every_icmpv6_packet(wiring: NetworkWiring) -> None:
    kinds = [0, 1, 2, 3, 4, 5, 100, *range(127, 145), 151, 200, 255]
    sources = [OWN6, LOCAL6, 0, int(ip_address("2001:db8::2"))]
    goals = [int(ip_address(one)) for one in ("ff02::1:ff00:1", "ff02::16", "ff05::2")]
    passed = hold_together(
        wiring,
        combined(
            dl_type=[IPV6], nw_proto=[ICMPV6], tp_src=kinds, ipv6_src=sources, ipv6_dst=goals, dl_dst=[0x3333_0000_0001],
            nw_frag=[0, FIRST, LATER], nw_ttl=[255, 64], tp_dst=[0, 1], nd_target=[OWN6, LOCAL6, int(ip_address("2001:db8::2"))],
        ),
    )  # fmt: skip
    assert passed > 100


@addressed
def test_every_udp_packet(wiring: NetworkWiring) -> None:
    ports = [0, 53, 67, 68, 546, 547]
    common = {"nw_proto": [0, 6, UDP], "nw_frag": [0, FIRST, LATER], "tp_src": ports, "tp_dst": ports}
    goals4 = [OWN4, IPV4_POOL[1], 0xFFFF_FFFF, int(ip_address("224.0.0.1"))]
    own4 = combined(dl_type=[IPV4], nw_src=[OWN4, 0, IPV4_POOL[1]], nw_dst=goals4, dl_dst=[BROADCAST, OTHER], **common)
    goals6 = [int(ip_address(one)) for one in ("ff02::1:2", "2001:db8::2")]
    sources6 = [OWN6, LOCAL6, 0, int(ip_address("2001:db8::2"))]
    own6 = combined(dl_type=[IPV6], ipv6_src=sources6, ipv6_dst=goals6, dl_dst=[0x3333_0001_0002, OTHER], **common)
    assert hold_together(wiring, own4)
    assert hold_together(wiring, own6)


@addressed
def test_every_arp_and_rarp_packet(wiring: NetworkWiring) -> None:
    spoken = [0, OWN4, IPV4_POOL[1]]
    macs = [0, M, OTHER]
    common = {"arp_op": range(5), "arp_spa": spoken, "arp_tpa": spoken, "arp_sha": macs, "arp_tha": macs}
    assert hold_together(wiring, combined(dl_type=[ARP, RARP], dl_dst=[BROADCAST, OTHER, 0x0100_5E00_0001], **common)) > 0


@pytest.mark.parametrize("guard", [Guard.STRICT, Guard.MAC])
def test_every_form_of_a_question(guard: Guard) -> None:
    """About an address of its own, one that is bound, and one that nobody has; well-formed in every way, or in all but some."""
    bound = [IPV4_POOL[1], int(ip_address("2001:db8::2")), OWN4, OWN6]
    told = tuple(Answer(mac_of(2), ip_address(one), 0) for one in bound)
    wiring = replace(strictly("10.0.0.1", "2001:db8::1"), answers=told)
    wiring = replace(wiring, guests=(replace(wiring.guests[0], guard=guard), *wiring.guests[1:]))
    spoken = {"arp_spa": [0, OWN4, IPV4_POOL[1]], "arp_tpa": [OWN4, *IPV4_POOL[1:3]], "arp_sha": [M, OTHER]}
    assert hold_together(wiring, combined(dl_type=[ARP], dl_dst=[BROADCAST, OTHER, 0x0100_5E00_0001], arp_op=range(4), **spoken)) > 10
    ends = {"dl_dst": [0x3333_FF00_0002, BROADCAST, OTHER], "ipv6_src": [OWN6, LOCAL6, 0]}
    ends["ipv6_dst"] = [int(ip_address(one)) for one in ("ff02::1:ff00:2", "ff02::1", "2001:db8::2")]
    form = {"nw_frag": [0, FIRST, LATER], "nw_ttl": [255, 64], "tp_src": [135, 136], "tp_dst": [0, 1], "nd_sll": [0, M]}
    target = [int(ip_address(one)) for one in ("2001:db8::1", "2001:db8::2", "2001:db8::3")]
    assert hold_together(wiring, combined(dl_type=[IPV6], nw_proto=[ICMPV6], nd_target=target, **ends, **form)) > 20


def test_every_kind_of_destination_and_type() -> None:
    groups = [0x0180_C200_0003, 0x0180_C200_0010, 0x0100_5E7F_FFFF, 0x0100_5E80_0000, 0x3333_0000_0001, 0x0300_0000_0001]
    goals = [BROADCAST, M, OTHER, *groups]
    kinds = [IPV4, IPV6, ARP, RARP, 0x8100, 0x88A8, 0x9100, 0x88CC, 0x05FF, 0x86DC]
    to4, to6 = [OWN4, IPV4_POOL[1], int(ip_address("224.0.0.1")), 0xFFFF_FFFF], [OWN6, int(ip_address("ff02::1"))]
    choices = {"dl_type": kinds, "dl_dst": goals, "nw_dst": to4, "ipv6_dst": to6, "nw_proto": [6]}
    own = {"nw_src": [OWN4], "ipv6_src": [OWN6], "arp_op": [1], "arp_sha": [M], "arp_spa": [OWN4]}
    for guard in Guard:
        wiring = replace(strictly("10.0.0.1", "2001:db8::1"), guests=(replace(STRICT, guard=guard), *strictly().guests[1:]))
        assert hold_together(wiring, combined(**choices, **own)) > 20


def test_what_comes_to_a_strict_guest_from_everywhere() -> None:
    """Sent to its MAC, before and after it has spoken, and sent to many."""
    to4 = [OWN4, IPV4_POOL[1], int(ip_address("239.1.1.1")), 0xFFFF_FFFF]
    to6 = [OWN6, LOCAL6, int(ip_address("ff02::1")), int(ip_address("2001:db8::2"))]
    goals = {"dl_dst": [M, BROADCAST, 0x3333_0000_0001, 0x0100_5E00_0001], "nw_proto": [6, UDP], "tp_dst": [0, 68], "nw_frag": [0, LATER]}
    (spoken,) = combined(dl_dst=[BROADCAST], dl_type=[ARP], arp_op=[1], arp_sha=[M], arp_spa=[OWN4])
    kinds = [IPV4, IPV6, ARP, RARP, 0x88CC]
    for port in (1, 3):
        from_there = list(combined(dl_src=[OTHER], in_port=[port], dl_type=kinds, nw_dst=to4, ipv6_dst=to6, **goals))
        assert hold_together(strictly("10.0.0.1", "2001:db8::1"), [*from_there, spoken, *from_there]) > 20


def test_what_comes_to_the_host_from_everywhere() -> None:
    """Where the network lets it be reached, and where not; asked for by its own MAC, and as one of many."""
    host_mac = OTHER + 7
    goals = {"dl_dst": [host_mac, BROADCAST, OTHER], "nw_frag": [0, LATER], "tp_dst": [80, 4789, 6081, 3784, 4784]}
    (spoken,) = combined(dl_src=[host_mac], in_port=[LOCAL], dl_dst=[BROADCAST], dl_type=[ARP])
    for wiring in (NetworkWiring(strictly().guests, ("eth1",), ("tun-a",), host) for host in (True, False)):
        numbers = numbers_of(wiring)
        senders = [numbers[name] for name in ("eth1", "tun-a", "vnet1")]
        packets = list(combined(dl_src=[OTHER], in_port=senders, dl_type=[IPV4, IPV6, 0x88CC], nw_proto=[6, UDP, 47], **goals))
        assert hold_together(wiring, [*packets, spoken, *packets]) > 20


@pytest.mark.parametrize(
    ("before", "now", "tag", "to"),
    [
        (Vlan(VlanMode.TRUNK, None, (10, 20)), Vlan(VlanMode.TRUNK, None, (10,)), 20, M),
        (Vlan(VlanMode.ACCESS, 20), Vlan(VlanMode.ACCESS, 10), 20, M),
        (Vlan(VlanMode.ACCESS, 10), Vlan(VlanMode.ACCESS, 10), 10, OTHER),
    ],
    ids=["a trunk that has lost a VLAN", "another VLAN", "a strict guard where there was none"],
)
def test_what_was_learned_under_other_rules_gives_a_strict_guest_nothing(before: Vlan, now: Vlan, tag: int, to: int) -> None:
    """The switch goes on knowing for five minutes whom it heard behind the port, whatever the port may hear since."""
    wiring = NetworkWiring((replace(STRICT, vlan=before, guard=Guard.NONE),), ("eth1",))
    numbers = numbers_of(wiring)
    old = Switch(by_lines(network_flows(wiring, numbers), numbers))
    spoken = {"in_port": 2, "dl_src": to, "dl_dst": BROADCAST, "dl_type": ARP}
    old.send(as_seen({**spoken, "vlan_tci": 0x1000 | tag if before.trunks else 0}))
    assert old.learned
    changed = replace(wiring, guests=(replace(STRICT, vlan=now),))
    new = Switch(by_lines(network_flows(changed, numbers), numbers))
    new.learned = old.learned
    answer = as_seen({"in_port": 1, "dl_src": OTHER + 1, "dl_dst": to, "dl_type": ARP, "arp_op": 2, "vlan_tci": 0x1000 | tag})
    journey = new.send(answer)
    assert [port for port, _ in journey.outputs if port == 2] == [], readable(answer, journey)


# Two hosts.


class Host:
    """One host's bridge and tunnel bridge, joined by their patch; port 1 of each is the patch, port 2 of the latter the tunnel."""

    def __init__(self, wiring: NetworkWiring) -> None:
        self.numbers = {"tun-a": 1, **{guest.port: number for number, guest in enumerate(wiring.guests, 2)}}
        self.bridge = Switch(by_lines(network_flows(wiring, self.numbers), self.numbers))
        mesh, there = [SegmentWire("to-a", 100, ("gre-b",), 0x8000_0064)], {"to-a": 1, "gre-b": 2}
        self.tunnels = Switch(by_lines(tunnel_flows(mesh, there), there))

    def send(self, frame: Frame) -> tuple[set[int], list[Frame]]:
        """The guests that hear a frame, and what goes to the other host."""
        outputs = self.bridge.send(frame).outputs
        handed = [{**sent, "in_port": 1, "reg1": 0, "reg3": 0} for port, sent in outputs if port == 1]
        over = [found for sent in handed for found in self.tunnels.send(sent).outputs]
        assert all(port == 2 and not sent["pkt_mark"] for port, sent in over), "the host's own routing would see the mark"
        return {port for port, _ in outputs if port != 1}, [sent for _, sent in over]

    def receive(self, frame: Frame) -> set[int]:
        """The guests that hear what the other host sent."""
        arrived = self.tunnels.send({**frame, "in_port": 2, "reg1": 0, "reg3": 0}).outputs
        assert all(port == 1 for port, _ in arrived), "nothing goes from tunnel to tunnel"
        return {guest for _, sent in arrived for guest in self.send({**sent, "in_port": 1, "reg1": 0, "reg3": 0, "tun_id": 0})[0]}


def _hosts() -> tuple[list[GuestWire], Host, Host]:
    """On each host two isolated guests and two that are not, of every guard, in one VLAN."""
    kinds = [(Guard.MAC, True), (Guard.NONE, True), (Guard.STRICT, False), (Guard.NONE, False)]
    vlan = Vlan(VlanMode.ACCESS, 10)
    guests = [
        GuestWire(f"vnet{at}", mac_of(at), vlan, guard, addresses=(ip_network(f"10.0.0.{at}"),), isolated=isolated)
        for at, (guard, isolated) in enumerate([*kinds, *kinds], 2)
    ]
    here, there = (NetworkWiring(tuple(part), patches=("tun-a",), isolating=True) for part in (guests[:4], guests[4:]))
    return guests, Host(here), Host(there)


GOALS = [BROADCAST, *(number_of(mac_of(number)) for number in range(2, 10))]


@given(st.lists(st.tuples(st.integers(2, 9), st.sampled_from(GOALS)), max_size=12))
def test_isolated_guests_of_two_hosts_do_not_hear_each_other_and_everybody_else_does(talk: list[tuple[int, int]]) -> None:
    guests, here, there = _hosts()
    for sender, goal in talk:
        near, far, offset = (here, there, 0) if sender < 6 else (there, here, 4)
        guest = guests[sender - 2]
        address = int(ip_address(f"10.0.0.{sender}"))
        frame = {"dl_src": number_of(mac_of(sender)), "dl_dst": goal, "dl_type": ARP, "arp_op": 1, "arp_spa": address, "vlan_tci": 0}
        heard, over = near.send(as_seen({**frame, "arp_sha": frame["dl_src"], "in_port": sender - offset}))
        numbers = {number + offset for number in heard} | {number + 4 - offset for sent in over for number in far.receive(sent)}
        meant = {number for number in range(2, 10) if number != sender and goal in (BROADCAST, number_of(mac_of(number)))}
        allowed = {number for number in meant if not (guest.isolated and guests[number - 2].isolated)}
        strangers = {number for number in numbers - meant if guests[number - 2].guard is not Guard.NONE}
        assert numbers & meant == allowed
        assert not strangers
        assert not {number for number in numbers if guest.isolated and guests[number - 2].isolated}


# What the tables of every example in xml/ show by themselves.

ONWARD = range(Table.LEARN, Table.REFUSE)
"""The tables from which a frame can come out."""

RESUBMITS = {
    (Table.TYPE, Table.SOURCE), (Table.LEARN, Table.LOOKUP), (Table.DELIVER, Table.STATION), (Table.FLOOD, Table.HOST),
    (Table.FLOOD, Table.COPY), (Table.FLOOD, Table.TO_POOL), (Table.COPY, Table.TO_POOL),
    (Table.FLOOD, Table.SERVICE),
    (Table.STATION, Table.DELIVER), (Table.DROP, Table.COUNTED),
    (Table.ANSWER, Table.LOOKUP), (Table.REPLY, Table.DELIVER), (Table.REPLY, Table.LIMIT),
}  # fmt: skip
"""Which table asks which; only STATION and REPLY go back, to a table that leads on from there in every case: no reply is a question."""

UNADDRESSED_PASSES = {
    "udp,dl_dst=ff:ff:ff:ff:ff:ff,nw_src=0.0.0.0,nw_dst=255.255.255.255,nw_frag=no,tp_src=68,tp_dst=67",
    *(f"icmp6,ipv6_src=::,ipv6_dst=ff02::/16,icmp_type={kind}" for kind in (131, 132, 143)),
}
"""What a strict port may send without an answer of SOURCE."""

_NEXT = re.compile(r"goto_table:(\d+)|resubmit\(,(\d+)\)")
examples = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)


def leads_to(flow: Flow) -> set[int]:
    return {int(one or other) for one, other in _NEXT.findall(flow.actions)}


def is_behind(flow: Flow, other: Flow, port: str) -> bool:
    """Whether ``other`` catches every frame from ``port`` before ``flow`` can."""
    return other.priority > flow.priority and set(other.match.split(",")) <= {f"in_port=<{port}>", *flow.match.split(",")}


def reachable(flows: list[Flow], port: str) -> list[Flow]:
    """Every flow that some frame from ``port`` can meet, whatever the frame is."""
    own = [flow for flow in flows if "in_port=" not in flow.match or f"in_port=<{port}>" in flow.match]
    first = [flow for flow in own if flow.table == Table.CLASSIFY]
    found = [flow for flow in first if not any(is_behind(flow, other, port) for other in first)]
    tables, met = {table for flow in found for table in leads_to(flow)}, {int(Table.CLASSIFY)}
    while new := tables - met:
        found += [flow for flow in own if flow.table in new]
        met |= new
        tables |= {table for flow in found if flow.table in new for table in leads_to(flow)}
    return found


@examples
def test_nothing_passes_beside_the_identity_checks(network: Network) -> None:
    """Without the one flow that matches its whole MAC, a guarded port reaches neither LEARN nor any output."""
    flows = flows_of(network)
    for guest in wired(network).wirings[network.bridge].guests:
        if guest.guard is Guard.NONE or guest.mac is None:
            continue
        guards = [flow for flow in flows if flow.table == Table.GUARD and flow.match == f"in_port=<{guest.port}>,dl_src={guest.mac}"]
        assert len(guards) == 1
        assert any(flow.table in ONWARD for flow in reachable(flows, guest.port))
        beside = reachable([flow for flow in flows if flow not in guards], guest.port)
        assert not [flow for flow in beside if flow.table in ONWARD or "output:" in flow.actions or "LOCAL" in flow.actions]


@examples
def test_a_strict_port_passes_by_an_answer_of_source_or_by_a_listed_exception(network: Network) -> None:
    flows = flows_of(network)
    answered = [flow for flow in flows if flow.table == Table.VERDICT and re.search(r"reg3=0x[15]/0x[1-7]", flow.match)]
    for guest in wired(network).wirings[network.bridge].guests:
        if guest.guard is not Guard.STRICT or guest.mac is None:
            continue
        assert Table.VERDICT in {flow.table for flow in reachable(flows, guest.port)}
        passed = [flow for flow in reachable([flow for flow in flows if flow not in answered], guest.port) if flow.table == Table.VERDICT]
        assert {flow.match for flow in passed if flow.cookie is Cookie.VERDICT} == UNADDRESSED_PASSES
        assert all(leads_to(flow) == {Table.REFUSE} for flow in passed if flow.cookie is not Cookie.VERDICT)


@examples
def test_only_an_own_address_makes_source_answer(network: Network) -> None:
    """No other flow sets the bit, and SOURCE sets it for the port's own addresses only."""
    for flow in flows_of(network):
        if "load:0x1->NXM_NX_REG3[0]" in flow.actions:
            assert flow.table == Table.SOURCE
        assert not [value for value in re.findall(r"set_field:0x(\w+)->reg3", flow.actions) if int(value, 16) & Fact.OWN]
        assert not re.search(r"(load:(?!0->)|move:)[^,]*->NXM_NX_REG3\[0\]", flow.actions) or flow.table == Table.SOURCE
    guests = {guest.port: guest for guest in wired(network).wirings[network.bridge].guests}
    for flow in flows_of(network):
        if flow.table == Table.SOURCE:
            guest = guests[re.findall(r"in_port=<([^>]+)>", flow.match)[0]]
            claimed = re.findall(r"(?:nw_src|arp_spa|ipv6_src)=([^,]+)", flow.match)
            assert all(ip_network(one) in addresses_of(guest) for one in claimed)
            assert claimed or flow.match.endswith(f"arp_sha={guest.mac},arp_tha={guest.mac}")


def own_flows(flows: list[Flow], port: str) -> list[Flow]:
    """The flows that are there because of this port; that it stands in a list of outputs makes no flow."""
    listed = re.compile(rf"output:<{port}>|clone\(set_field:<{port}:hex>->reg1,[^()]*(?:\(65535\)[^()]*)?resubmit\(,\d+\)\)")
    return [flow for flow in flows if re.search(f"<{port}[>:]", listed.sub("", str(flow)))]


@examples
def test_a_strict_port_with_two_addresses_has_sixteen_flows_and_an_isolated_one_a_flow_more(network: Network) -> None:
    flows = flows_of(network)
    for guest in wired(network).wirings[network.bridge].guests:
        if guest.guard is Guard.STRICT and len(guest.addresses) == 2 and guest.vlan.mode is VlanMode.ACCESS:
            asked = [guest.packets is not None, 3 * (guest.dscp is not None), 3 * len(guest.pools)]
            assert len(own_flows(flows, guest.port)) <= 16 + guest.isolated + sum(asked)


@examples
def test_a_port_has_as_many_flows_alone_as_among_others(network: Network) -> None:
    wiring = wired(network).wirings[network.bridge]
    every = [guest.port for guest in wiring.guests]
    among = network_flows(wiring, every)
    for guest in wiring.guests:
        alone = network_flows(replace(wiring, guests=(guest,)), every)
        assert len(own_flows(alone, guest.port)) == len(own_flows(among, guest.port))


@examples
def test_tables_only_go_forward_except_for_the_questions_that_are_listed(network: Network) -> None:
    for flow in flows_of(network):
        asked = {int(table) for table in re.findall(r"resubmit\(,(\d+)\)", flow.actions)}
        assert {(flow.table, table) for table in asked} <= RESUBMITS
        assert all(int(table) > flow.table for table in re.findall(r"goto_table:(\d+)", flow.actions))
    for flow in tunnel_flows_of(network):
        assert all(table > flow.table for table in leads_to(flow))
        asked = {int(table) for table in re.findall(r"resubmit\(,(\d+)\)", flow.actions)}
        ways = {(TunnelTable.CLASSIFY, TunnelTable.UNICAST), (TunnelTable.DROP, TunnelTable.COUNTED)}
        assert {(flow.table, table) for table in asked} <= ways


@examples
def test_the_way_back_from_station_leads_on_in_every_case(network: Network) -> None:
    """Were there no flow in DELIVER for the port and VLAN, the frame would be flooded, asked for again, and so on."""
    flows = flows_of(network)
    for flow in (flow for flow in flows if flow.table == Table.STATION):
        port = re.findall(r"set_field:<([^:]+):hex>->reg1", flow.actions)[0]
        vlan = flow.match.partition(",dl_dst=")[0]
        known = {f"reg1=<{port}:hex>", *flow.match.split(",")}
        onward = [one for one in flows if one.table == Table.DELIVER and one.match and set(one.match.split(",")) <= known]
        assert any(leads_to(one) <= {Table.BARE, Table.SERVICE, Table.TO_POOL} for one in onward), vlan


@examples
def test_no_two_flows_of_a_table_have_the_same_match_and_priority(network: Network) -> None:
    for flows in (flows_of(network), tunnel_flows_of(network)):
        keys = [(flow.table, flow.priority, frozenset(flow.match.split(","))) for flow in flows]
        assert len(set(keys)) == len(keys)
