"""A hundred ports at once, and a pass when nothing is to be done, beside what ovs-vsctl and ovs-ofctl take for the same."""

from __future__ import annotations

import json

from world import World

PORTS = 100

MEASURE = r"""
import json, subprocess, time
from concurrent.futures import ThreadPoolExecutor
PORTS = %d
def run(*command):
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
def took(action):
    began = time.perf_counter()
    action()
    return 1000 * (time.perf_counter() - began)
def all_of(*command):
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: run(*command, f"t{n}"), range(PORTS)))
def classic():
    for n in range(PORTS):
        run("ovs-vsctl", "add-port", "br-phy", f"t{n}", "tag=10")
up = took(lambda: all_of("/etc/vnetd/ovs-ifup"))
idle = took(lambda: run("vnetctl", "apply"))
down = took(lambda: all_of("/etc/vnetd/ovs-ifdown"))
theirs = took(classic)
run("ovs-vsctl", *(word for n in range(PORTS) for word in ("--", "del-port", f"t{n}")))
print(json.dumps([up, idle, down, theirs]))
"""


def test_a_hundred_taps_at_once(bench: World) -> None:
    """Hooks that come together are served by one pass, which is what beats a process a port."""
    bench.on(
        "hv1",
        f"for n in $(seq 0 {PORTS - 1}); do ip tuntap add t$n mode tap; m=$(printf %02x $n);"
        " echo \"<interface><mac address='52:54:00:00:01:$m'/><source network='blue'/></interface>\" > /etc/vnetd/taps/t$n.xml; done",
    )
    up, idle, down, theirs = json.loads(bench.on("hv1", "python3", "-c", MEASURE % PORTS))
    memory = int(bench.on("hv1", "ps -o rss= -C vnetd").split()[0]) // 1024
    print(
        f"\n{PORTS} taps: ovs-ifup {up:.0f} ms = {up / theirs:.2f} x {PORTS} ovs-vsctl add-port {theirs:.0f} ms; "
        f"ovs-ifdown {down:.0f} ms; vnetctl apply with nothing to do {idle:.0f} ms; the daemon has {memory} MiB"
    )
    bench.assert_settled("hv1")
    assert up < 10 * theirs
