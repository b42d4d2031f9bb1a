"""Quiet links against the kernel and Open vSwitch: what a guest sends reaches Open vSwitch and not the host, and the host says nothing.

The adapter runs on a lab host as the daemon does, with its capabilities only. Taps are
held open by the test's own process there, which plays the guests behind them.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from labkit.hypervisor import PROJECT, Lab

from vnetd.adapters.quiet import QuietLinks
from vnetd.errors import WorldError
from vnetd.model.state import Link, Quiet

UNPRIVILEGED = ["setpriv", "--bounding-set=-all,+net_admin,+chown", "--inh-caps=-all", "--no-new-privs"]

PRELUDE = '''
import fcntl, json, os, select, socket, struct, subprocess, sys, time
from vnetd.adapters.netlink import Netlink
from vnetd.model.state import Quiet
from vnetd.settings import Settings

def run(*words):
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout

def tap(name):
    """A guest's end of a tap: frames are written to it and read from it."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, 0x400454CA, struct.pack("16sH22x", name.encode(), 0x1002))
    run("ip", "link", "set", name, "up")
    return descriptor

def frames(descriptor, seconds=0.5):
    """What comes out of a tap meanwhile."""
    found, end = [], time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if select.select([descriptor], [], [], left)[0]:
            found.append(os.read(descriptor, 2048))
    return found

def level(kernel, name):
    kernel.forget()
    return kernel.host().links[name].quiet

def until(condition):
    end = time.monotonic() + 5
    while not condition():
        if time.monotonic() > end:
            sys.exit("not within 5 s")
        time.sleep(0.02)

def addresses(name):
    found = json.loads(run("ip", "-j", "-6", "address", "show", "dev", name))
    return sorted(one["local"] for link in found for one in link.get("addr_info", ()))

def mac(name):
    return bytes.fromhex(open(f"/sys/class/net/{name}/address").read().strip().replace(":", ""))

def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF

netdev, system = (Netlink(Settings(datapath_type=type)) for type in ("netdev", "system"))
'''

SNEAK = '''
me, host, own = bytes.fromhex("525400000099"), socket.inet_aton("192.0.2.11"), socket.inet_aton("192.0.2.99")
first, second = tap("qt0"), tap("qt1")
run("ovs-vsctl", "add-br", "br-q", "--", "set", "bridge", "br-q", "datapath_type=netdev", "--", "add-port", "br-q", "qt0",
    "--", "add-port", "br-q", "qt1")
ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
ear.bind(("", 4000))
ear.setblocking(False)

def ask():
    """A guest sends the host a datagram, to the tap's own MAC address, and asks for the host's MAC address."""
    payload = b"sneaked"
    udp = struct.pack("!HHHH", 5000, 4000, 8 + len(payload), 0) + payload
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, own, host)
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    datagram = mac("qt0") + me + b"\\x08\\x00" + head + udp
    query = b"\\xff" * 6 + me + b"\\x08\\x06" + struct.pack("!HHBBH6s4s6s4s", 1, 0x800, 6, 4, 1, me, own, b"", host)
    frames(second, 0.1)
    os.write(first, datagram)
    os.write(first, query)
    through, back = frames(second), frames(first, 0.1)
    try:
        heard = ear.recv(100) == payload
    except BlockingIOError:
        heard = False
    return {
        "host heard it": heard,
        "host answered": any(frame[12:14] == b"\\x08\\x06" for frame in back),
        "switch passed it": datagram in through and query in [frame[: len(query)] for frame in through],
    }

until(lambda: ask()["switch passed it"])
before = level(netdev, "qt0")
system.make_quiet("qt0", Quiet.PORT)
kernel_datapath = {"level": level(system, "qt0"), "tc": run("tc", "qdisc", "show", "dev", "qt0"), "seen": ask()}
netdev.make_quiet("qt0", Quiet.PORT)
quiet = {"level": level(netdev, "qt0"), "seen": ask()}
netdev.make_quiet("qt0", Quiet.PORT)
# Open vSwitch looks after its ports' qdiscs again whenever a link or a row has changed.
run("ip", "link", "set", "qt0", "mtu", "1400")
run("ovs-vsctl", "add-port", "br-q", "qt2", "--", "set", "interface", "qt2", "type=internal")
run("ip", "link", "set", "qt0", "down")
run("ip", "link", "set", "qt0", "up")
run("ovs-vsctl", "--", "set", "interface", "qt0", "mtu_request=1500")
later = {"level": level(netdev, "qt0"), "seen": ask(), "addresses": addresses("qt0")}
run("tc", "qdisc", "del", "dev", "qt0", "clsact")
remembered = netdev.host().links["qt0"].quiet
without_tc = level(netdev, "qt0")
open("/proc/sys/net/ipv6/conf/qt0/disable_ipv6", "w").write("0")
without_both = level(netdev, "qt0")
print(json.dumps([before, kernel_datapath, quiet, later, remembered, without_tc, without_both]))
'''

ANNOUNCE = '''
def announcement(prefix):
    """A router's announcement (RFC 4861, 4.2), with a prefix to take addresses from and itself as the default route."""
    source, target = socket.inet_pton(socket.AF_INET6, "fe80::99"), socket.inet_pton(socket.AF_INET6, "ff02::1")
    option = struct.pack("!BBBBIII16s", 3, 4, 64, 0xC0, 9000, 9000, 0, socket.inet_pton(socket.AF_INET6, prefix))
    icmp = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + option
    total = checksum(source + target + struct.pack("!II", len(icmp), 58) + icmp)
    icmp = icmp[:2] + struct.pack("!H", total) + icmp[4:]
    head = struct.pack("!IHBB16s16s", 6 << 28, len(icmp), 58, 255, source, target)
    return bytes.fromhex("333300000001 525400000099 86dd") + head + icmp

guest = tap("qb0")
run("ovs-vsctl", "add-br", "br-b", "--", "set", "bridge", "br-b", "datapath_type=netdev", "--", "add-port", "br-b", "qb0")
run("ip", "link", "set", "br-b", "up")
run("ip", "address", "add", "2001:db8:5::1/64", "dev", "br-b", "nodad")
run("ip", "address", "add", "fe80::5/64", "dev", "br-b", "nodad")

def announced():
    os.write(guest, announcement("2001:db8:6::"))
    return any(one.startswith("2001:db8:6:") for one in addresses("br-b"))

def believed():
    """The links that the host's default routes lead to since a guest said so."""
    return sorted(one["dev"] for one in json.loads(run("ip", "-j", "-6", "route", "show", "proto", "ra")) if one["dst"] == "default")

# The kernel sees the frame on the tap too, and believes it there as well.
until(lambda: announced() and believed() == ["br-b", "qb0"])
before = level(netdev, "br-b"), addresses("br-b"), believed()
netdev.make_quiet("qb0", Quiet.PORT)
netdev.make_quiet("br-b", Quiet.BRIDGE)
quiet = level(netdev, "br-b"), addresses("br-b"), believed()
run("ip", "link", "set", "br-b", "down")
run("ip", "link", "set", "br-b", "up")
run("ip", "address", "replace", "2001:db8:5::1/64", "dev", "br-b", "nodad")
run("ip", "address", "replace", "fe80::5/64", "dev", "br-b", "nodad")
for _ in range(5):
    os.write(guest, announcement("2001:db8:7::"))
    time.sleep(0.1)
later = level(netdev, "br-b"), addresses("br-b"), believed()
open("/proc/sys/net/ipv6/conf/br-b/disable_ipv6", "w").write("1")
mute = netdev.host().links["br-b"].is_quiet(Quiet.BRIDGE), level(netdev, "br-b")
print(json.dumps([before, quiet, later, mute]))
'''

PLAIN = """
ends = tap("qp0")
for kernel in (netdev, system):
    kernel.make_quiet("qp9", Quiet.PORT)
    kernel.make_quiet("qp9", Quiet.BRIDGE)
run("ip", "link", "set", "qp0", "mtu", "1000")
small = level(system, "qp0"), level(netdev, "qp0")
netdev.make_quiet("qp0", Quiet.PORT)
made = level(netdev, "qp0")
index = netdev.host().links["qp0"].index
os.close(ends)
until(lambda: "qp0" not in netdev.host().links)
again = tap("qp0")
link = netdev.host().links["qp0"]
print(json.dumps([small, made, link.index != index, link.quiet]))
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """One host without a daemon, which would see to links itself."""
    found = Lab(f"q{os.getpid() % 100000}")
    with found.locked():
        found.down()
        found.up(1, daemon=False)
    try:
        yield found
    finally:
        with found.locked():
            found.down()


def on_host(lab: Lab, script: str) -> Any:
    """What a script prints on the host."""
    return json.loads(lab.run("hv1", *UNPRIVILEGED, str(PROJECT / ".venv/bin/python"), "-c", PRELUDE + script))


def test_what_a_guest_sends_reaches_the_switch_and_not_the_host(lab: Lab) -> None:
    before, kernel_datapath, quiet, later, remembered, without_tc, without_both = on_host(lab, SNEAK)
    leaks = {"host heard it": True, "host answered": True, "switch passed it": True}
    tight = {"host heard it": False, "host answered": False, "switch passed it": True}
    assert before == ""
    # In the kernel datapath a tc filter would keep frames from Open vSwitch, so there is none, and here nothing else stops them.
    assert kernel_datapath["level"] == "port"
    assert "clsact" not in kernel_datapath["tc"]
    assert kernel_datapath["seen"] == leaks
    assert quiet == {"level": "port", "seen": tight}
    assert later == {"level": "port", "seen": tight, "addresses": []}
    assert (remembered, without_tc, without_both) == ("port", "bridge", "")


def test_a_bridge_has_no_address_of_the_kernels_and_believes_no_router(lab: Lab) -> None:
    before, quiet, later, mute = on_host(lab, ANNOUNCE)
    mine = ["2001:db8:5::1", "fe80::5"]
    assert before[0] == ""
    assert len([one for one in before[1] if one.startswith("fe80:")]) == 2
    assert before[2] == ["br-b", "qb0"]
    assert quiet == ["bridge", mine, []]
    assert later == ["bridge", mine, []]
    assert mute == [True, "bridge"]


def test_links_that_go_come_again_or_have_no_ipv6(lab: Lab) -> None:
    small, made, another, quiet = on_host(lab, PLAIN)
    assert small == ["port", "bridge"]
    assert made == "port"
    assert another
    assert quiet == ""


def test_a_kernel_without_ipv6_is_quiet(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    links = QuietLinks(userspace=False, conf=tmp_path / "net/ipv6/conf")
    lo = "lo", socket.if_nametoindex("lo")
    assert links.levels([lo]) == {lo: "port"}
    for level in Quiet:
        links.make("lo", level)
    links.close()


def test_where_the_settings_are_out_of_sight_nothing_is_quiet_and_the_refusal_is_told(tmp_path: Path) -> None:
    links = QuietLinks(userspace=False, conf=tmp_path / "net/ipv6/conf")
    lo = "lo", socket.if_nametoindex("lo")
    assert links.levels([lo]) == {lo: ""}
    with pytest.raises(WorldError, match="disable_ipv6 cannot be set to 1: No such file or directory"):
        links.make("lo", Quiet.PORT)
    links.close()


def test_port_is_at_least_as_quiet_as_bridge() -> None:
    assert [Link(True, quiet=level).is_quiet(Quiet.BRIDGE) for level in ("", "bridge", "port")] == [False, True, True]
    assert [Link(True, quiet=level).is_quiet(Quiet.PORT) for level in ("", "bridge", "port")] == [False, False, True]
