"""Guests with the MTU that vnetd says: TCP gets through whole, and when the path becomes smaller everybody is told."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from labkit.guest import GuestSpec
from labs import started_lab
from world import World

from mesh.guests import NETS, Net

HOSTS = ("hv1", "hv2")
AROUND = {"gre": 20 + 4 + 4 + 14, "vxlan": 20 + 8 + 8 + 14}
"""Bytes of an underlay's packet before a guest's: IPv4; GRE with its key, or UDP and VXLAN; the frame's own head."""
MEGABYTES, SECONDS = 100, 60
MEASURE_SECONDS = 30
"""After so long a path that has changed is known."""


def _guest(net: Net, host: str) -> str:
    return f"{net.type}{host[2]}"


def _address(net: Net, host: str) -> str:
    return f"10.{net.number}.0.{host[2]}"


@contextmanager
def _paired(mtu: int, letter: str) -> Iterator[World]:
    """Two hosts and two networks, and of each a guest on both, whose XML says the MTU that status has told."""
    nets = NETS[:2]
    with started_lab(letter, len(HOSTS), *(net.xml((1, 2)) for net in nets), mtu=mtu) as world:
        for net in nets:
            for host in HOSTS:
                told = world.until(partial(_told, world, host, net), MEASURE_SECONDS, f"{host} knows the MTU of {net.name}")
                assert told == mtu - AROUND[net.type]
                world.guest(host, GuestSpec(_guest(net, host), net.name, addresses=[f"{_address(net, host)}/24"], mtu=told), wait=False)
        world.wait_up(*(_guest(net, host) for net in nets for host in HOSTS))
        yield world
        for host in HOSTS:
            world.assert_settled(host)


def _told(world: World, host: str, net: Net) -> int | None:
    overlay = next(one["overlay"] for one in world.status(host)["networks"] if one["name"] == net.name)
    mtu = overlay["mtu"]
    assert mtu is None or isinstance(mtu, int)
    return mtu


@pytest.fixture(scope="module")
def usual() -> Iterator[World]:
    with _paired(1500, "u") as world:
        yield world


@pytest.mark.parametrize("net", NETS[:2], ids=["gre", "vxlan"])
def test_tcp_over_a_usual_underlay(usual: World, net: Net) -> None:
    _transfer(usual, net)


def test_tcp_over_a_smaller_underlay() -> None:
    with _paired(1400, "v") as world:
        for net in NETS[:2]:
            _transfer(world, net)


def _transfer(world: World, net: Net) -> None:
    """As much as would not fit into any buffer, from guest to guest, which nothing was set in. A file that is one hole takes no memory."""
    sender, receiver = (_guest(net, host) for host in HOSTS)
    for guest in (sender, receiver):
        assert int(world.inside(guest, "cat /sys/class/net/eth0/mtu")[1]) == _told(world, "hv1", net)
    size = MEGABYTES << 20
    world.inside(sender, f"mkdir /www/t && mount -t tmpfs t /www/t && truncate -s {size} /www/t/zeros")
    began = time.monotonic()
    status, output = world.inside(receiver, f"wget -q -O /dev/null http://{_address(net, 'hv1')}/t/zeros", SECONDS)
    assert status == 0, output
    assert int(world.inside(receiver, "cat /sys/class/net/eth0/statistics/rx_bytes")[1]) > size
    print(f"\n{net.type}: {MEGABYTES} MB in {time.monotonic() - began:.1f} s")
    for host in HOSTS:
        assert not _too_large(world, host, _guest(net, host))


def test_a_path_that_becomes_smaller_under_running_guests(usual: World) -> None:
    """Nobody tells the hosts: what is too large gets lost between them. Each guest's NIC is named, with what to write instead."""
    usual.lab.set_mtu(1400, path_only=True)
    try:
        began = time.monotonic()
        for net in NETS[:2]:
            fits = 1400 - AROUND[net.type]
            left = max(began + MEASURE_SECONDS - time.monotonic(), 0.1)
            for host in HOSTS:
                usual.until(
                    lambda host=host, net=net, fits=fits: _told(usual, host, net) == fits, left, f"{host} knows the MTU of {net.name}"
                )
        print(f"\nthe smaller path is known after {time.monotonic() - began:.1f} s")
        for net in NETS[:2]:
            sender, receiver = (_guest(net, host) for host in HOSTS)
            for host in HOSTS:
                assert f"write <mtu size='{1400 - AROUND[net.type]}'/>" in usual.port_of(host, _guest(net, host))["error"]
            before = _too_large(usual, "hv1", sender)
            to = _address(net, "hv2")
            assert usual.inside(sender, f"ping -c 1 -W 2 -s {1400 - AROUND[net.type] - 28} {to}")[0] == 0
            assert usual.inside(sender, f"ping -c 3 -W 1 -s {1400 - AROUND[net.type] - 27} {to}")[0] != 0
            assert _too_large(usual, "hv1", sender) == before + 3
            assert not _too_large(usual, "hv2", receiver)
    finally:
        usual.lab.set_mtu(1500)


def _too_large(world: World, host: str, guest: str) -> int:
    """How many frames of the guest's have been counted as too large."""
    return sum(row["packets"] for row in world.drops(host, guest) if row["reason"] == "too large for the tunnel")
