"""Every kind of network in xml/, as it stands there, between the two hosts: hotplugged into running guests and tried."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from labkit.guest import GuestSpec, interface_xml
from world import XML, World

ENDS = {"a1": ("hv1", "192.168.77.1", "52:54:00:77:00:01"), "a2": ("hv2", "192.168.77.2", "52:54:00:77:00:02")}


@contextmanager
def network(world: World, example: str, name: str) -> Iterator[None]:
    """The example defined and started on both hosts, and gone again."""
    world.start_network(example, "hv1", "hv2")
    try:
        yield
    finally:
        for host in ("hv1", "hv2"):
            world.on(host, f"virsh -q net-destroy {name}; virsh -q net-undefine {name}")


@contextmanager
def plugged(world: World, name: str, groups: dict[str, str | None], inside: str = "eth1", commands: str = "true") -> Iterator[None]:
    """A second NIC on this network in both guests, with an address."""
    try:
        for guest, group in groups.items():
            host, address, mac = ENDS[guest]
            world.on(host, "tee", "/run/nic.xml", stdin=interface_xml(GuestSpec(guest, name, group, mac=mac, mtu=1400)))
            world.on(host, f"virsh -q attach-device {guest} /run/nic.xml --live")
            world.until(lambda guest=guest: world.inside(guest, "test -e /sys/class/net/eth1")[0] == 0, 10, "the NIC in the guest")
            words = f"ip link set eth1 up; {commands}; ip link set {inside} up; ip addr add {address}/24 dev {inside}"
            assert world.inside(guest, words)[0] == 0
        yield
    finally:
        for guest in groups:
            host, _, mac = ENDS[guest]
            world.on(host, "tee", "/run/nic.xml", stdin=interface_xml(GuestSpec(guest, name, groups[guest], mac=mac, mtu=1400)))
            world.attempt(host, f"virsh -q detach-device {guest} /run/nic.xml --live")
            world.until(lambda guest=guest: world.inside(guest, "test -e /sys/class/net/eth1")[0] != 0, 10, "the NIC is out")


@pytest.mark.parametrize(
    ("example", "name", "one", "other", "talk"),
    [
        ("overlay-vxlan.xml", "green", None, None, True),
        ("overlay-vxlan.xml", "green", "router", None, True),
        ("overlay-geneve.xml", "red", None, "unlimited", True),
        ("flat-uplink.xml", "flat", None, None, True),
        ("vlan-portgroups.xml", "lan", "vlan-20", "vlan-20", True),
        ("vlan-portgroups.xml", "lan", "vlan-10", "vlan-20", False),
        ("isolated.xml", "isolated", None, None, False),
    ],
)
def test_guests_on_two_hosts(world: World, example: str, name: str, one: str | None, other: str | None, talk: bool) -> None:
    with network(world, example, name), plugged(world, name, {"a1": one, "a2": other}):
        for host in ("hv1", "hv2"):
            world.assert_settled(host)
            assert {row["state"] for row in world.status(host)["ports"]} == {"up"}
        assert world.pings("a1", ENDS["a2"][1]) is talk
        if talk:
            assert world.tcp("a2", ENDS["a1"][1])


@pytest.mark.parametrize(("example", "name"), [("vlan-portgroups.xml", "lan"), ("overlay-gre.xml", "blue")])
def test_a_trunk_carries_its_vlans_and_no_other(world: World, example: str, name: str) -> None:
    if name != "blue":
        with network(world, example, name):
            _try_trunk(world, name)
    else:
        _try_trunk(world, name)


def _try_trunk(world: World, name: str) -> None:
    tagged = (
        "ip link add link eth1 name eth1.20 type vlan id 20; ip link add link eth1 name eth1.30 type vlan id 30; ip link set eth1.30 up"
    )
    with plugged(world, name, {"a1": "vlan-all", "a2": "vlan-all"}, "eth1.20", tagged):
        try:
            assert world.pings("a1", ENDS["a2"][1])
            world.inside("a1", "ip addr del 192.168.77.1/24 dev eth1.20; ip addr add 192.168.77.1/24 dev eth1.30")
            world.inside("a2", "ip addr del 192.168.77.2/24 dev eth1.20; ip addr add 192.168.77.2/24 dev eth1.30")
            assert not world.pings("a1", ENDS["a2"][1])
            ports = [port for port in world.status("hv1")["ports"] if port["mac"] == ENDS["a1"][2]]
            assert ports[0]["dropped"]["VLAN not allowed"] > 0
        finally:
            for guest in ENDS:
                world.inside(guest, "ip link del eth1.20; ip link del eth1.30")


def test_the_nic_of_the_default_route_is_not_taken(world: World) -> None:
    world.on("hv1", "ip addr add 203.0.113.1/24 dev eth1; ip route add default via 203.0.113.254 dev eth1")
    try:
        world.on("hv1", f"virsh -q net-define {XML}/flat-uplink.xml")
        done = world.attempt("hv1", "virsh net-start flat")
        assert done.returncode != 0
        assert "default route" in done.stderr
        assert "br-flat" not in world.on("hv1", "ovs-vsctl list-br")
    finally:
        world.on("hv1", "virsh -q net-undefine flat; ip addr del 203.0.113.1/24 dev eth1")
