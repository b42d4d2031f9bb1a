"""The promise that vnetd makes, walked at random: wherever a host comes from, one pass leaves it as its sources say.

Strategy: a walk is a list of stretches. In a stretch a few things happen to a host
(guests come and go, somebody deletes a port, the switch restarts); then there is a
pass, and the host is held against one that was never anywhere else. What happens is
drawn as plain words and small numbers, so that a failing walk reads as a story.
"""

from __future__ import annotations

import contextlib
import copy
import os
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from fakes import FakeHost
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lines import is_learned, is_vnetds
from walk_sources import GUESTS, HERE, NETWORKS, SCRIPTED
from walk_world import World

from vnetd.errors import WorldError
from vnetd.intent import bond_names
from vnetd.model.dataplane import KERNEL, USERSPACE
from vnetd.model.names import IfName
from vnetd.model.network import Bond, BondMode, Inventory, Lacp, Network, Uplink
from vnetd.model.state import TUNNELS, Role
from vnetd.reconcile import look, reconcile

WALKS = 2000 if os.environ.get("VNETD_EXPLORE") else 300


def _happenings() -> st.SearchStrategy[tuple[object, ...]]:
    """One thing that may happen: a method of World's and its arguments."""
    small = st.integers(0, 7)
    guest = st.integers(0, len(GUESTS) - 1)
    tap = st.integers(0, len(SCRIPTED) - 1)
    network = st.sampled_from(sorted(NETWORKS))
    arguments: dict[Callable[..., None], tuple[st.SearchStrategy[object], ...]] = {
        World.network_comes: (network, small),
        World.network_goes: (network,),
        **dict.fromkeys((World.guest_comes, World.guest_prepares, World.guest_goes), (guest,)),
        **dict.fromkeys((World.guest_crashes, World.guest_is_forgotten), (guest,)),
        **dict.fromkeys((World.nic_is_announced, World.nic_is_plugged, World.nic_is_unplugged), (guest,)),
        **dict.fromkeys((World.ifup, World.ifdown, World.tap_goes, World.tap_is_set_down), (tap,)),
        **dict.fromkeys((World.address_comes, World.address_goes, World.switch_restarts, World.switch_renumbers), ()),
        **dict.fromkeys((World.ethernet_guest_comes, World.ethernet_guest_goes, World.another_address_is_set), ()),
        **dict.fromkeys((World.tunnel_bridge_is_renamed, World.daemon_starts_blind), ()),
        **dict.fromkeys((World.device_breaks, World.nic_comes_or_goes), (small,)),
        **dict.fromkeys((World.hand_takes_things_away, World.hand_makes_a_fake_bridge, World.hand_deletes_a_fake_bridge), ()),
        **dict.fromkeys((World.ovsdb_is_lost, World.numbers_are_reused, World.hand_makes_things), ()),
        **dict.fromkeys((World.traffic_is_learned, World.guests_speak, World.something_fails, World.hand_deletes_a_port), (small,)),
        **dict.fromkeys((World.hand_deletes_a_bridge, World.hand_changes_ports), (small,)),
        **dict.fromkeys((World.hand_takes_queues_away, World.hand_takes_judges_away), (small,)),
        **dict.fromkeys((World.hand_changes_flows, World.hand_opens_a_bridge, World.hand_changes_fragments), (small,)),
        World.hand_changes_groups: (small,),
        **dict.fromkeys((World.peer_dies, World.peer_returns, World.path_is_measured), (small,)),
        **dict.fromkeys((World.name_is_looked_up, World.large_frames_are_sent), (small,)),
    }
    # Networks and guests come more often than the rest, or most walks would lead over empty hosts.
    often = [World.network_comes, World.guest_comes, World.ifup] * 3
    return st.sampled_from([*arguments, *often]).flatmap(lambda verb: st.tuples(st.just(verb.__name__), *arguments[verb]))


def _new_host(datapath: str = USERSPACE) -> FakeHost:
    links = {"lo": True, "eth0": True, "eth1": False, "eth2": True, "eth3": False, "eth4": True}
    return FakeHost(links=links, addresses={HERE}, default_route={"eth0"}, datapath=datapath)


def _in_force(world: World, network: Network) -> Network:
    """With the uplink that is there where the XML's cannot be had: it stays, and which one that is only its history tells."""
    uplink, host = network.uplink, world.host
    if uplink is None or (set(uplink.devs) & set(host.links) and (uplink.force or not host.default_route & set(uplink.devs))):
        return network
    for name, row in host.ports.items():
        if row.mark is Role.UPLINK and row.bridge == network.bridge:
            return replace(network, uplink=Uplink((IfName(name),)))
        if row.mark is Role.BOND and row.bridge == bond_names(network.bridge).bridge:
            bond = Bond(IfName(name), BondMode(dict(row.bond)["bond_mode"]), Lacp(dict(row.bond)["lacp"]))
            return replace(network, uplink=Uplink(tuple(map(IfName, row.members)), bond=bond))
    return network


def _fresh_twin(world: World) -> FakeHost:
    """A host that was never anywhere else: the same devices, addresses and sources, and what libvirt alone knows of a tap."""
    twin = replace(copy.deepcopy(world), host=_new_host(world.host.datapath))
    twin.host.links = {name: name not in ("eth1", "tap0", "tap1", "tap2") for name in world.host.links}
    twin.host.addresses, twin.host.broken = set(world.host.addresses), set(world.host.broken)
    twin.host.local_address, twin.host.tunnel_bridge = world.host.local_address, world.host.tunnel_bridge
    twin.host.dead, twin.host.found_out = set(world.host.dead), world.host.found_out
    for name in (name for name, row in world.host.bridges.items() if not row.owner):
        twin.host.hand_bridge(name)
    fakes = {name: row for name, row in world.host.ports.items() if row.fake is not None}
    known = dict(twin.networks)
    twin.networks = {name: _in_force(world, network) for name, network in known.items() if network.bridge not in fakes}
    reconcile(twin.inventory(), twin.host.rim())
    for name, row in fakes.items():
        if row.bridge in twin.host.bridges:
            twin.host.hand_fake_bridge(name, row.bridge, row.fake or 0)
    twin.networks = {name: network for name, network in known.items() if twin.serves(network) and world.serves(network)}
    reconcile(twin.inventory(), twin.host.rim())
    for nic in twin.announced.values():
        for name, row in world.host.ports.items():
            if row.ids.get("iface-id") == nic.iface_id and name in world.host.links and row.bridge in twin.host.bridges:
                twin.host.libvirt_add_port(name, row.bridge, row.ids)
    reconcile(twin.inventory(), twin.host.rim())
    return twin.host


def _unlike(world: World, here: str, twin: str) -> list[str]:
    """The lines that only one of two hosts has."""
    # A bridge that once was quiet stays so when an uplink makes it the host's: vnetd does not know what the host had before.
    hosts = "|".join(network.bridge for network in world.networks.values() if network.uplink and not network.policy.host) or "none"
    here, twin = (re.sub(rf"(?m)^(bridge (?:{hosts}): .*), quiet: \w+$", r"\1", text) for text in (here, twin))
    ours, theirs = here.splitlines(), twin.splitlines()
    return [f"only here: {line}" for line in ours if line not in theirs] + [f"missing here: {line}" for line in theirs if line not in ours]


def _left_out(world: World) -> set[str]:
    """Guest ports that no source names, and bridges that stay for somebody's port: nothing is promised of their rows."""
    claimed = world.claimed()
    needed = {network.bridge for network in world.networks.values()}
    tunnels = any(network.overlay for network in world.networks.values())
    ports = {name for name, row in world.host.ports.items() if row.mark in (Role.GUEST, None) and name not in claimed}
    bridges = {name for name in world.host.bridges if name not in needed and not (name == world.host.tunnel_bridge and tunnels)}
    return ports | {row.bridge for row in world.host.ports.values() if row.by_hand and row.bridge in bridges}


def _passes_nothing_unclaimed(world: World) -> None:
    """Only a claimed guest's port, a carrier or the host's own port may have a flow that leads further, or be given a frame."""
    carriers = {name for name, row in world.host.ports.items() if row.mark in (Role.UPLINK, Role.PATCH, Role.TUNNEL)}
    carriers |= {member for row in world.host.ports.values() if row.mark is Role.BOND for member in row.members}
    allowed = world.claimed() | carriers | {"LOCAL"}
    for bridge, row in world.host.bridges.items():
        for line in world.host.flows(bridge) if row.owner else ():
            first_table = "table=" not in line
            port = line.partition("in_port=")[2].partition(",")[0].partition(" ")[0]
            passes = not line.endswith(("actions=drop", "actions=set_field:0x2->reg2,goto_table:60"))
            if is_vnetds(line) and (first_table or port) and passes:
                assert port in allowed, f"{bridge} has {line}"
                judged = port in world.host.judges or port not in world.claimed() or world.host.datapath == USERSPACE
                assert judged, f"nobody judges what {port} sends, and {bridge} has {line}"
            if is_vnetds(line) and not is_learned(line):
                assert set(_OUTPUT.findall(line)) <= allowed, f"{bridge} has {line}"


def _settle(world: World) -> None:
    """A pass, and everything that is promised of it."""
    numbers, heard, counted = _numbered(world), _heard_by_bridge(world), _counted_toward_peers(world)
    outcome = world.make_pass()
    assert not outcome.left
    _keeps_what_was_heard(world, numbers, heard)
    _keeps_what_was_counted(world, numbers, counted, {segment.patch for segment in outcome.desired.segments})
    changes = list(world.host.changes)
    # The second pass remembers nothing, so that what the first one remembered is held against the switch too.
    assert reconcile(world.inventory(), world.host.rim()).done == ()
    assert world.host.changes == changes
    left_out = _left_out(world)
    assert _unlike(world, world.host.text(left_out), _fresh_twin(world).text(left_out)) == []
    _passes_nothing_unclaimed(world)
    claimed = world.claimed()
    down = [tap for tap in world.scripted if tap in claimed and world.host.links.get(tap) is False]
    assert not set(down) - world.host.broken
    for patch, tunnel in world.host.learned():
        segment = next(one for one in outcome.desired.segments if one.patch == patch)
        assert tunnel in segment.tunnels
        facts = outcome.desired.tunnels[tunnel]
        assert not facts.watched or str(facts.remote) not in world.host.dead


_HEARD = re.compile(r" actions=load:0x([0-9a-f]+)->NXM_NX_REG1\[0\.\.15\]$|reg1=0x([0-9a-f]+)/0xffff,\S* actions=drop$")


def _heard_by_bridge(world: World) -> dict[tuple[str, int], set[str]]:
    """What the switch has made itself on networks' bridges, by bridge and port number."""
    found: dict[tuple[str, int], set[str]] = {}
    for bridge, row in world.host.bridges.items():
        for line in row.flows.values() if row.owner not in ("", TUNNELS) else ():
            # What such a flow does somebody may have changed since.
            if is_learned(line) and (number := _HEARD.search(line)):
                found.setdefault((bridge, int(number[1] or number[2], 16)), set()).add(line)
    return found


_Numbers = dict[tuple[str, int], str]


def _numbered(world: World) -> _Numbers:
    """The ports that the switch has made, by bridge and number."""
    return {(row.bridge, row.ofport): name for name, row in world.host.ports.items() if row.ofport > 0}


def _keeps_what_was_heard(world: World, numbered: _Numbers, before: dict[tuple[str, int], set[str]]) -> None:
    """Nothing that was learned of a port that lives is lost to a pass, and nothing is left of one that has gone."""
    after, numbers = _heard_by_bridge(world), _numbered(world)
    assert all(place in numbers for place in after), (after, numbers)
    for (bridge, number), lines in before.items():
        row = world.host.bridges.get(bridge)
        lives = (bridge, number) in numbers and numbers[bridge, number] == numbered.get((bridge, number))
        if row is not None and row.owner and lives and bridge in _needed(world):
            assert lines <= after.get((bridge, number), set()), f"{numbers[bridge, number]} on {bridge}"


def _counted_toward_peers(world: World) -> set[tuple[str, int, int]]:
    """What counts on the tunnel bridge, by that bridge, the number of a patch and the sender's on the bridge behind it."""
    bridge = world.host.tunnel_bridge
    lines = world.host.bridges[bridge].flows.values() if bridge in world.host.bridges else ()
    found = [re.search(r"table=62, .*reg5=0x([0-9a-f]+)/0xffff,in_port=(\d+) actions=drop$", line) for line in lines]
    return {(bridge, int(one[2]), int(one[1], 16)) for one in found if one}


def _keeps_what_was_counted(world: World, numbered: _Numbers, before: set[tuple[str, int, int]], patches: set[str]) -> None:
    """The counts of large frames live as long as the sender's port does, and its network's way to the tunnels."""
    after, now = _counted_toward_peers(world), _numbered(world)
    for one in after:
        assert _sender(world, now, one), (one, now)
    for bridge, number, sender in before:
        patch = numbered.get((bridge, number))
        same = patch in patches and now.get((bridge, number)) == patch
        if same and _sender(world, now, (bridge, number, sender)):
            name = _sender(world, numbered, (bridge, number, sender))
            stays = name == _sender(world, now, (bridge, number, sender))
            assert not stays or (bridge, number, sender) in after, f"{name} behind {patch}"


def _sender(world: World, numbered: _Numbers, counted: tuple[str, int, int]) -> str | None:
    """The port that such a flow counts for."""
    bridge, number, sender = counted
    patch = numbered.get((bridge, number))
    if patch is None or patch not in world.host.ports or "peer" not in dict(world.host.ports[patch].options):
        return None
    return "LOCAL" if sender == 0xFFFE else numbered.get((world.behind(patch), sender))


def _needed(world: World) -> set[str]:
    return {str(network.bridge) for network in world.networks.values()}


_OUTPUT = re.compile(r"output:(?![NO]XM_)([^,)]+)")


def _everything_comes(world: World) -> None:
    for name in NETWORKS:
        world.network_comes(name, 0)
    _settle(world)
    for number in range(len(GUESTS)):
        world.guest_comes(number)
    for number in range(len(SCRIPTED)):
        world.ifup(number)
    _settle(world)


def _everything_goes(world: World) -> None:
    for name in NETWORKS:
        world.network_goes(name)
    for number in range(len(GUESTS)):
        world.guest_goes(number)
    for number in range(len(SCRIPTED)):
        world.ifdown(number)
        world.tap_goes(number)


@settings(max_examples=WALKS, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from([KERNEL, USERSPACE]), st.booleans(), st.lists(st.lists(_happenings(), min_size=1, max_size=6), min_size=2, max_size=8)
)
def test_every_way_leads_to_the_same_host_and_back_to_an_empty_one(
    datapath: str, starts_busy: bool, walk: list[list[tuple[str, object]]]
) -> None:
    world = World(_new_host(datapath))
    if starts_busy:
        _everything_comes(world)
    for stretch in walk:
        for verb, *arguments in stretch:
            getattr(world, verb)(*arguments)
        _settle(world)
    _everything_goes(world)
    _settle(world)
    for name in [name for name, row in world.host.ports.items() if row.by_hand]:
        world.host.hand_delete_port(name)
    _settle(world)
    assert world.host.text() == ""
    assert not [name for name, row in world.host.ports.items() if row.mark is not None]


@pytest.fixture
def busy() -> World:
    """A host on which all networks and guests run."""
    world = World(_new_host())
    _everything_comes(world)
    return world


def test_a_pass_that_knows_no_source_yet_changes_nothing(busy: World) -> None:
    """A daemon that starts with an empty spool, before libvirt has answered, leaves everything as it is."""
    before, changes = busy.host.text(), list(busy.host.changes)
    reconcile(Inventory(), busy.host.rim())
    assert busy.host.text() == before
    assert busy.host.changes == changes


def test_looking_changes_nothing(busy: World) -> None:
    busy.host.vswitchd_restart()
    changes = list(busy.host.changes)
    _, _, plan = look(busy.inventory(), busy.host.rim())
    assert plan
    assert busy.host.changes == changes


@pytest.mark.parametrize("fuse", range(10))
def test_a_change_that_is_refused_half_way_is_finished_by_the_next_pass(busy: World, fuse: int) -> None:
    wanted = busy.host.text()
    busy.host.ovsdb_lost()
    busy.host.fuse = fuse
    with contextlib.suppress(WorldError):
        reconcile(busy.inventory(), busy.host.rim())
    reconcile(busy.inventory(), busy.host.rim())
    assert busy.host.text() == wanted


def test_plugging_and_unplugging_a_hundred_times_leaves_nothing_behind(busy: World) -> None:
    before, shapes = busy.host.text(), len(busy.host.qos)
    for _ in range(100):
        busy.guest_goes(1)
        busy.make_pass()
        busy.guest_comes(1)
        busy.make_pass()
    assert busy.host.text() == before
    assert len(busy.host.qos) == shapes
