"""What the kernel's judge costs at a strict port: a stream and small packets with it, and with the flows alone, in turns.

It needs the kernel's data plane:
VNETD_LAB_DATAPATH=system tests/lab/kernel run -- .venv/bin/pytest -s tests/bench/test_judge.py
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
from collections.abc import Iterator

import pytest
from labs import started_lab
from world import World

pytestmark = pytest.mark.skipif(os.environ.get("VNETD_LAB_DATAPATH") != "system", reason="the userspace data plane has no judges")

ROUNDS, SECONDS, LEAST = 5, 3, 0.95
NETWORK = """<network><name>cost</name>
  <metadata><vnet:network xmlns:vnet='urn:vnetd:network:1'>
    <vnet:policy guard='strict' flood='none' neighbour='none'/>
  </vnet:network></metadata>
  <forward mode='bridge'/><bridge name='br-cost'/><virtualport type='openvswitch'/>
</network>"""
TAP = """<interface><mac address='52:54:00:5f:00:0{number}'/><source network='cost'/>
  <vnet:interface xmlns:vnet='urn:vnetd:domain:1'><vnet:address address='10.5.0.{number}'/><vnet:address address='2001:db8:5::{number}'/>
  </vnet:interface></interface>"""
ENDS = {"one": 1, "two": 2}


@pytest.fixture(scope="module")
def host() -> Iterator[World]:
    """Two strict ports on one host, each a veth pair into a namespace, which offloads as a virtio NIC does."""
    with started_lab("u", 1, NETWORK) as world:
        for name, number in ENDS.items():
            world.on("hv1", "tee", f"/etc/vnetd/taps/{name}.xml", stdin=TAP.format(number=number))
            inside = f"ip netns exec {name}"
            world.on(
                "hv1",
                f"set -e; ip netns add {name}; ip link add {name} type veth peer name eth0 address 52:54:00:5f:00:0{number} netns {name};"
                f"{inside} ip addr add 10.5.0.{number}/24 dev eth0; {inside} ip link set eth0 up; /etc/vnetd/ovs-ifup {name}",
            )
        world.until(lambda: world.attempt("hv1", "ip netns exec one ping -c 1 -W 1 10.5.0.2").returncode == 0, 10, "pings go")
        yield world
        world.assert_settled("hv1")


def judged(world: World, yes: bool) -> None:
    """With the judges, or without: nobody is there to put them back, and the flows stay."""
    if yes:
        world.on("hv1", "/run/start-vnetd")
    world.stop_daemon("hv1")
    for name in ENDS:
        if not yes:
            world.attempt("hv1", f"tc qdisc del dev {name} clsact")
        filters = world.on("hv1", f"tc filter show dev {name} ingress")
        assert bool(filters.strip()) is yes


def measure(world: World, *words: str) -> dict[str, float]:
    """What iperf3 says from the first end to the second, at the receiver."""
    inside = ["timeout", "60", "ip", "netns", "exec"]
    server = subprocess.Popen(world.lab.command("hv1", [*inside, "two", "iperf3", "-s", "-1", "-J"]), stdout=subprocess.PIPE, text=True)
    world.until(
        lambda: world.attempt("hv1", "ip netns exec two ss -Hltn 'sport = :5201' | grep -q .").returncode == 0, 10, "iperf3 listens"
    )
    world.on("hv1", *inside, "one", "iperf3", "-c", "10.5.0.2", "-t", str(SECONDS), "-O", "1", "-J", *words)
    output, _ = server.communicate(timeout=60)
    end = json.loads(output)["end"]
    return {"Mbit/s": end["sum_received" if "sum_received" in end else "sum"]["bits_per_second"] / 1e6, **_packets(end)}


def _packets(end: dict[str, dict[str, float]]) -> dict[str, float]:
    total = end.get("sum", {})
    return {"packets/s": (total["packets"] - total["lost_packets"]) / total["seconds"]} if "packets" in total else {}


@pytest.mark.parametrize(
    ("words", "unit"),
    [((), "Mbit/s"), (("-u", "-b", "0", "-l", "64"), "packets/s")],
    ids=["TCP", "UDP of 64 bytes"],
)
def test_a_strict_port_with_its_judge_beside_the_same_without(host: World, words: tuple[str, ...], unit: str) -> None:
    """In turns, each held against its neighbour."""
    found: dict[bool, list[float]] = {True: [], False: []}
    for turn in range(ROUNDS):
        for yes in (True, False) if turn % 2 else (False, True):
            judged(host, yes)
            found[yes].append(measure(host, *words)[unit])
    host.on("hv1", "/run/start-vnetd")
    ratio = statistics.median(mine / other for mine, other in zip(found[True], found[False], strict=True))
    with_it, without = (statistics.median(found[yes]) for yes in (True, False))
    said = f"with its judge {with_it:.0f} {unit}, without {without:.0f}; ratio of neighbours {ratio:.3f}"
    print(f"\n{' '.join(words) or 'TCP'}: {said}")
    assert ratio >= LEAST, found
