"""GRE whose underlay is IPv6: the data planes name it differently, and a tunnel of the wrong name carries nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from functools import partial

import pytest
from labs import started_lab
from world import World

from mesh.guests import Net

NET = Net("mgre", "gre", 4294967295, 1)
HOSTS = (1, 2, 3)
FITS = 1500 - 40 - 4 - 4 - 14
"""An underlay's packet less IPv6, GRE with its key, and the head of the frame inside."""
BYTES = 20 << 20
MEASURE_SECONDS = 40
"""After so long a path is known, however busy the machine is."""
NOTICE_SECONDS, HEAL_SECONDS = 10, 20


@pytest.fixture(scope="module")
def mesh() -> Iterator[World]:
    """Three hosts, and on each a station that talks as a guest does."""
    with started_lab("w", len(HOSTS), NET.xml(HOSTS, version=6)) as world:
        for host in HOSTS:
            _plug(world, host)
        names = [f"hv{host}" for host in HOSTS]
        world.wait_for_tunnels(*names, seconds=HEAL_SECONDS)
        for name in names:
            told = world.until(partial(_told, world, name), MEASURE_SECONDS, f"{name} knows what the overlay carries")
            assert told == FITS
        yield world


def _plug(world: World, host: int) -> None:
    """A namespace with one link, wired by ovs-ifup. The userspace data plane takes frames as they are, without a checksum still to do."""
    mac, off = f"52:54:00:6e:00:{host:02x}", "tx off tso off gso off gro off > /dev/null"
    xml = f"<interface type='network'><mac address='{mac}'/><source network='{NET.name}'/><mtu size='{FITS}'/></interface>"
    world.on(f"hv{host}", "tee", "/etc/vnetd/taps/st.xml", stdin=xml)
    world.on(
        f"hv{host}",
        f"set -e; ip netns add st; ip link add st mtu {FITS} type veth peer name eth0 address {mac} mtu {FITS} netns st;"
        f"ip -n st addr add {_ip(host)}/24 dev eth0; ip -n st link set eth0 up;"
        f"ip netns exec st ethtool -K eth0 {off}; ethtool -K st {off}; /etc/vnetd/ovs-ifup st",
    )


def _ip(host: int) -> str:
    return f"10.1.0.{host}"


def _told(world: World, name: str) -> int | None:
    (network,) = world.status(name)["networks"]
    mtu = network["overlay"]["mtu"]
    assert mtu is None or isinstance(mtu, int)
    return mtu


def _pings(world: World, one: int, other: int, more: str = "") -> bool:
    return world.attempt(f"hv{one}", f"ip netns exec st ping -c 3 -i 0.2 -W 2 {more} {_ip(other)}").returncode == 0


def test_everybody_reaches_everybody_with_what_just_fits(mesh: World) -> None:
    for one in HOSTS:
        for other in (host for host in HOSTS if host != one):
            assert _pings(mesh, one, other), f"hv{one} does not reach hv{other}"
            assert _pings(mesh, one, other, f"-M do -s {FITS - 28}"), f"a full packet does not get from hv{one} to hv{other}"


def test_tcp_gets_through_whole(mesh: World) -> None:
    mesh.on("hv2", "ip netns exec st iperf3 -s -1 -D")
    mesh.until(lambda: mesh.attempt("hv2", "ip netns exec st ss -Hltn sport = :5201").stdout, 10, "iperf3 listens")
    found = json.loads(mesh.on("hv1", f"ip netns exec st timeout 50 iperf3 -c {_ip(2)} -n {BYTES} -J"))
    # What is still under way when the sender has sent all is not counted.
    assert found["end"]["sum_received"]["bytes"] >= BYTES * 0.8
    print(f"\n{BYTES >> 20} MB at {found['end']['sum_received']['bits_per_second'] / 1e6:.0f} Mbit/s")


def test_a_host_that_dies_is_noticed_and_taken_back(mesh: World) -> None:
    mesh.lab.cut("hv3")
    try:
        began = time.monotonic()
        mesh.until(lambda: _state(mesh, "hv1", 3) == "down", NOTICE_SECONDS, "hv1 knows that hv3 is dead")
        print(f"\nthe death is known after {time.monotonic() - began:.1f} s")
        assert _state(mesh, "hv1", 2) == "up"
        assert _pings(mesh, 1, 2)
    finally:
        mesh.lab.mend("hv3")
    mesh.wait_for_tunnels("hv1", "hv3", seconds=HEAL_SECONDS)
    assert _pings(mesh, 1, 3)
    assert _pings(mesh, 3, 2)


def _state(world: World, name: str, other: int) -> str:
    return next(str(one["state"]) for one in world.tunnels(name) if one["remote"] == f"2001:db8::{10 + other}")


def test_a_tunnel_whose_type_somebody_changes_is_put_back(mesh: World) -> None:
    """As it is where an older version has made the tunnels."""
    name = next(one["name"] for one in mesh.tunnels("hv1") if one["remote"] == "2001:db8::12")
    mesh.on("hv1", f"ovs-vsctl set interface {name} type=vxlan")
    mesh.wait_for_tunnels("hv1", "hv2", seconds=HEAL_SECONDS)
    mesh.until(lambda: _pings(mesh, 1, 2), HEAL_SECONDS, "the tunnel carries again")
    mesh.assert_settled("hv1")
