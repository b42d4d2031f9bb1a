"""Overlays, from what the sources say to what should be: tunnels and how they are watched, names of peers, and what fits."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from fakes import FakeHost, uuid_of
from intents import BLUE, HV1, HV2, HV3, MESH, RED, access, nic, wanted, words

from vnetd.intent import patch_names, tunnel_name
from vnetd.model.names import HostName, IfName, IpAddress
from vnetd.model.network import (
    Bfd,
    Encapsulation,
    Inventory,
    Network,
    OverlayType,
    Peer,
    PortGroup,
    QinQ,
    Vlan,
    VlanMode,
)
from vnetd.model.state import TUNNELS, Desired, Learned, Port, Role, TunnelWire
from vnetd.reconcile import reconcile

V6 = {number: ip_address(f"2001:db8::{number}") for number in (11, 12, 13)}


@pytest.fixture
def here(host: FakeHost) -> FakeHost:
    """This host is hv1."""
    host.addresses = {HV1, V6[11]}
    return host


def meshed(network: Network = BLUE, **more: object) -> Network:
    """A network whose overlay is the mesh of three, but for what is said here."""
    return replace(network, overlay=replace(MESH, **more))  # type: ignore[arg-type]


def tunnels(desired: Desired) -> list[Port]:
    """The tunnels that should be, by their remotes."""
    return sorted((port for port in desired.ports.values() if port.role is Role.TUNNEL), key=lambda port: dict(port.options)["remote_ip"])


def remotes(desired: Desired) -> list[str]:
    return [dict(port.options)["remote_ip"] for port in tunnels(desired)]


# Overlays.


def test_an_overlay_is_a_patch_and_a_tunnel_to_each_other_host(host: FakeHost) -> None:
    host.addresses = {HV1, ip_address("10.0.0.1")}
    desired = wanted(host, replace(BLUE, overlay=MESH))
    there, here = patch_names("br-blue")
    tunnels = tuple(sorted(tunnel_name(OverlayType.GRE, HV1, remote) for remote in (HV2, HV3)))
    assert set(desired.ports) == {there, here, *tunnels}
    assert (desired.ports[here].bridge, desired.ports[there].bridge) == ("br-blue", "br-tun")
    assert desired.ports[tunnels[0]].options[0] == ("key", "flow")
    assert desired.segments[0].tunnels == tunnels
    assert desired.bridges["br-tun"].owner == TUNNELS


def test_networks_share_the_tunnel_to_a_host(host: FakeHost) -> None:
    host.addresses = {HV1}
    desired = wanted(host, replace(BLUE, overlay=MESH), replace(RED, overlay=replace(MESH, segment=200, peers=MESH.peers[:2])))
    assert [facts.networks for facts in desired.tunnels.values()] == [("blue", "red"), ("blue",)]


def test_a_host_that_is_no_peer_has_no_tunnel_and_hears_why(host: FakeHost) -> None:
    desired = wanted(host, replace(BLUE, overlay=MESH), nics=(nic(),))
    assert desired.tunnels == {}
    assert desired.segments[0].tunnels == ()
    assert "vnet1" in desired.ports
    (problem,) = desired.problems
    assert problem.soft
    assert "this host has none of its peers' addresses (192.0.2.11, 192.0.2.12, 192.0.2.13)" in problem.text


def test_the_setting_says_which_peer_this_host_is_whatever_its_interfaces_carry(host: FakeHost) -> None:
    host.addresses, host.local_address = {HV1}, HV2
    desired = wanted(host, replace(BLUE, overlay=MESH))
    assert desired.locals == {"blue": HV2}
    assert {facts.remote for facts in desired.tunnels.values()} == {HV1, HV3}


def test_a_setting_that_is_no_peer_makes_no_tunnel(host: FakeHost) -> None:
    host.addresses, host.local_address = {HV1}, ip_address("203.0.113.1")
    assert wanted(host, replace(BLUE, overlay=MESH)).tunnels == {}


@pytest.mark.parametrize("made_by", ["openvswitch", "kernel"])
def test_somebodys_own_br_tun_costs_the_overlays_and_nothing_else(host: FakeHost, made_by: str) -> None:
    host.addresses = {HV1}
    if made_by == "openvswitch":
        host.hand_bridge("br-tun")
    else:
        host.links["br-tun"] = True
    desired = wanted(host, replace(BLUE, overlay=MESH), nics=(nic(),))
    assert set(desired.bridges) == {"br-blue"}
    assert set(desired.ports) == {"vnet1"}
    assert desired.wirings["br-blue"].uplinks == desired.wirings["br-blue"].patches == ()
    assert desired.tunnels == {}
    assert "network blue: bridge br-tun is there already and vnetd did not make it" in words(desired)


def test_names_depend_only_on_what_they_stand_for_and_fit_an_interface(host: FakeHost) -> None:
    assert tunnel_name(OverlayType.VXLAN, HV1, HV2) == tunnel_name(OverlayType.VXLAN, HV1, HV2)
    assert tunnel_name(OverlayType.VXLAN, HV1, HV2) != tunnel_name(OverlayType.VXLAN, HV2, HV1)
    names = [tunnel_name(kind, HV1, HV2) for kind in OverlayType] + list(patch_names("a-long-bridge-x"))
    assert len(set(names)) == 5
    assert all(len(name) <= 15 for name in names)


def test_a_newcomer_does_not_take_the_segment_of_a_network_that_runs(host: FakeHost) -> None:
    reconcile(Inventory((replace(RED, overlay=MESH),), complete=True), host.rim())
    desired = wanted(host, replace(RED, overlay=MESH), replace(BLUE, overlay=MESH))
    assert [segment.patch for segment in desired.segments] == [patch_names("br-red")[0]]


def test_a_segment_is_one_networks_and_the_other_stays_on_this_host(host: FakeHost) -> None:
    host.addresses = {HV1}
    desired = wanted(host, replace(BLUE, overlay=MESH), replace(RED, overlay=MESH))
    assert words(desired) == "network red: its gre segment 100 is network blue's already; write another segment"
    assert [segment.patch for segment in desired.segments] == [patch_names("br-blue")[0]]
    assert set(desired.bridges) == {"br-blue", "br-red", "br-tun"}


def test_one_segment_of_two_tunnel_types_is_two_segments(host: FakeHost) -> None:
    host.addresses = {HV1}
    desired = wanted(host, replace(BLUE, overlay=MESH), replace(RED, overlay=replace(MESH, type=OverlayType.VXLAN)))
    assert desired.problems == ()
    assert len(desired.segments) == 2
    assert len(desired.tunnels) == 4


# How packets are put into a tunnel.

BARE = {"key": "flow", "local_ip": "192.0.2.11", "remote_ip": "192.0.2.12"}


@pytest.mark.parametrize(
    ("said", "options"),
    [
        (Encapsulation(), {}),
        (Encapsulation(csum=True), {"csum": "true"}),
        (Encapsulation(csum=False), {"csum": "false"}),
        (Encapsulation(df=True), {"df_default": "true"}),
        (Encapsulation(df=False), {"df_default": "false"}),
        (Encapsulation(ttl="64"), {"ttl": "64"}),
        (Encapsulation(ttl="inherit", tos="inherit"), {"tos": "inherit", "ttl": "inherit"}),
        (Encapsulation(True, False, "1", "252"), {"csum": "true", "df_default": "false", "tos": "252", "ttl": "1"}),
    ],
)
@pytest.mark.parametrize("kind", list(OverlayType))
def test_what_is_said_of_packets_has_open_vswitchs_names_and_what_is_not_said_is_left_to_it(
    here: FakeHost, kind: OverlayType, said: Encapsulation, options: dict[str, str]
) -> None:
    first, _ = tunnels(wanted(here, meshed(type=kind, encapsulation=said)))
    assert dict(first.options) == BARE | options
    assert list(first.options) == sorted(first.options), "rows are held against it in the order in which they are read"


def test_tunnels_are_watched_unless_that_is_switched_off(here: FakeHost) -> None:
    """Without the check of the key a guest could pass for the peer."""
    always = {"check_tnl_key": "true", "enable": "true"}
    for bfd, columns in (
        (Bfd(), {**always, "min_rx": "300", "min_tx": "300", "mult": "3"}),
        (Bfd(100, 5), {**always, "min_rx": "100", "min_tx": "100", "mult": "5"}),
        (None, {}),
    ):
        first, second = tunnels(wanted(here, meshed(bfd=bfd)))
        assert dict(first.bfd) == dict(second.bfd) == columns


def test_two_networks_that_share_tunnels_and_differ_are_told_once_and_the_first_decides(here: FakeHost) -> None:
    blue = meshed(encapsulation=Encapsulation(csum=True))
    desired = wanted(here, blue, meshed(RED, segment=200))
    assert {dict(port.options)["csum"] for port in tunnels(desired)} == {"true"}
    (problem,) = desired.problems
    assert problem.soft
    expected = "it shares tunnels with network blue, whose csum, df, ttl and tos they follow; write the same in both"
    assert (problem.kind, problem.name, problem.text) == ("network", "red", expected)


@pytest.mark.parametrize(
    ("differs", "told"),
    [
        ({"bfd": None}, "whose <vnet:bfd> they follow"),
        ({"bfd": Bfd(500)}, "whose <vnet:bfd> they follow"),
        ({"bfd": Bfd(500), "encapsulation": Encapsulation(ttl="7")}, "whose csum, df, ttl and tos and <vnet:bfd> they follow"),
    ],
)
def test_what_differs_is_named(here: FakeHost, differs: dict[str, object], told: str) -> None:
    assert told in words(wanted(here, meshed(), meshed(RED, segment=200, **differs)))


def test_networks_that_share_tunnels_and_say_the_same_or_share_none_are_not_told(here: FakeHost) -> None:
    said = Encapsulation(csum=True)
    assert wanted(here, meshed(encapsulation=said), meshed(RED, segment=200, encapsulation=said)).problems == ()
    assert wanted(here, meshed(), meshed(RED, type=OverlayType.VXLAN, bfd=None, encapsulation=said)).problems == ()


def test_a_newcomer_changes_nothing_on_tunnels_of_a_network_that_runs(here: FakeHost) -> None:
    red = meshed(RED, segment=200, bfd=Bfd(100), encapsulation=Encapsulation(ttl="9"))
    reconcile(Inventory((red,), complete=True), here.rim())
    desired = wanted(here, red, meshed())
    assert {dict(port.options)["ttl"] for port in tunnels(desired)} == {"9"}
    assert {dict(port.bfd)["min_tx"] for port in tunnels(desired)} == {"100"}
    assert "network blue: it shares tunnels with network red" in words(desired)


def test_the_one_that_is_named_is_the_one_that_decides_however_many_share_a_tunnel(here: FakeHost) -> None:
    red = meshed(RED, segment=200, encapsulation=Encapsulation(ttl="9"))
    reconcile(Inventory((red,), complete=True), here.rim())
    other = meshed(Network("cyan", uuid_of(3), IfName("br-cyan")), segment=300)
    desired = wanted(here, red, meshed(), other)
    assert [(problem.name, "with network red, whose" in problem.text) for problem in desired.problems] == [("blue", True), ("cyan", True)]


# Several overlays.


def test_each_type_has_tunnels_of_its_own_and_each_network_those_to_its_own_peers(here: FakeHost) -> None:
    desired = wanted(
        here,
        meshed(peers=MESH.peers[:2]),
        meshed(RED, type=OverlayType.VXLAN, peers=(MESH.peers[0], MESH.peers[2])),
        meshed(Network("cyan", uuid_of(3), IfName("br-cyan")), segment=300),
    )
    found = {(str(facts.type), str(facts.remote), facts.networks) for facts in desired.tunnels.values()}
    assert found == {("gre", str(HV2), ("blue", "cyan")), ("gre", str(HV3), ("cyan",)), ("vxlan", str(HV3), ("red",))}
    by_patch = {segment.patch: {desired.tunnels[name].remote for name in segment.tunnels} for segment in desired.segments}
    assert by_patch == {patch_names(f"br-{name}")[0]: set(to) for name, to in (("blue", [HV2]), ("red", [HV3]), ("cyan", [HV2, HV3]))}


def test_one_host_may_have_an_address_for_each_overlay(here: FakeHost) -> None:
    peers = tuple(Peer(f"hv{number - 10}", V6[number]) for number in (11, 12))
    desired = wanted(here, meshed(), meshed(RED, segment=200, peers=peers))
    assert desired.locals == {"blue": HV1, "red": V6[11]}
    assert [facts.local for facts in desired.tunnels.values()].count(V6[11]) == 1


# Peers by name.


def by_name(*names: str) -> tuple[Peer, ...]:
    return tuple(Peer(name, HostName(f"{name}.example")) for name in names)


def knowing(host: FakeHost, **found: tuple[IpAddress, ...]) -> FakeHost:
    """These names have these addresses."""
    host.found_out = replace(host.found_out, names={f"{name}.example": addresses for name, addresses in found.items()})
    return host


def test_a_name_stands_for_the_address_that_it_has(here: FakeHost) -> None:
    knowing(here, hv1=(HV1,), hv2=(HV2,))
    desired = wanted(here, meshed(peers=by_name("hv1", "hv2")))
    (facts,) = desired.tunnels.values()
    assert (facts.local, facts.remote, facts.peers) == (HV1, HV2, ("hv2",))
    assert desired.problems == ()
    assert set(desired.tunnels) == {tunnel_name(OverlayType.GRE, HV1, HV2)}, "the same tunnel as if the address stood there"


@pytest.mark.parametrize(
    ("mine", "addresses", "remote"),
    [
        (HV1, (HV2,), HV2),
        (V6[11], (V6[12],), V6[12]),
        (HV1, (HV2, V6[12]), HV2),
        (V6[11], (HV2, V6[12]), V6[12]),
        (HV1, (HV3, HV2), HV3),
    ],
)
def test_of_a_peers_addresses_the_first_is_taken_that_is_of_this_hosts_kind(
    here: FakeHost, mine: IpAddress, addresses: tuple[IpAddress, ...], remote: IpAddress
) -> None:
    knowing(here, hv2=addresses)
    (facts,) = wanted(here, meshed(peers=(Peer("hv1", mine), *by_name("hv2")))).tunnels.values()
    assert (facts.local, facts.remote) == (mine, remote)


def test_a_peer_that_has_no_address_of_this_hosts_kind_is_left_out_and_said(here: FakeHost) -> None:
    knowing(here, hv3=(V6[13],))
    desired = wanted(here, meshed(peers=(*MESH.peers[:2], *by_name("hv3"))))
    assert remotes(desired) == [str(HV2)]
    assert words(desired) == "network blue: its peer hv3 is left out, since hv3.example has no IPv4 address"
    assert desired.problems[0].soft


def test_a_peer_whose_name_nobody_has_looked_up_is_left_out_and_said(here: FakeHost) -> None:
    desired = wanted(here, meshed(peers=(*MESH.peers[:2], *by_name("hv3"))))
    assert remotes(desired) == [str(HV2)]
    assert words(desired) == "network blue: its peer hv3 is left out, since hv3.example has no address yet"


def test_why_a_name_cannot_be_looked_up_is_said_until_it_was(here: FakeHost) -> None:
    here.found_out = Learned(failing={"hv3.example": "there is no such name"})
    network = meshed(peers=(*MESH.peers[:2], *by_name("hv3")))
    assert words(wanted(here, network)).endswith("since hv3.example has no address yet: there is no such name")
    knowing(here, hv3=(HV3,))
    desired = wanted(here, network)
    assert remotes(desired) == [str(HV2), str(HV3)]
    assert desired.problems == (), "a name that fails keeps the addresses that it had"


def test_a_host_that_does_not_find_itself_says_which_names_it_could_not_look_up(here: FakeHost) -> None:
    """Its own may be the one: Debian writes it with 127.0.1.1 into /etc/hosts."""
    here.found_out = Learned(names={"hv2.example": (HV2,)}, failing={"hv1.example": "it resolves to 127.0.1.1"})
    desired = wanted(here, meshed(peers=by_name("hv1", "hv2", "hv3")))
    assert desired.tunnels == {}
    assert all(problem.soft for problem in desired.problems)
    told = words(desired)
    assert "this host has none of its peers' addresses (hv1.example, hv2.example, hv3.example)" in told
    assert "hv1.example has no address yet: it resolves to 127.0.1.1" in told
    assert "hv3.example has no address yet" in told
    assert "hv2.example has" not in told


def test_a_name_of_this_host_is_no_peer_by_any_of_its_addresses(here: FakeHost) -> None:
    knowing(here, hv1=(HV1, V6[11]), hv2=(HV2, V6[12]))
    assert remotes(wanted(here, meshed(peers=by_name("hv1", "hv2")))) == [str(HV2)]
    here.local_address = V6[11]
    here.forget()
    assert remotes(wanted(here, meshed(peers=by_name("hv1", "hv2")))) == [str(V6[12])]


def test_two_names_for_one_host_are_one_tunnel(here: FakeHost) -> None:
    knowing(here, hv2=(HV2,), alias=(HV2, V6[12]))
    desired = wanted(here, meshed(peers=(MESH.peers[0], *by_name("hv2", "alias"))))
    (facts,) = desired.tunnels.values()
    assert facts.peers == ("alias", "hv2")
    assert desired.segments[0].tunnels == tuple(desired.tunnels)
    assert desired.problems == ()


def test_a_peer_that_moves_has_another_tunnel(here: FakeHost) -> None:
    network = meshed(peers=(MESH.peers[0], *by_name("hv2")))
    reconcile(Inventory((network,), complete=True), knowing(here, hv2=(HV2,)).rim())
    outcome = reconcile(Inventory((network,), complete=True), knowing(here, hv2=(HV3,)).rim())
    assert [facts.remote for facts in outcome.desired.tunnels.values()] == [HV3]
    assert [dict(row.options)["remote_ip"] for row in here.ports.values() if row.mark is Role.TUNNEL] == [str(HV3)]


# Whether a peer is alive.


def alive(desired: Desired) -> set[str]:
    return {str(facts.remote) for facts in desired.tunnels.values() if facts.wire.alive}


def test_a_peer_is_alive_while_its_session_is_up(here: FakeHost) -> None:
    assert alive(wanted(here, meshed())) == set(), "a tunnel that is to be made has no session yet"
    reconcile(Inventory((meshed(),), complete=True), here.rim())
    assert alive(wanted(here, meshed())) == {str(HV2), str(HV3)}
    here.dead = {str(HV3)}
    assert alive(wanted(here, meshed())) == {str(HV2)}


def test_a_peer_that_nobody_watches_is_held_to_be_alive(here: FakeHost) -> None:
    here.dead = {str(HV2), str(HV3)}
    desired = wanted(here, meshed(bfd=None))
    assert alive(desired) == {str(HV2), str(HV3)}
    assert not any(facts.watched for facts in desired.tunnels.values())


def test_whoever_decides_about_a_shared_tunnel_decides_whether_it_is_watched(here: FakeHost) -> None:
    here.dead = {str(HV2), str(HV3)}
    assert alive(wanted(here, meshed(bfd=None), meshed(RED, segment=200))) == {str(HV2), str(HV3)}
    assert alive(wanted(here, meshed(), meshed(RED, segment=200, bfd=None))) == set()


# How much fits.


def measured(host: FakeHost, *networks: Network, **paths: int) -> FakeHost:
    """A pass has been, and then the paths to these peers were measured."""
    reconcile(Inventory(networks, complete=True), host.rim())
    numbers = {HV2: "hv2", HV3: "hv3", V6[12]: "six2"}
    host.found_out = Learned({address: paths[name] for address, name in numbers.items() if name in paths})
    return host


def over(version: int, **more: object) -> Network:
    """A network between two hosts by IPv4 or IPv6."""
    peers = (Peer("hv1", HV1), Peer("hv2", HV2)) if version == 4 else (Peer("hv1", V6[11]), Peer("hv2", V6[12]))
    return replace(BLUE, overlay=replace(MESH, peers=peers, **more))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "version", "csum", "room"),
    [
        (OverlayType.GRE, 4, None, 1500 - 20 - 8),
        (OverlayType.GRE, 4, True, 1500 - 20 - 12),
        (OverlayType.GRE, 6, None, 1500 - 40 - 8),
        (OverlayType.GRE, 6, True, 1500 - 40 - 12),
        (OverlayType.VXLAN, 4, None, 1500 - 20 - 16),
        (OverlayType.VXLAN, 4, True, 1500 - 20 - 16),
        (OverlayType.VXLAN, 6, True, 1500 - 40 - 16),
        (OverlayType.GENEVE, 4, False, 1500 - 20 - 16),
        (OverlayType.GENEVE, 6, None, 1500 - 40 - 16),
    ],
)
@pytest.mark.parametrize(
    ("vlan", "tags"),
    [
        (None, 0),
        (access(10), 1),
        (Vlan(VlanMode.TRUNK, None, (10, 20)), 1),
        (Vlan(VlanMode.NATIVE_UNTAGGED, 10, (10, 20)), 1),
        (Vlan(VlanMode.NATIVE_TAGGED, 10, (10, 20)), 1),
    ],
)
def test_a_port_can_send_what_the_path_leaves_it(
    here: FakeHost, kind: OverlayType, version: int, csum: bool | None, room: int, vlan: Vlan | None, tags: int
) -> None:
    network = over(version, type=kind, encapsulation=Encapsulation(csum=csum))
    desired = wanted(measured(here, network, hv2=1500, six2=1500), network, nics=(nic(vlan=vlan),))
    fits = room - 14 - 4 * tags
    assert [facts.wire for facts in desired.tunnels.values()] == [TunnelWire(True, room)]
    assert desired.ports["vnet1"].mtu == 1500, "a smaller tap would lose the guest's frames before anybody counts them"
    assert desired.mtus == {"blue": room - 14}
    (problem,) = desired.problems
    tag = " with a VLAN tag" if tags else ""
    assert problem.soft
    assert problem.text == (
        f"it has no <mtu>, so that its MTU is 1500, and network blue carries {fits} "
        f"({kind} over IPv{version}{tag}); write <mtu size='{fits}'/> in its <interface>"
    )


def test_what_a_network_carries_is_told_for_its_port_with_the_most_tags(here: FakeHost) -> None:
    plain, tagged, two = (
        over(4),
        replace(over(4), vlan=access(7)),
        replace(over(4), portgroups=(PortGroup("metro", vlan=access(40), qinq=QinQ((1, 2))), PortGroup("web", vlan=access(7)))),
    )
    measured(here, over(4), hv2=1500)
    assert [wanted(here, network).mtus["blue"] for network in (plain, tagged, two)] == [1458, 1454, 1450]
    desired = wanted(here, two, nics=(nic(portgroup="metro"), nic(2, portgroup="web"), nic(3)))
    assert [words(desired).count(f"carries {size} ") for size in (1450, 1454, 1458)] == [1, 1, 1]
    assert "gre over IPv4 with two VLAN tags" in words(desired)


def test_the_worst_living_peer_decides(here: FakeHost) -> None:
    measured(here, meshed(), hv2=1500, hv3=1400)
    desired = wanted(here, meshed(), nics=(nic(),))
    assert f"carries {1400 - 28 - 14} " in words(desired)
    rooms = {str(facts.remote): facts.wire.room for facts in desired.tunnels.values()}
    assert rooms == {str(HV2): 1472, str(HV3): 1372}, "each tunnel takes what its own path carries"


def test_a_dead_peer_costs_the_others_nothing(here: FakeHost) -> None:
    measured(here, meshed(), hv2=1500, hv3=1400)
    here.dead = {str(HV3)}
    assert wanted(here, meshed()).mtus == {"blue": 1458}


def test_while_no_peer_lives_the_worst_that_was_measured_stands(here: FakeHost) -> None:
    """A host that is cut off for a moment must not change its guests' MTUs."""
    measured(here, meshed(), hv2=1500, hv3=1400)
    here.dead = {str(HV2), str(HV3)}
    assert wanted(here, meshed()).mtus == {"blue": 1358}


def test_a_living_peer_whose_path_is_not_known_yet_says_nothing(here: FakeHost) -> None:
    measured(here, meshed(), hv2=1500)
    assert wanted(here, meshed()).mtus == {"blue": 1458}
    here.dead = {str(HV2)}
    assert wanted(here, meshed()).mtus == {"blue": 1458}, "until it is known, what was known stands"


def test_where_nothing_was_measured_nothing_is_said_and_taps_are_as_usual(here: FakeHost) -> None:
    desired = wanted(measured(here, meshed()), meshed(), nics=(nic(),))
    assert desired.mtus == {}
    assert desired.ports["vnet1"].mtu == 1500
    assert desired.problems == ()
    assert {facts.wire.room for facts in desired.tunnels.values()} == {None}


@pytest.mark.parametrize(("mtu", "told"), [(1400, False), (1458, False), (1459, True), (9000, True)])
def test_a_tap_whose_mtu_stands_in_the_xml_keeps_it_and_is_told_where_that_is_too_much(here: FakeHost, mtu: int, told: bool) -> None:
    desired = wanted(measured(here, meshed(), hv2=1500), meshed(), nics=(nic(mtu=mtu),))
    assert desired.ports["vnet1"].mtu == mtu
    expected = f"port vnet1: its MTU is {mtu}, and network blue carries 1458 (gre over IPv4); "
    assert words(desired) == (f"{expected}write <mtu size='1458'/> in its <interface>" if told else "")


def test_a_wide_path_leaves_guests_their_usual_mtu_untold(here: FakeHost) -> None:
    desired = wanted(measured(here, meshed(), hv2=9000), meshed(), nics=(nic(),))
    assert desired.problems == ()
    assert desired.ports["vnet1"].mtu == 9000 - 42


def test_where_the_underlay_may_fragment_no_frame_is_too_large(here: FakeHost) -> None:
    network = meshed(encapsulation=Encapsulation(df=False))
    desired = wanted(measured(here, network, hv2=1500), network)
    assert {(facts.wire.room, facts.path_mtu) for facts in desired.tunnels.values()} == {(None, 1500), (None, None)}
    assert desired.mtus == {}, "and no guest is told to send less"


def test_who_decides_about_a_shared_tunnel_decides_what_goes_around_its_packets(here: FakeHost) -> None:
    """A network that says csum='no' loses its four bytes all the same where the tunnel has a checksum."""
    blue, red = meshed(encapsulation=Encapsulation(csum=True)), meshed(RED, segment=200)
    desired = wanted(measured(here, blue, red, hv2=1500), blue, red, nics=(nic(network="red"),))
    assert desired.mtus == {"blue": 1454, "red": 1454}
    assert "network red carries 1454" in words(desired)


def test_a_port_of_a_network_without_an_overlay_has_no_such_limit(here: FakeHost) -> None:
    desired = wanted(measured(here, meshed(), hv2=1500), meshed(), RED, nics=(nic(network="red"),))
    assert desired.ports["vnet1"].mtu is None
    assert desired.problems == ()


def test_a_network_that_is_a_vlan_of_anothers_bridge_goes_by_its_overlay_and_has_its_tag(here: FakeHost) -> None:
    measured(here, meshed(), hv2=1500)
    here.hand_fake_bridge("br-red", "br-blue", 40)
    desired = wanted(here, meshed(), RED, nics=(nic(network="red"),))
    assert "network blue carries 1454 (gre over IPv4 with a VLAN tag)" in words(desired)


def test_where_the_overlays_are_left_out_nothing_is_said_of_what_they_carry(here: FakeHost) -> None:
    here.found_out = Learned({HV2: 1500})
    here.hand_bridge("br-tun")
    desired = wanted(here, meshed(bfd=None), nics=(nic(),))
    assert desired.mtus == {}
    assert desired.ports["vnet1"].mtu == 1500


# Peers that answer no probe.


def test_a_living_peer_that_answers_no_probe_is_told_once_for_all_networks(here: FakeHost) -> None:
    networks = (meshed(), meshed(RED, segment=200))
    measured(here, *networks)
    here.found_out = Learned(silent=frozenset({HV2}))
    desired = wanted(here, *networks)
    (problem,) = desired.problems
    assert (problem.kind, problem.name, problem.soft) == ("tunnel", tunnel_name(OverlayType.GRE, HV1, HV2), True)
    assert problem.text.startswith("its peer hv2 (192.0.2.12) answers no ICMP echo")
    here.dead = {str(HV2)}
    assert wanted(here, *networks).problems == (), "that a dead one does not answer is no news"


# GRE over IPv6, which the data planes name differently.


def six(kind: OverlayType = OverlayType.GRE) -> Network:
    """The mesh of three over IPv6."""
    return meshed(type=kind, peers=tuple(Peer(f"hv{number - 10}", address) for number, address in V6.items()))


@pytest.mark.parametrize(("datapath", "kind"), [("system", "ip6gre"), ("netdev", "gre")])
def test_gre_over_ipv6_has_the_type_that_the_data_plane_has_it_under(here: FakeHost, datapath: str, kind: str) -> None:
    here.datapath = datapath
    desired = wanted(here, six())
    assert {port.type for port in tunnels(desired)} == {kind}
    assert {facts.type for facts in desired.tunnels.values()} == {OverlayType.GRE}, "to people it is GRE"


@pytest.mark.parametrize("datapath", ["system", "netdev"])
def test_other_tunnels_have_one_type_whatever_they_go_over(here: FakeHost, datapath: str) -> None:
    here.datapath = datapath
    assert {port.type for port in tunnels(wanted(here, six(OverlayType.VXLAN)))} == {"vxlan"}
    assert {port.type for port in tunnels(wanted(here, six(OverlayType.GENEVE)))} == {"geneve"}
    assert {port.type for port in tunnels(wanted(here, meshed()))} == {"gre"}


def test_tunnels_that_an_older_version_made_get_their_type(here: FakeHost) -> None:
    inventory = Inventory((six(),), complete=True)
    reconcile(inventory, here.rim())
    names = sorted(port for port in here.ports if port.startswith("gre-"))
    for name in names:
        here.ports[name].type = "gre"
    changed = [line.split(":")[0] for line in reconcile(inventory, here.rim()).done if line.startswith("~ port")]
    assert changed == [f"~ port {name} on br-tun" for name in names]
    assert {here.ports[name].type for name in names} == {"ip6gre"}
