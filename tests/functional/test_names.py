"""Peers by name: looked up in the background, looked up again, and nobody waits for it."""

from __future__ import annotations

import time

from labkit.hypervisor import Lab
from world import XML, World

NAMES = {"hv1": "hv1.paris.example", "hv2": "hv2.lyon.example"}


def known(world: World, host: str, **addresses: str) -> None:
    """What the host's resolver says from now on of the peers' names."""
    lines = "".join(f"{address} {NAMES[name]}\n" for name, address in addresses.items())
    world.on(host, "tee", "/run/hosts", stdin=f"127.0.0.1 localhost\n{lines}")
    world.on(host, "pkill -HUP -x vnetd")


def remotes(world: World, host: str) -> set[tuple[str, str]]:
    """The remote address and the state of each tunnel."""
    return {(one["remote"], one["state"]) for one in world.status(host)["tunnels"]}


def test_peers_are_found_by_name_and_followed(fresh_lab: Lab) -> None:
    with fresh_lab.locked():
        fresh_lab.up(2)
    world = World(fresh_lab)
    began = time.monotonic()
    world.start_xml((XML / "overlay-names.xml").read_text(encoding="utf-8"), "hv1", "hv2")
    assert time.monotonic() - began < 10, "somebody waited for names"
    (network,) = world.status("hv1")["networks"]
    assert network["state"] == "notice"
    assert "this host has none of its peers' addresses (hv1.paris.example, hv2.lyon.example)" in network["error"]
    for host in ("hv1", "hv2"):
        known(world, host, hv1="192.0.2.11", hv2="192.0.2.12")
    world.until(lambda: remotes(world, "hv1") == {("192.0.2.12", "up")}, 20, "the tunnel")
    options = world.on("hv1", "ovs-vsctl --columns=options,bfd find interface type=vxlan")
    assert all(words in options for words in ('csum="true"', "tos=inherit", 'ttl="64"', "key=flow", 'min_tx="1000"', 'mult="5"')), options
    rows = world.rows("hv1")
    world.on("hv1", "pkill -x vnetd; while pgrep -x vnetd; do sleep 0.1; done")
    known_rows = world.attempt("hv1", "vnetctl", "plan")
    assert known_rows.returncode == 0, known_rows.stdout
    world.on("hv1", "/run/start-vnetd")
    assert world.rows("hv1") == rows
    known(world, "hv1", hv1="192.0.2.11", hv2="192.0.2.13")
    world.until(lambda: {remote for remote, _ in remotes(world, "hv1")} == {"192.0.2.13"}, 20, "the new address")
    world.assert_settled("hv1")
    known(world, "hv1", hv1="192.0.2.11")
    time.sleep(2)
    assert {remote for remote, _ in remotes(world, "hv1")} == {"192.0.2.13"}, "a name that fails keeps its last address"
