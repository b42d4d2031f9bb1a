"""``vnetctl lint`` on a real host: silent where all is as asked, and each thing that somebody changes by hand is named."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator

import pytest
from labkit.guest import GuestSpec, domain_xml
from labs import started_lab
from world import World

NETWORK = """<network>
  <name>metered</name>
  <metadata>
    <vnet:network xmlns:vnet='urn:vnetd:network:1'/>
  </metadata>
  <forward mode='bridge'/>
  <bridge name='br-metered'/>
  <virtualport type='openvswitch'/>
  <portgroup name='limited' default='yes'>
    <vlan><tag id='10'/></vlan>
    <bandwidth><inbound average='1250' peak='2500' burst='128'/><outbound average='1250'/></bandwidth>
  </portgroup>
  <portgroup name='fast'>
    <bandwidth><inbound average='1250000' peak='1250000'/></bandwidth>
  </portgroup>
  <portgroup name='slow'>
    <bandwidth><inbound average='1' peak='1' burst='1'/></bandwidth>
  </portgroup>
  <portgroup name='free'/>
</network>"""
GUESTS = ("limited", "fast", "slow", "free")
"""Each guest is called as its portgroup."""


@pytest.fixture(scope="module")
def wired() -> Iterator[World]:
    """A host with a guest in each portgroup, and its daemon stopped: it would repair what the tests break."""
    with started_lab("n", 1, NETWORK) as world:
        for name in GUESTS:
            world.guest("hv1", GuestSpec(name, "metered", name), wait=False)
        world.until(lambda: world.attempt("hv1", "vnetctl", "plan").returncode == 0, 10, "all guests are wired")
        world.stop_daemon("hv1")
        yield world


@pytest.fixture
def world(wired: World) -> Iterator[World]:
    """Each test begins and ends with a host of which there is nothing to say."""
    assert_silent(wired)
    yield wired
    assert_silent(wired)


def lint(world: World, *options: str) -> subprocess.CompletedProcess[str]:
    return world.attempt("hv1", "vnetctl", "lint", *options)


def assert_silent(world: World) -> None:
    done = lint(world)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def only(world: World) -> str:
    """The one thing that is said of the host."""
    done = lint(world)
    assert done.returncode == 1, done
    (line,) = done.stdout.splitlines()
    return line


def tap_of(world: World, guest: str) -> str:
    return str(world.port_of("hv1", guest)["tap"])


def settle(world: World) -> None:
    world.on("hv1", "vnetctl apply")


def test_a_limit_taken_away_by_tc_is_named_and_what_is_said_helps(world: World) -> None:
    tap = tap_of(world, "limited")
    rows = world.on("hv1", "ovs-vsctl --format=csv --columns=type list qos; ovs-vsctl --format=csv --columns=dscp list queue")
    world.on("hv1", f"tc qdisc del dev {tap} root")
    line = only(world)
    assert line.startswith(f"port {tap}: what it gets should be limited to 20 Mbit/s, but tc has no limit there")
    port = world.port_of("hv1", "limited")
    assert (port["state"], f"port {tap}: {port['error']}") == ("error", line)
    remedy = re.search(r"; (ovs-vsctl [^;]*; vnetctl apply) ", line)
    assert remedy
    world.on("hv1", remedy[1])
    assert_silent(world)
    assert "rate 10Mbit ceil 20Mbit burst 128Kb" in world.on("hv1", f"tc class show dev {tap}")
    after = world.on("hv1", "ovs-vsctl --format=csv --columns=type list qos; ovs-vsctl --format=csv --columns=dscp list queue")
    assert after == rows, "a QoS or Queue row was left behind"


def test_another_rate_in_tc_is_named(world: World) -> None:
    tap = tap_of(world, "limited")
    shown = f"tc class change dev {tap} parent 1:fffe classid 1:1 htb rate 10mbit ceil {{}} burst 128k cburst 128k"
    world.on("hv1", shown.format("15mbit"))
    assert only(world).startswith(f"port {tap}: what it gets should be limited to 20 Mbit/s, but tc lets 15 Mbit/s pass")
    world.on("hv1", shown.format("20mbit"))


def test_a_limiter_and_a_filter_that_nobody_asked_for_are_named(world: World) -> None:
    tap = tap_of(world, "free")
    world.on("hv1", f"tc qdisc replace dev {tap} root handle 1: htb default 1")
    world.on("hv1", f"tc class add dev {tap} parent 1: classid 1:1 htb rate 1mbit")
    assert f"port {tap}: tc limits what it gets by a qdisc htb that nothing asks for" in only(world)
    world.on("hv1", f"tc qdisc del dev {tap} root")
    # An empty program lets every frame pass, and may as well not.
    world.on("hv1", f"tc filter add dev {tap} ingress pref 7 bpf bytecode '1,6 0 0 65535,'")
    assert f"port {tap}: tc has a filter bpf on what it sends" in only(world)
    world.on("hv1", f"tc filter del dev {tap} ingress pref 7")


def test_a_policer_by_hand_is_named(world: World) -> None:
    tap = tap_of(world, "free")
    world.on("hv1", f"ovs-vsctl set Interface {tap} ingress_policing_rate=1000")
    assert only(world).startswith(f"port {tap}: tc polices what it sends to 1000 kbit/s (ingress_policing_rate), besides vnetd's meter")
    settle(world)


def test_a_meter_deleted_or_changed_by_hand_is_named(world: World) -> None:
    tap = tap_of(world, "limited")
    dump = world.on("hv1", "ovs-ofctl -O OpenFlow14 dump-meters br-metered")
    meter = re.search(r"meter=(\d+) kbps[^\n]*\n?[^\n]*rate=10000\b", dump)
    assert meter, dump
    world.on("hv1", f"ovs-ofctl -O OpenFlow14 mod-meter br-metered 'meter={meter[1]} kbps burst stats bands=type=drop rate=7 burst_size=7'")
    line = only(world)
    assert line.startswith(f"port {tap}: its limit on bandwidth should be 10000 kbit/s with a burst of ")
    assert f"but meter {meter[1]} of br-metered lets 7 kbit/s pass" in line
    world.on("hv1", f"ovs-ofctl -O OpenFlow14 del-meters br-metered meter={meter[1]}")
    assert f"meter {meter[1]} of br-metered is not in the switch; vnetctl apply puts it right" in only(world)
    settle(world)


def test_vlan_columns_by_hand_are_named(world: World) -> None:
    tap = tap_of(world, "limited")
    world.on("hv1", f"ovs-vsctl set Port {tap} vlan_mode=native-tagged tag=7 trunks=1,2")
    said = lint(world).stdout
    assert f"port {tap}: its row has the native VLAN 7, which is not in its trunk" in said
    assert f"port {tap}: its row has trunk 1,2, native-tagged 7 instead of VLAN 10" in said
    settle(world)


def test_a_guest_that_libvirt_would_not_start_is_named(world: World) -> None:
    """What libvirt does about each trap was tried by hand; this holds one of the sentences against it."""
    text = domain_xml(GuestSpec("wrong", "metered", "free")).replace("<model type='virtio'/>", "<filterref filter='clean-traffic'/>")
    world.on("hv1", "cat > /run/wrong.xml; virsh -q define /run/wrong.xml", stdin=text)
    try:
        line = only(world)
        assert re.match(r"guest wrong:\d+: <filterref>: libvirt starts no guest with it on Open vSwitch; remove it and write", line)
        done = world.attempt("hv1", "virsh start wrong")
        assert "filterref is not supported for network interfaces with virtualport type openvswitch" in done.stderr
        (found,) = json.loads(lint(world, "--json").stdout)
        assert (found["where"], found["element"], found["error"]) == ("guest wrong", "<filterref>", False)
    finally:
        world.on("hv1", "virsh -q undefine wrong")


def test_one_mac_on_two_guests_is_named(world: World) -> None:
    free = GuestSpec("free", "metered", "free")
    twin = GuestSpec("twin", "metered", "free", mac=free.hardware_address)
    world.on("hv1", "cat > /run/wrong.xml; virsh -q define /run/wrong.xml", stdin=domain_xml(twin))
    try:
        assert re.match(
            rf"guest twin:\d+: <interface>: has {free.hardware_address}, which free has already on network metered", only(world)
        )
    finally:
        world.on("hv1", "virsh -q undefine twin")
