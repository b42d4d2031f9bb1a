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


STATUS = r"""
import json, socket, subprocess, time
from vnetd.adapters.shaping import Shaping
def took(action):
    times = []
    for _ in range(7):
        began = time.perf_counter()
        action()
        times.append(1000 * (time.perf_counter() - began))
    return sorted(times)[3]
def status():
    subprocess.run(["vnetctl", "status", "--json"], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
links = {f"t{n}": socket.if_nametoindex(f"t{n}") for n in range(%d)}
tc = Shaping()
assert len(tc.taps(links)) == len(links)
print(json.dumps([took(status), took(lambda: tc.taps(links))]))
"""


def make_taps(bench: World, more: str = "") -> None:
    bench.on(
        "hv1",
        f"for n in $(seq 0 {PORTS - 1}); do ip tuntap add t$n mode tap 2> /dev/null; m=$(printf %02x $n);"
        f" echo \"<interface><mac address='52:54:00:00:01:$m'/><source network='blue'/>{more}</interface>\""
        " > /etc/vnetd/taps/t$n.xml; done",
    )


def test_a_hundred_taps_at_once(bench: World) -> None:
    """Hooks that come together are served by one pass, which is what beats a process a port."""
    make_taps(bench)
    up, idle, down, theirs = json.loads(bench.on("hv1", "python3", "-c", MEASURE % PORTS))
    memory = int(bench.on("hv1", "ps -o rss= -C vnetd").split()[0]) // 1024
    print(
        f"\n{PORTS} taps: ovs-ifup {up:.0f} ms = {up / theirs:.2f} x {PORTS} ovs-vsctl add-port {theirs:.0f} ms; "
        f"ovs-ifdown {down:.0f} ms; vnetctl apply with nothing to do {idle:.0f} ms; the daemon has {memory} MiB"
    )
    bench.assert_settled("hv1")
    assert up < 10 * theirs


def test_the_status_of_a_hundred_limited_taps(bench: World) -> None:
    """What it costs to ask tc about each of them."""
    make_taps(bench)
    bench.on("hv1", f"for n in $(seq 0 {PORTS - 1}); do /etc/vnetd/ovs-ifup t$n & done; wait")
    found = []
    for limit in ("", "<bandwidth><inbound average='1000'/></bandwidth>"):
        make_taps(bench, limit)
        bench.on("hv1", "vnetctl apply")
        bench.assert_settled("hv1")
        found.append(json.loads(bench.on("hv1", "python3", "-c", STATUS % PORTS)))
    (free, _), (limited, asking) = found
    print(f"\n{PORTS} taps: vnetctl status {free:.0f} ms; with a limit on each {limited:.0f} ms, of which {asking:.1f} ms are for tc")
    assert asking < 200
