"""What the data plane can do, as the host's own Open vSwitch and kernel answer; nothing of the asking stays behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from labs import started_lab
from mesh.guests import Net
from world import World

NET = Net("plane", "geneve", 7, 1)


@pytest.fixture(scope="module")
def host() -> Iterator[World]:
    with started_lab("p", 1, NET.xml((1, 2))) as world:
        yield world


def test_status_tells_what_the_data_plane_can_do(host: World) -> None:
    found = host.status("hv1")["dataplane"]
    kind = host.on("hv1", "ovs-vsctl get bridge br-plane datapath_type").strip().strip('"') or "system"
    printed = host.on("hv1", "ovs-appctl dpif/show-dp-features br-plane")
    assert found["type"] == kind
    assert found["features"] == dict(line.split(": ", 1) for line in printed.splitlines() if ": " in line)
    assert found["openvswitch"] in host.on("hv1", "ovs-vswitchd --version")
    assert f"max_meter:{found['meters']} " in host.on("hv1", "ovs-ofctl -O OpenFlow14 meter-features br-plane")
    assert found["threads"] > 0
    assert found["kernel"] == host.on("hv1", "uname -r").strip()
    assert found["words"] in host.on("hv1", "vnetctl status")
    print(f"\n{found['words']}")


def test_what_the_kernel_has_is_as_the_usual_tools_find_it(host: World) -> None:
    """Each is made for real, in a namespace of its own."""
    found = host.status("hv1")["dataplane"]
    links = {
        "gretap": "gretap external",
        "ip6gretap": "ip6gretap external",
        "vxlan": "vxlan external dstport 4789",
        "geneve": "geneve external",
        "ifb": "ifb",
    }
    parts = {
        "act_gact": "tc actions add action gact drop index 77",
        "act_csum": "tc actions add action csum ip4h index 77",
        "act_mirred": "tc actions add action mirred egress redirect dev lo index 77",
        "clsact": "ip link add dev d0 type veth peer name d1 && tc qdisc add dev d0 clsact",
        "cls_bpf": "tc filter add dev d0 ingress bpf bytecode '1,6 0 0 0,'",
    }
    host.on("hv1", "ip netns add scratch")
    try:
        for kind, there in found["links"].items():
            made = host.attempt("hv1", f"ip -n scratch link add x type {links[kind]} && ip -n scratch link del x")
            assert there == (made.returncode == 0), f"{kind}: {made.stderr}"
        for kind, there in sorted(found["tc"].items(), key=lambda item: list(parts).index(item[0])):
            made = host.attempt("hv1", f'ip netns exec scratch sh -c "{parts[kind]}"')
            assert there == (made.returncode == 0), f"{kind}: {made.stderr}"
    finally:
        host.on("hv1", "ip netns del scratch")


def test_nothing_of_the_asking_stays(host: World) -> None:
    for kind in ("gact", "csum", "mirred"):
        assert "index" not in host.on("hv1", f"tc actions ls action {kind}")
    assert "clsact" not in host.on("hv1", "tc qdisc show dev br-plane")
    host.assert_settled("hv1")


def test_it_is_asked_again_when_ovs_vswitchd_was_restarted(host: World) -> None:
    """One that says nothing new is not asked: the log has a line for each time."""
    lines = "grep -c 'data plane' /var/log/vnetd.log"
    before = int(host.on("hv1", lines))
    host.on("hv1", "vnetctl status")
    assert int(host.on("hv1", lines)) == before
    host.on("hv1", "kill -9 $(cat /run/openvswitch/ovs-vswitchd.pid); sleep 0.2; /run/start-vswitchd")
    host.until(lambda: int(host.on("hv1", lines)) == before + 1, 30, "it was asked again")
