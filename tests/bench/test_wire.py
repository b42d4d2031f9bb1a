"""One tap wired with its policy, and what the classic ovs-ifup would take: an add-port, with no policy at all."""

from __future__ import annotations

import json

import pytest
from world import World

MEASURE = r"""
import json, statistics, subprocess, time
def took(*command):
    began = time.perf_counter()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return 1000 * (time.perf_counter() - began)
def vsctl():
    value = took("ovs-vsctl", "add-port", "br-phy", "bench", "tag=10")
    subprocess.run(["ovs-vsctl", "del-port", "bench"], check=True)
    return value
ours, down, theirs, bare = [], [], [], []
for _ in range(15):
    ours.append(took("/etc/vnetd/ovs-ifup", "bench"))
    down.append(took("/etc/vnetd/ovs-ifdown", "bench"))
    theirs.append(vsctl())
    bare.append(took("/usr/bin/python3", "-I", "-S", "-c", "pass"))
print(json.dumps([statistics.median(one) for one in (ours, down, theirs, bare)]))
"""


@pytest.mark.parametrize("ports", [0, 300])
def test_ifup_beside_one_add_port(bench: World, ports: int) -> None:
    if ports:
        batch = " ".join(f"-- add-port br-phy d{one} -- set interface d{one} type=internal" for one in range(ports))
        bench.on("hv1", f"ovs-vsctl {batch}")
    tap = "<interface><mac address='52:54:00:00:00:0d'/><source network='blue'/></interface>"
    bench.on("hv1", "tee", "/etc/vnetd/taps/bench.xml", stdin=tap)
    bench.on("hv1", "ip tuntap add bench mode tap")
    ours, down, theirs, bare = json.loads(bench.on("hv1", "python3", "-c", MEASURE))
    print(
        f"\nN={ports}: ovs-ifup, wired with policy {ours:.1f} ms = {ours / theirs:.2f} x ovs-vsctl add-port {theirs:.1f} ms"
        f" (ovs-ifdown {down:.1f} ms, a bare interpreter {bare:.1f} ms)"
    )
    # Many times what it takes, so that only a pass that has become another order of work fails.
    assert ours < 15 * theirs + 10 * bare
