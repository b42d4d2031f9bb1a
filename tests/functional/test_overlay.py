"""The main job: one XML on two hosts, guests in two VLANs that talk over GRE, and ports that do not lie."""

from __future__ import annotations

from conftest import ADDRESSES
from world import World


def test_guests_talk_inside_their_vlan_and_not_across(world: World) -> None:
    world.assert_all_talk(ADDRESSES)


def test_frames_cross_the_underlay_as_gre_with_the_segment_and_the_vlan(world: World) -> None:
    world.on("hv1", "timeout 10 tcpdump -lnevi eth0 -c 4 'ip proto 47 and ip[24:4] = 0x64' > /run/gre.txt 2>/dev/null & sleep 0.5; echo")
    assert world.pings("a1", ADDRESSES["a2"])
    world.until(lambda: "key=0x64" in world.on("hv1", "cat /run/gre.txt"), 10, "GRE frames with key 100")
    text = world.on("hv1", "cat /run/gre.txt")
    assert "vlan 10" in text, text


def test_a_foreign_source_mac_is_dropped_and_counted(world: World) -> None:
    before = world.port_of("hv1", "a1")["dropped"].get("foreign source MAC", 0)
    own = world.inside("a1", "cat /sys/class/net/eth0/address")[1].strip()
    change = "ip link set eth0 down; ip link set eth0 address {}; ip link set eth0 up"
    world.inside("a1", change.format("52:54:00:66:66:66"))
    try:
        assert not world.pings("a1", ADDRESSES["a2"])
        assert world.port_of("hv1", "a1")["dropped"]["foreign source MAC"] > before
        learned = world.on("hv2", "ovs-appctl fdb/show br-blue") + world.on("hv1", "ovs-appctl fdb/show br-blue")
        assert "66:66:66" not in learned
    finally:
        world.inside("a1", change.format(own))
    assert world.pings("a1", ADDRESSES["a2"])


def test_an_access_port_cannot_choose_its_vlan(world: World) -> None:
    """A tagged frame from an access port reaches nobody, in no VLAN, and is counted."""
    before = world.port_of("hv1", "a1")["dropped"].get("VLAN not allowed", 0)
    world.inside("a1", "ip link add link eth0 name eth0.20 type vlan id 20; ip addr add 10.0.0.77/24 dev eth0.20; ip link set eth0.20 up")
    try:
        assert world.inside("a1", f"arping -c 2 -w 2 -I eth0.20 {ADDRESSES['b1']}")[0] != 0
        assert world.port_of("hv1", "a1")["dropped"]["VLAN not allowed"] > before
    finally:
        world.inside("a1", "ip link del eth0.20")


def test_a_port_without_flows_is_silent(world: World) -> None:
    """What somebody plugs into the bridge by hand says nothing until a source claims it."""
    world.on(
        "hv1",
        "ip netns add stray; ip link add s0 type veth peer name s1 netns stray; ip link set s0 up;"
        "ip netns exec stray ip link set s1 up; ip netns exec stray ip addr add 10.0.0.99/24 dev s1;"
        "ovs-vsctl add-port br-blue s0 tag=10",
    )
    try:
        assert world.attempt("hv1", f"ip netns exec stray ping -c 2 -W 1 {ADDRESSES['a1']}").returncode != 0
        port = next(port for port in world.status("hv1")["ports"] if port["tap"] == "s0")
        assert port["state"] == "closed"
        world.assert_settled("hv1")
    finally:
        world.on("hv1", "ovs-vsctl del-port s0; ip link del s0; ip netns del stray")


def test_status_shows_network_port_and_tunnel(world: World) -> None:
    found = world.status("hv1")
    network = found["networks"][0]
    assert (network["name"], network["state"], network["overlay"]["segment"]) == ("blue", "up", 100)
    assert network["overlay"]["local"] == "192.0.2.11"
    assert {port["guest"]: (port["vlan"], port["state"]) for port in found["ports"]} == {"a1": ("VLAN 10", "up"), "b1": ("VLAN 20", "up")}
    assert ("192.0.2.12", "up") in {(tunnel["remote"], tunnel["state"]) for tunnel in found["tunnels"]}
    text = world.on("hv1", "vnetctl", "status")
    assert "blue" in text
    assert "a1" in text


def test_nobody_but_the_tunnels_end_answers_arp_for_it(world: World) -> None:
    """The kernel would, on the NIC below, and be faster: what it says peers' tunnels would believe, now or when it is asked again."""
    link = world.on("hv1", "ip route get 192.0.2.12").split()[2]
    end = world.on("hv2", f"cat /sys/class/net/{link}/address").strip()
    world.on("hv1", f"ip neigh flush dev {link} > /dev/null 2>&1; ping -c 1 -W 5 192.0.2.12")
    assert f"lladdr {end} " in world.on("hv1", f"ip neigh show 192.0.2.12 dev {link}")
