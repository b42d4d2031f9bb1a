"""What leads out of a network's bridge besides one NIC: bonds, patches to other bridges, and bridges that are a VLAN of another.

Most guests are network namespaces behind veth pairs, which ovs-ifup wires as it does
a tap: what passes here passes to a virtual machine. Each test begins and ends with the
rows that the hosts had before it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import NAMESPACE_DNS, uuid5

import pytest
from dataplane import chosen
from labkit.guest import GuestSpec
from labkit.shell import ip, try_run
from labs import started_lab
from world import World

HOSTS = ("hv1", "hv2")
ADDRESSES = {"g1": "10.1.0.1", "g2": "10.1.0.2", "g3": "10.1.0.3", "v1": "10.1.0.4"}
TAGGED = "<portgroup name='ten' default='yes'><vlan><tag id='10'/></vlan></portgroup><portgroup name='plain'/>"


@pytest.fixture(scope="module")
def lab() -> Iterator[World]:
    with started_lab("u", 2) as world:
        yield world


@pytest.fixture
def hosts(lab: World) -> Iterator[World]:
    """Two hosts; whatever a test makes there is gone from OVSDB when the test has ended its networks."""
    before = {host: _all_rows(lab, host) for host in HOSTS}
    yield lab
    for host in HOSTS:
        assert _all_rows(lab, host) == before[host]
        lab.assert_settled(host)


def _all_rows(world: World, host: str) -> list[str]:
    settings = world.on(host, "ovs-vsctl --columns=other_config,external_ids list Open_vSwitch")
    return [*world.rows(host), *settings.splitlines()]


def network_xml(name: str, metadata: str, groups: str = TAGGED) -> str:
    return (
        f"<network><name>{name}</name><uuid>{uuid5(NAMESPACE_DNS, name)}</uuid>"
        f"<metadata><v:network xmlns:v='urn:vnetd:network:1'>{metadata}</v:network></metadata>"
        f"<forward mode='bridge'/><bridge name='br-{name}'/><virtualport type='openvswitch'/>{groups}</network>"
    )


def bond_xml(nics: tuple[str, ...], words: str = "") -> str:
    inside = "".join(f"<v:nic dev='{nic}'/>" for nic in nics)
    return network_xml("wire", f"<v:uplink bond='bond0' {words}>{inside}</v:uplink>")


@contextmanager
def network(world: World, text: str, *hosts: str) -> Iterator[None]:
    """A network on these hosts; a second pass is empty while it runs."""
    name = text.partition("<name>")[2].partition("<")[0]
    try:
        world.start_xml(text, *hosts)
        for host in hosts:
            world.assert_settled(host)
        yield
        for host in hosts:
            world.assert_settled(host)
    finally:
        for host in hosts:
            world.attempt(host, f"virsh -q net-destroy {name}; virsh -q net-undefine {name}")


@contextmanager
def guest(world: World, host: str, name: str, network: str, group: str = "ten") -> Iterator[None]:
    """A guest of one NIC, wired by ovs-ifup."""
    mac = f"52:54:00:99:00:0{name[1:]}"
    file = f"<interface type='network'><mac address='{mac}'/><source network='{network}' portgroup='{group}'/></interface>"
    try:
        world.on(
            host,
            f"ip netns add {name}; ip link add {name} type veth peer name e0 netns {name}; ip -n {name} link set e0 address {mac} up;"
            f"ip -n {name} addr add {ADDRESSES[name]}/24 dev e0",
        )
        world.on(host, "tee", f"/etc/vnetd/taps/{name}.xml", stdin=file)
        world.on(host, f"/etc/vnetd/ovs-ifup {name}")
        yield
    finally:
        world.attempt(host, f"/etc/vnetd/ovs-ifdown {name}; rm -f /etc/vnetd/taps/{name}.xml; ip link del {name}; ip netns del {name}")


def pings(world: World, host: str, name: str, other: str, count: int = 3) -> bool:
    """Whether any of the pings is answered."""
    return world.attempt(host, f"ip netns exec {name} ping -q -i 0.2 -c {count} -W 1 {ADDRESSES[other]}").returncode == 0


@contextmanager
def nics(world: World, joined: bool) -> Iterator[None]:
    """b0 and b1 on both hosts: in one switch if ``joined``, else back to back, each with its like."""
    space, switch = f"{world.lab.prefix}-{{}}", world.lab.underlay
    try:
        for nic in ("b0", "b1"):
            if not joined:
                ip("link", "add", nic, "netns", space.format("hv1"), "type", "veth", "peer", "name", nic, "netns", space.format("hv2"))
                continue
            for host in HOSTS:
                ip("-n", switch, "link", "add", f"{host}-{nic}", "type", "veth", "peer", "name", nic, "netns", space.format(host))
                ip("-n", switch, "link", "set", f"{host}-{nic}", "master", "trunk", "up")
        yield
    finally:
        for nic in ("b0", "b1"):
            for host in HOSTS:
                try_run("ip", "-n", space.format(host), "link", "del", nic)


def bond_of(world: World, host: str) -> dict[str, dict[str, object]]:
    (found,) = [one for one in world.status(host)["networks"] if one["name"] == "wire"]
    return {nic["name"]: nic for nic in found["bond"]["members"]}


def test_a_bond_carries_a_vlan_and_goes_on_with_one_leg(hosts: World) -> None:
    with (
        nics(hosts, joined=True),
        network(hosts, bond_xml(("b0", "b1")), *HOSTS),
        guest(hosts, "hv1", "g1", "wire"),
        guest(hosts, "hv2", "g2", "wire"),
        guest(hosts, "hv2", "g3", "wire", "plain"),
    ):
        assert pings(hosts, "hv1", "g1", "g2")
        assert not pings(hosts, "hv1", "g1", "g3")
        bridge = hosts.on("hv1", "ovs-vsctl iface-to-br b0").strip()
        active = re.search(r"active member mac: \S+?\((b\d)\)", hosts.on("hv1", "ovs-appctl bond/show bond0"))
        assert active is not None
        switch_end = f"hv1-{active[1]}"
        ip("-n", hosts.lab.underlay, "link", "set", switch_end, "down")
        try:
            hosts.until(lambda: bond_of(hosts, "hv1")[active[1]]["link"] == "down", 5, "status says that the leg is down")
            assert pings(hosts, "hv1", "g1", "g2", count=10)
            hosts.assert_settled("hv1")
        finally:
            ip("-n", hosts.lab.underlay, "link", "set", switch_end, "up")
        dump = hosts.on("hv1", f"ovs-ofctl -O OpenFlow14 dump-flows --names --no-stats {bridge}")
        flows = sorted(line.split(", ", 1)[1].replace('"', "") for line in dump.splitlines() if "actions=" in line)
        patch = hosts.on("hv1", f"ovs-vsctl list-ports {bridge} | grep down-").strip()
        assert flows == [
            "priority=0 actions=drop",
            *sorted(f"priority=100,in_port={nic} actions=NORMAL" for nic in ("b0", "b1", patch)),
            "priority=200,dl_vlan=4095 actions=drop",
        ]


SLB = "mode='balance-slb'"


def test_a_guest_that_moves_away_from_a_bond_is_heard_and_reached_at_once(hosts: World) -> None:
    """NORMAL remembers that it was behind the patch, drops what comes from it by a NIC, and sends nothing back to where it came from."""
    with nics(hosts, joined=True), network(hosts, bond_xml(("b0", "b1"), SLB), *HOSTS), guest(hosts, "hv1", "g2", "wire"):
        with guest(hosts, "hv1", "g1", "wire"):
            assert pings(hosts, "hv1", "g1", "g2")
        with guest(hosts, "hv2", "g1", "wire"):
            assert pings(hosts, "hv1", "g2", "g1", count=5)
        with guest(hosts, "hv1", "g1", "wire"):
            assert pings(hosts, "hv1", "g1", "g2")
        with guest(hosts, "hv2", "g1", "wire"):
            assert pings(hosts, "hv2", "g1", "g2", count=5)
        for host in HOSTS:
            hosts.assert_settled(host)


def test_a_guest_migrates_away_from_a_bond_and_its_stream_goes_on(hosts: World) -> None:
    with nics(hosts, joined=True), network(hosts, bond_xml(("b0", "b1"), SLB), *HOSTS), guest(hosts, "hv1", "g2", "wire"):
        # A guest that sends gratuitous ARP itself would be let through: NORMAL makes an exception for that, and for QEMU's RARP none.
        hosts.guest("hv1", GuestSpec("v1", "wire", "ten", addresses=[f"{ADDRESSES['v1']}/24"], announces=False))
        try:
            assert pings(hosts, "hv1", "g2", "v1")
            hosts.on("hv1", f"ip netns exec g2 ping -q -i 0.2 -w 20 {ADDRESSES['v1']} > /dev/null 2>&1 &")
            hosts.on("hv1", "virsh -q migrate --live --p2p v1 qemu+tcp://hv2/system")
            assert pings(hosts, "hv1", "g2", "v1")
        finally:
            for host in HOSTS:
                hosts.attempt(host, "virsh -q destroy v1; virsh -q undefine v1")


def test_a_bonds_bridge_forgets_within_seconds_who_was_behind_its_patch(hosts: World) -> None:
    with nics(hosts, joined=True), guest_pair(hosts, bond_xml(("b0", "b1"), SLB)):
        bridge = hosts.on("hv1", "ovs-vsctl iface-to-br b0").strip()
        aging = f"ovs-vsctl get bridge {bridge} other_config:mac-aging-time"
        assert hosts.on("hv1", aging).strip() == '"15"'
        hosts.on("hv1", f"ovs-vsctl set bridge {bridge} other_config:mac-aging-time=300")
        hosts.until(lambda: hosts.on("hv1", aging).strip() == '"15"', 3, "vnetd puts it back")
        assert hosts.attempt("hv1", "ovs-vsctl get bridge br-wire other_config:mac-aging-time").returncode != 0


def test_the_bonds_own_bridge_is_no_ear_of_the_hosts(hosts: World) -> None:
    """NORMAL floods to every port that may have the VLAN, and the host's own must not be one, even when somebody sets it up."""
    with nics(hosts, joined=True), guest_pair(hosts, bond_xml(("b0", "b1"))), guest(hosts, "hv2", "g3", "wire", "plain"):
        bridge = hosts.on("hv1", "ovs-vsctl iface-to-br b0").strip()
        hosts.on("hv1", f"ip link set {bridge} up")
        assert _heard(hosts, bridge) == 0
        # Unsealed, it would have heard: vnetd is away for that, since it puts the seal back at once.
        hosts.stop_daemon("hv1")
        hosts.on("hv1", f"ovs-vsctl clear port {bridge} trunks -- clear port {bridge} vlan_mode")
        assert _heard(hosts, bridge) > 0
        hosts.restart_daemon("hv1")
        hosts.assert_settled("hv1")
        assert _heard(hosts, bridge) == 0
        hosts.on("hv1", f"ip link set {bridge} down")


def _heard(world: World, bridge: str) -> int:
    """How many frames come out of a bridge's own port while guests on the other host speak to everybody."""
    world.on("hv1", f"timeout 3 tcpdump -nni {bridge} > /run/ear.txt 2>&1 & sleep 0.7")
    for name in ("g2", "g3"):
        world.attempt("hv2", f"ip netns exec {name} ping -q -c 4 -i 0.2 -W 1 -b 10.1.0.255")
    world.until(lambda: not world.attempt("hv1", "pgrep -x tcpdump").stdout.strip(), 6, "tcpdump ends")
    found = re.search(r"^(\d+) packets? captured", world.on("hv1", "cat /run/ear.txt"), re.MULTILINE)
    assert found is not None
    return int(found[1])


def test_a_nic_joins_and_leaves_a_bond_and_the_others_are_not_touched(hosts: World) -> None:
    with nics(hosts, joined=True), guest_pair(hosts, bond_xml(("b0", "b1"))):
        number = hosts.on("hv1", "ovs-vsctl get interface b1 ofport")
        try_run("ip", "-n", f"{hosts.lab.prefix}-hv1", "link", "del", "b0")
        hosts.until(lambda: bond_of(hosts, "hv1")["b0"]["link"] == "missing", 5, "b0 is missing")
        bridge = hosts.on("hv1", "ovs-vsctl iface-to-br b1").strip()
        hosts.until(lambda: "b0" not in hosts.on("hv1", f"ovs-vsctl list-ifaces {bridge}").split(), 5, "b0 leaves the bond")
        assert pings(hosts, "hv1", "g1", "g2", count=10)
        (found,) = hosts.status("hv1")["networks"]
        assert (found["state"], found["error"]) == ("notice", "its bond bond0 works without b0, which is not on this host")
        hosts.assert_settled("hv1")
        space = f"{hosts.lab.prefix}-hv1"
        ip("-n", hosts.lab.underlay, "link", "add", "hv1-b0", "type", "veth", "peer", "name", "b0", "netns", space)
        ip("-n", hosts.lab.underlay, "link", "set", "hv1-b0", "master", "trunk", "up")
        hosts.until(lambda: bond_of(hosts, "hv1")["b0"]["link"] == "up", 5, "b0 is back")
        assert hosts.on("hv1", "ovs-vsctl get interface b1 ofport") == number
        assert pings(hosts, "hv1", "g1", "g2")


@contextmanager
def guest_pair(world: World, text: str) -> Iterator[None]:
    """A network on both hosts with a guest on each."""
    with network(world, text, *HOSTS), guest(world, "hv1", "g1", "wire"), guest(world, "hv2", "g2", "wire"):
        yield


@pytest.mark.parametrize("mode", ["balance-tcp", "active-backup"])
def test_two_bonds_negotiate_by_lacp(hosts: World, mode: str) -> None:
    with nics(hosts, joined=False), guest_pair(hosts, bond_xml(("b0", "b1"), f"mode='{mode}' lacp='active'")):
        for host in HOSTS:
            hosts.until(lambda host=host: all(nic["lacp"] for nic in bond_of(hosts, host).values()), 10, f"LACP on {host}")
            assert "lacp_status: negotiated" in hosts.on(host, "ovs-appctl bond/show bond0")
            assert f"bond0 ({mode}, LACP): b0 up, b1 up" in hosts.on(host, "vnetctl", "status")
        hosts.until(lambda: pings(hosts, "hv1", "g1", "g2"), 10, "a ping through the bond")


def test_a_single_uplink_becomes_a_bond_and_one_again(hosts: World) -> None:
    """The NIC changes bridges, and nothing is left of where it was."""
    with nics(hosts, joined=True), guest_pair(hosts, network_xml("wire", "<v:uplink dev='b0'/>")):
        assert pings(hosts, "hv1", "g1", "g2")
        single = [line for line in hosts.rows("hv1") if "ofport" not in line]
        for text in (bond_xml(("b0", "b1")), network_xml("wire", "<v:uplink dev='b0'/>")):
            hosts.on("hv1", "tee", "/run/network.xml", stdin=text)
            hosts.on("hv1", "virsh -q net-define /run/network.xml && vnetctl apply")
            hosts.assert_settled("hv1")
            hosts.until(lambda: pings(hosts, "hv1", "g1", "g2"), 10, "a ping")
        assert [line for line in hosts.rows("hv1") if "ofport" not in line] == single


@pytest.mark.parametrize("uplink", ["<v:uplink dev='b0'/>", "<v:uplink bond='bond0'><v:nic dev='b0'/><v:nic dev='b1'/></v:uplink>"])
def test_the_nic_of_the_default_route_is_refused_alone_and_in_a_bond(hosts: World, uplink: str) -> None:
    with nics(hosts, joined=True):
        hosts.on("hv1", "ip link set b0 up; ip addr add 203.0.113.1/24 dev b0; ip route add default via 203.0.113.254 dev b0")
        hosts.on("hv1", "tee", "/run/network.xml", stdin=network_xml("wire", uplink))
        hosts.on("hv1", "virsh -q net-define /run/network.xml")
        try:
            done = hosts.attempt("hv1", "virsh net-start wire")
            assert done.returncode != 0
            assert "its uplink b0 carries this host's default route, which would be cut" in done.stderr
        finally:
            hosts.on("hv1", "virsh -q net-undefine wire")


def test_an_address_on_an_uplink_is_told_with_what_to_do(hosts: World) -> None:
    with nics(hosts, joined=True), network(hosts, network_xml("wire", "<v:uplink dev='b0'/>"), "hv1"):
        hosts.on("hv1", "ip addr add 203.0.113.1/24 dev b0")
        (found,) = hosts.status("hv1")["networks"]
        assert found["state"] == "notice"
        assert "its uplink b0 has the address 203.0.113.1, which nobody reaches there" in found["error"]
        assert "ip address del 203.0.113.1/24 dev b0; ip address add 203.0.113.1/24 dev br-wire" in found["error"]


def test_a_change_of_an_uplink_that_cannot_be_had_leaves_what_works_and_what_is_somebodys(hosts: World) -> None:
    with _somebodys_bridge(hosts), nics(hosts, joined=True), guest_pair(hosts, bond_xml(("b0", "b1"))):
        hosts.on(
            "hv1",
            "ip link add b2 up type veth peer name b3; ip addr add 203.0.113.1/24 dev b2; ip route add default via 203.0.113.254 dev b2",
        )
        before = hosts.rows("hv1")
        for text, said in (
            (bond_xml(("b0", "b1", "b2")), "its uplink b2 carries this host's default route"),
            (network_xml("wire", "<v:uplink dev='br0'/>"), "its uplink br0 is a bridge of Open vSwitch"),
            (network_xml("wire", "<v:uplink dev='g2'/>"), "its uplink g2 is in bridge br0 already, by hand"),
            (network_xml("wire", "<v:uplink dev='g1'/>"), "its uplink g1 is a guest's, in bridge br-wire"),
        ):
            hosts.on("hv1", "tee", "/run/network.xml", stdin=text)
            hosts.on("hv1", "virsh -q net-define /run/network.xml; vnetctl apply; true")
            (found,) = hosts.status("hv1")["networks"]
            assert found["state"] == "error"
            assert said in found["error"]
            assert {name: nic["link"] for name, nic in bond_of(hosts, "hv1").items()} == {"b0": "up", "b1": "up"}
            assert hosts.rows("hv1") == before
            assert pings(hosts, "hv1", "g1", "g2")
        hosts.on("hv1", "tee", "/run/network.xml", stdin=bond_xml(("b0", "b1")))
        hosts.on("hv1", "virsh -q net-define /run/network.xml && vnetctl apply; ip link del b2")


def test_a_patch_joins_somebodys_bridge_and_leaves_it_as_it_was(hosts: World) -> None:
    with _somebodys_bridge(hosts):
        before = hosts.rows("hv1")
        with network(hosts, network_xml("lan", "<v:patch bridge='br0'/>"), "hv1"), guest(hosts, "hv1", "g1", "lan", "plain"):
            assert hosts.attempt("hv1", f"ip netns exec g1 ping -q -c 3 -i 0.2 -W 1 {ADDRESSES['g2']}").returncode == 0
            (found,) = hosts.status("hv1")["networks"]
            assert [(one["bridge"], one["state"]) for one in found["joints"]] == [("br0", "up")]
            hosts.on("hv1", "ovs-vsctl del-br br0")
            hosts.until(lambda: "waits for bridge br0" in str(hosts.status("hv1")["networks"][0]["error"]), 5, "the patch waits")
            hosts.assert_settled("hv1")
            hosts.on("hv1", _BR0)
            hosts.until(lambda: hosts.status("hv1")["networks"][0]["joints"], 5, "the patch comes back with the bridge")
            assert hosts.attempt("hv1", f"ip netns exec g1 ping -q -c 3 -i 0.2 -W 1 {ADDRESSES['g2']}").returncode == 0
        hosts.on("hv1", "virsh -q net-list --name | grep -qx lan && exit 1; true")
        assert hosts.rows("hv1") == before


_MINE = "ovs-vsctl set port g2 external_ids:mine=yes"
_BR0 = f"ovs-vsctl add-br br0 -- set bridge br0 datapath_type={chosen().datapath_type} -- add-port br0 g2; {_MINE}"


@contextmanager
def _somebodys_bridge(world: World) -> Iterator[None]:
    """br0, with a port that vnetd knows nothing of."""
    try:
        world.on(
            "hv1",
            f"ip netns add g2; ip link add g2 type veth peer name e0 netns g2; ip link set g2 up; ip -n g2 link set e0 up;"
            f"ip -n g2 addr add {ADDRESSES['g2']}/24 dev e0; {_BR0}",
        )
        yield
    finally:
        world.attempt("hv1", "ovs-vsctl --if-exists del-br br0; ip link del g2; ip netns del g2")


def test_patches_that_would_close_a_circle_are_refused_in_words(hosts: World) -> None:
    plain = "<portgroup name='plain'/>"
    with (
        network(hosts, network_xml("one", "<v:patch bridge='br-two'/>", plain), "hv1"),
        network(hosts, network_xml("two", "", plain), "hv1"),
        network(hosts, network_xml("three", "<v:patch bridge='br-one'/>", plain), "hv1"),
        guest(hosts, "hv1", "g1", "two", "plain"),
        guest(hosts, "hv1", "g2", "three", "plain"),
    ):
        assert pings(hosts, "hv1", "g1", "g2")
        hosts.on("hv1", "tee", "/run/network.xml", stdin=network_xml("two", "<v:patch bridge='br-three'/>", plain))
        hosts.on("hv1", "virsh -q net-define /run/network.xml; vnetctl apply; true")
        error = {one["name"]: one["error"] for one in hosts.status("hv1")["networks"]}["two"]
        assert "would close a circle" in error
        assert pings(hosts, "hv1", "g1", "g2")


def test_a_bridge_that_is_a_vlan_of_another_gives_its_guests_that_vlan(hosts: World) -> None:
    plain = "<portgroup name='plain'/>"
    with network(hosts, network_xml("lan", ""), "hv1"):
        hosts.on("hv1", "ovs-vsctl add-br br-ten br-lan 10")
        with (
            network(hosts, network_xml("ten", "", plain), "hv1"),
            guest(hosts, "hv1", "g1", "lan", "ten"),
            guest(hosts, "hv1", "g2", "ten", "plain"),
            guest(hosts, "hv1", "g3", "lan", "plain"),
        ):
            assert pings(hosts, "hv1", "g1", "g2")
            assert not pings(hosts, "hv1", "g3", "g2")
            assert hosts.on("hv1", "ovs-vsctl get port g2 tag vlan_mode").split() == ["10", "access"]
            assert hosts.on("hv1", "ovs-vsctl iface-to-br g2").strip() == "br-ten"
            (found,) = [one for one in hosts.status("hv1")["networks"] if one["name"] == "ten"]
            assert (found["state"], found["parent"]) == ("up", {"bridge": "br-lan", "vlan": 10})
            hosts.guest("hv1", GuestSpec("v1", "ten", "plain", addresses=[f"{ADDRESSES['v1']}/24"]))
            try:
                assert pings(hosts, "hv1", "g1", "v1")
                assert not pings(hosts, "hv1", "g3", "v1")
                hosts.assert_settled("hv1")
            finally:
                hosts.on("hv1", "virsh -q destroy v1; virsh -q undefine v1")
            assert "br-ten" not in hosts.on("hv1", "ovs-vsctl --format=csv --no-headings --columns=name list bridge")
        hosts.on("hv1", "ovs-vsctl del-br br-ten")


def test_qinq_needs_no_setting_of_open_vswitchs(hosts: World) -> None:
    qinq = network_xml(
        "metro",
        "<v:portgroup name='customer'><v:vlan mode='dot1q-tunnel' ethertype='802.1q'><v:tag id='7'/></v:vlan></v:portgroup>",
        "<portgroup name='customer'><vlan><tag id='100'/></vlan></portgroup>",
    )
    with network(hosts, qinq, "hv1"), guest(hosts, "hv1", "g1", "metro", "customer"):
        row = hosts.on("hv1", "ovs-vsctl get port g1 vlan_mode tag cvlans other_config").split()
        assert row == ["dot1q-tunnel", "100", "[7]", '{qinq-ethtype="802.1q"}']
        assert "vlan-limit" not in hosts.on("hv1", "ovs-vsctl get open_vswitch . other_config")


def test_a_vlan_limit_that_hides_second_tags_is_noticed_until_it_is_gone(hosts: World) -> None:
    """By status and by the daemon's log, without anything else that happens, and after a restart of Open vSwitch's."""
    fact = "switch Open vSwitch: its other_config:vlan-limit is 2 and not 1"
    told = "grep -c '^WARNING switch Open vSwitch:' /var/log/vnetd.log"
    over = "grep -c '^INFO no longer: switch Open vSwitch:' /var/log/vnetd.log"
    with network(hosts, network_xml("lan", ""), "hv1"):
        hosts.on("hv1", ": > /var/log/vnetd.log; ovs-vsctl set open_vswitch . other_config:vlan-limit=2")
        try:
            hosts.until(lambda: hosts.attempt("hv1", told).stdout.strip() == "1", 3, "the daemon sees it by itself")
            done = hosts.attempt("hv1", "vnetctl", "status")
            assert (done.returncode, fact in done.stdout) == (0, True)
            hosts.on("hv1", "pkill -9 -x ovs-vswitchd && sleep 0.5 && /run/start-vswitchd")
            assert fact in hosts.attempt("hv1", "vnetctl", "status").stdout
            (problem,) = hosts.status("hv1")["problems"]
            hosts.on("hv1", problem["text"].rpartition("; ")[2])
            hosts.until(lambda: hosts.attempt("hv1", over).stdout.strip() == "1", 3, "the daemon sees that it is mended")
            done = hosts.attempt("hv1", "vnetctl", "status")
            assert (done.returncode, "vlan-limit" in done.stdout) == (0, False)
        finally:
            hosts.on("hv1", "ovs-vsctl remove open_vswitch . other_config vlan-limit")


def test_nothing_wakes_the_daemon_while_nothing_happens(hosts: World) -> None:
    """Open vSwitch writes statistics all the time; columns that change by themselves are not followed."""
    with nics(hosts, joined=True), guest_pair(hosts, bond_xml(("b0", "b1"))):
        hosts.on("hv1", "ovs-vsctl set open_vswitch . other_config:stats-update-interval=1000")
        try:
            pid = hosts.status("hv1")["daemon"]["pid"]
            assert pings(hosts, "hv1", "g1", "g2")
            time.sleep(2)
            before = _ticks(hosts, pid)
            assert pings(hosts, "hv1", "g1", "g2", count=25)
            spent = _ticks(hosts, pid) - before
        finally:
            hosts.on("hv1", "ovs-vsctl remove open_vswitch . other_config stats-update-interval")
    assert spent <= 10 * hosts.plane.patience, f"{spent / 100} s of CPU in five seconds without an event"


def _ticks(world: World, pid: int) -> int:
    """Hundredths of a second of CPU."""
    words = world.on("hv1", f"cat /proc/{pid}/stat").rpartition(")")[2].split()
    return int(words[11]) + int(words[12])
