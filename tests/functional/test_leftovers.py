"""What vnetd makes goes when its reason goes, and what a user made by hand stays to the letter."""

from __future__ import annotations

from dataplane import chosen
from labkit.guest import GuestSpec
from labkit.hypervisor import Lab
from world import XML, World

BY_HAND = (
    f"ovs-vsctl add-br br-user -- set bridge br-user datapath_type={chosen().datapath_type} external_ids:owner=me"
    " -- add-port br-user u0 tag=33 -- set interface u0 type=internal"
    " -- add-port br-user ugre -- set interface ugre type=gre options:remote_ip=192.0.2.77 options:key=7"
    " -- --id=@q create qos type=linux-htb other-config:max-rate=1000000 -- set port u0 qos=@q;"
    "ovs-ofctl add-flow br-user priority=7,cookie=0x5,dl_type=0x0800,actions=drop"
)
FILES = "find /etc/libvirt/hooks /etc/vnetd /run/vnetd /etc/libvirt/qemu -type f | sort"


def test_nothing_is_left_with_and_without_the_daemon(fresh_lab: Lab) -> None:
    """From before the first network to after the last: rows, flows, meters, links, files and processes are the same."""
    with fresh_lab.locked():
        fresh_lab.up(1, daemon=False)
    world = World(fresh_lab)
    world.on("hv1", BY_HAND)
    _cycle(world)
    before = _everything(world)
    _cycle(world)
    assert _everything(world) == before
    world.on("hv1", "/run/start-vnetd")
    before = _everything(world)
    _cycle(world)
    world.until(lambda: _everything(world) == before, 5, "as before")


def _cycle(world: World) -> None:
    """A network, a guest, a tap; then all of it gone again."""
    hand = _by_hand(world)
    world.on("hv1", f"virsh -q net-define {XML}/overlay-gre.xml && virsh -q net-start blue")
    world.guest("hv1", GuestSpec("c1", "blue", "vlan-10", mtu=1400), wait=False)
    world.on(
        "hv1",
        "ip tuntap add tapx mode tap; printf \"<interface><mac address='52:54:00:00:00:0c'/><source network='blue'/>"
        "<bandwidth><inbound average='100'/><outbound average='100'/></bandwidth></interface>\" > /etc/vnetd/taps/tapx.xml;"
        "/etc/vnetd/ovs-ifup tapx",
    )
    assert {port["state"] for port in world.status("hv1")["ports"]} == {"up"}
    world.assert_settled("hv1")
    assert _by_hand(world) == hand
    world.on("hv1", "/etc/vnetd/ovs-ifdown tapx; ip link del tapx; rm /etc/vnetd/taps/tapx.xml")
    world.on("hv1", "virsh -q destroy c1; virsh -q undefine c1; virsh -q net-destroy blue; virsh -q net-undefine blue")
    assert _by_hand(world) == hand


def _by_hand(world: World) -> str:
    return world.on(
        "hv1",
        "ovs-vsctl list port u0; ovs-vsctl list bridge br-user | grep -v -e status -e statistics; ovs-ofctl dump-flows --no-stats br-user;"
        "ovs-vsctl --columns=options,type list interface ugre; ovs-vsctl --bare --columns=_uuid find qos other_config:max-rate=1000000",
    ).replace("\n\n", "\n")


def _everything(world: World) -> list[object]:
    tools = {"ps", "sh", "bash", "sleep", "nsenter", "env"}
    processes = sorted(set(world.on("hv1", "ps", "-eo", "comm=").split()) - tools)
    return [
        world.rows("hv1"),
        world.flows("hv1"),
        world.on("hv1", FILES),
        world.on("hv1", "ls /sys/class/net"),
        processes,
        world.on("hv1", "ovs-vsctl --bare --columns=_uuid list qos; ovs-vsctl --bare --columns=_uuid list queue"),
    ]


POWER_OFF = (
    "pkill -9 qemu-system; pkill -9 libvirtd; pkill -9 virtlogd; pkill -9 -x vnetd;"
    "pkill -9 ovs-vswitchd; pkill -9 ovsdb-server; sleep 0.5;"
    "rm -rf /run/vnetd /run/libvirt/* /run/libvirtd.pid /run/virtlogd.pid"
)
BOOT = "/run/start-ovsdb; /run/start-vswitchd; /run/start-vnetd"


def test_the_next_boot_meets_no_port_of_the_last_one(fresh_lab: Lab) -> None:
    """The host loses power with a guest running: OVSDB's file remembers its port, and the tap is gone."""
    with fresh_lab.locked():
        fresh_lab.up(1)
    world = World(fresh_lab)
    world.start_network("overlay-gre.xml", "hv1")
    world.on("hv1", "virsh -q net-autostart blue")
    world.guest("hv1", GuestSpec("c1", "blue", "vlan-10", mtu=1400), wait=False)
    flows = world.flows("hv1")
    world.on("hv1", POWER_OFF)
    world.on("hv1", BOOT)
    assert "vnet" not in world.on("hv1", "ovs-vsctl list-ports br-blue"), "gone before libvirt starts any guest"
    world.on("hv1", "/run/start-libvirtd")
    world.until(lambda: world.attempt("hv1", "virsh -q list").returncode == 0, 15, "libvirtd is up")
    world.on("hv1", "virsh -q start c1")
    assert world.port_of("hv1", "c1")["state"] == "up"
    assert world.flows("hv1") == flows
    world.assert_settled("hv1")


def test_a_users_port_in_vnetds_bridge_keeps_the_bridge(world: World) -> None:
    """net-destroy takes away what vnetd made in the bridge; the rest stays, and status says why."""
    world.on("hv1", "ovs-vsctl add-port br-blue u1 tag=5 -- set interface u1 type=internal external_ids:mine=yes")
    try:
        world.on("hv1", "virsh -q net-destroy blue")
        assert world.on("hv1", "ovs-vsctl list-ports br-blue").split() == ["u1"]
        assert world.on("hv1", "ovs-ofctl -O OpenFlow14 dump-flows --no-stats br-blue") == ""
        problems = [problem["text"] for problem in world.status("hv1")["problems"]]
        assert any("kept for u1" in text for text in problems), problems
    finally:
        world.on("hv1", "ovs-vsctl del-port u1; virsh -q net-start blue")
    world.until(lambda: world.pings("a1", "10.0.0.2"), 10, "traffic again")


def test_a_bridge_made_by_hand_is_not_taken(world: World) -> None:
    """A network whose bridge is somebody else's is refused in one sentence, and the bridge is as before."""
    world.on("hv1", f"ovs-vsctl add-br br-flat -- set bridge br-flat datapath_type={chosen().datapath_type} external_ids:mine=yes")
    try:
        bridge = world.on("hv1", "ovs-vsctl list bridge br-flat")
        text = (XML / "isolated.xml").read_text(encoding="utf-8")
        name = text.split("<bridge name='")[1].split("'")[0]
        world.on("hv1", "tee", "/run/n.xml", stdin=text.replace(name, "br-flat"))
        world.on("hv1", "virsh -q net-define /run/n.xml")
        network = world.on("hv1", "virsh net-list --all --name").split()
        other = next(one for one in network if one != "blue")
        done = world.attempt("hv1", f"virsh net-start {other}")
        assert done.returncode != 0
        assert "bridge br-flat is there already and vnetd did not make it" in done.stderr
        assert "Traceback" not in done.stderr
        assert world.on("hv1", "ovs-vsctl list bridge br-flat") == bridge
        world.on("hv1", f"virsh -q net-undefine {other}")
    finally:
        world.on("hv1", "ovs-vsctl del-br br-flat")
