"""A strict guest as its operator meets it: its flows, its links, what is said of what it may not do."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator

import pytest
from labkit.guest import GuestSpec
from world import World

MAC = "52:54:00:79:00:01"
DOMAIN = (
    "<vnet:domain xmlns:vnet='urn:vnetd:domain:1'><vnet:interface mac='52:54:00:79:00:01'><vnet:policy guard='strict'/>"
    "<vnet:address address='10.0.0.21'/><vnet:address address='2001:db8:79::21'/></vnet:interface></vnet:domain>"
)
SPOOF = "ip addr add 10.0.0.66/32 dev eth0; arping -c 3 -w 3 -U -I eth0 -s 10.0.0.66 10.0.0.66; ip addr del 10.0.0.66/32 dev eth0"


@pytest.fixture
def strict(world: World) -> Iterator[World]:
    """One more guest on the first host, strictly guarded by its own XML."""
    world.guest("hv1", GuestSpec("s1", "blue", "vlan-10", mac=MAC, addresses=["10.0.0.21/24"], metadata=DOMAIN))
    yield world
    world.on("hv1", "virsh -q destroy s1; virsh -q undefine s1")


def _own_flows(world: World) -> list[str]:
    """The flows that are there for the guest's port alone; in lists of a VLAN it is one of many."""
    port = world.port_of("hv1", "s1")["tap"]
    named = re.compile(rf"(in_port=\"?{port}\"?|reg1={port})[, ]|dl_dst={MAC}|dl_src={MAC}")
    return [line for line in world.flows("hv1") if named.search(line)]


def test_sixteen_flows_whatever_else_is_there(strict: World) -> None:
    before = _own_flows(strict)
    assert len(before) == 16, "\n".join(before)
    strict.on("hv1", "ip tuntap add t9 mode tap")
    tap = "<interface><mac address='52:54:00:79:00:99'/><source network='blue' portgroup='vlan-10'/></interface>"
    strict.on("hv1", "tee", "/etc/vnetd/taps/t9.xml", stdin=tap)
    strict.on("hv1", "/etc/vnetd/ovs-ifup t9")
    try:
        assert _own_flows(strict) == before
    finally:
        strict.on("hv1", "/etc/vnetd/ovs-ifdown t9; ip link del t9; rm /etc/vnetd/taps/t9.xml")


def test_its_own_address_serves_it_and_no_other(strict: World) -> None:
    assert strict.pings("s1", "10.0.0.2")
    assert strict.tcp("a2", "10.0.0.21")
    strict.inside("s1", "ip addr add 10.0.0.66/24 dev eth0")
    assert strict.inside("s1", "ping -c 2 -W 1 -I 10.0.0.66 10.0.0.2")[0] != 0
    # What it owns can be changed while it runs.
    address = DOMAIN.replace("</vnet:interface>", "<vnet:address address='10.0.0.66'/></vnet:interface>")
    inner = address.replace(" xmlns:vnet='urn:vnetd:domain:1'", "").replace("vnet:", "")
    strict.on("hv1", "virsh", "-q", "metadata", "s1", "urn:vnetd:domain:1", "--live", "--key", "vnet", "--set", inner)
    strict.until(lambda: strict.inside("s1", "ping -c 1 -W 1 -I 10.0.0.66 10.0.0.2")[0] == 0, 10, "the new address serves it")


def test_taps_and_bridges_have_no_address_of_the_kernels_own(strict: World) -> None:
    port = strict.port_of("hv1", "s1")["tap"]
    strict.on("hv1", "ip link set br-blue up")
    try:
        for link in (port, "br-blue"):
            assert strict.on("hv1", f"ip -6 addr show dev {link}") == "", link
        assert strict.on("hv1", f"cat /proc/sys/net/ipv6/conf/{port}/disable_ipv6 /proc/sys/net/ipv6/conf/br-blue/accept_ra").split() == [
            "1",
            "0",
        ]
    finally:
        strict.on("hv1", "ip link set br-blue down")


def test_drops_by_guest_and_by_tap(strict: World) -> None:
    strict.inside("s1", SPOOF)
    port = strict.port_of("hv1", "s1")["tap"]
    strict.until(lambda: strict.drops("hv1", "s1"), 5, "the drops are counted")
    rows = strict.until(lambda: [one for one in strict.drops("hv1", "s1") if one["packets"] == 3], 5, "all three")
    assert rows == [{"port": port, "guest": "s1", "network": "blue", "reason": "ARP for another's address", "packets": 3, "bytes": 126}]
    assert strict.drops("hv1", port) == strict.drops("hv1", "s1")
    # Other tests have had the other guest's frames dropped, and those are none of this one's.
    assert {one["guest"] for one in strict.drops("hv1", "a1")} <= {"a1"}
    table = strict.on("hv1", "vnetctl drops").splitlines()
    assert table[0].split() == ["PORT", "GUEST", "NETWORK", "REASON", "PACKETS", "BYTES"]
    wrong = strict.attempt("hv1", "vnetctl drops nobody")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr == "vnetctl: 'nobody' is no guest or port here; vnetctl status lists them\n"


def test_drops_as_they_happen(strict: World) -> None:
    command = ["timeout", "-s", "INT", str(7 * strict.plane.patience), "vnetctl", "drops", "s1", "--watch", "--json"]
    watch = subprocess.Popen(strict.lab.command("hv1", command), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert watch.stdout is not None
    # It has looked by the time it says what has come since.
    first = watch.stdout.readline()
    strict.inside("s1", SPOOF)
    output, errors = watch.communicate(timeout=60 * strict.plane.patience)
    seconds = [json.loads(line) for line in (first, *output.splitlines())]
    assert len(seconds) >= 4
    assert sum(one["packets"] for second in seconds for one in second) == 3
    assert errors == ""


def test_drops_in_the_log_where_asked_for(strict: World) -> None:
    strict.on("hv1", "echo 'log_drops = 2' >> /etc/vnetd/vnetd.toml; pkill -HUP -x vnetd")
    try:
        strict.until(lambda: "settings read again" in strict.on("hv1", "tail -3 /var/log/vnetd.log"), 5, "the settings are read")
        strict.inside("s1", "sleep 1; " + SPOOF)
        words = strict.port_of("hv1", "s1")["tap"] + " of 's1': 3 ARP for another's address"
        strict.until(lambda: f"WARNING dropped at {words}" in strict.on("hv1", "tail -3 /var/log/vnetd.log"), 12, words)
    finally:
        strict.on("hv1", "sed -i /log_drops/d /etc/vnetd/vnetd.toml; pkill -HUP -x vnetd")
