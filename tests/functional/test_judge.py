"""The kernel's judge of a tap as its operator meets it: what is said of it, and hands and accidents that would take it away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from attacks.remote import Agent
from early_emulator import packet
from world import World

pytestmark = pytest.mark.kernel("the userspace data plane has one parser, and the flows judge")

MAC, TAP = "52:54:00:7a:00:01", "jt0"
FORGED = b"\xff" * 6 + bytes.fromhex(MAC.replace(":", "")) + b"\x08\x00" + packet(bytes([10, 0, 0, 66]), b"not its own address")
FILE = f"""<interface><mac address='{MAC}'/><source network='blue' portgroup='vlan-10'/>
  <vnet:interface xmlns:vnet='urn:vnetd:domain:1'>
    <vnet:policy guard='strict'/><vnet:address address='10.0.0.71'/>
  </vnet:interface></interface>"""


@pytest.fixture
def judged(world: World) -> Iterator[tuple[World, Agent]]:
    """A strict tap whose other end the test holds."""
    agent = Agent(world.lab, "hv1")
    agent.call("open", name=TAP, tap=TAP)
    world.on("hv1", "tee", f"/etc/vnetd/taps/{TAP}.xml", stdin=FILE)
    world.on("hv1", f"/etc/vnetd/ovs-ifup {TAP}")
    yield world, agent
    world.on("hv1", f"/etc/vnetd/ovs-ifdown {TAP}; rm /etc/vnetd/taps/{TAP}.xml")
    agent.end()


def actions(world: World) -> list[tuple[int, dict[str, Any]]]:
    """The action of each filter at the tap's ingress, with the filter's preference, in order."""
    found = json.loads(world.on("hv1", f"tc -s -j filter show dev {TAP} ingress"))
    return [(one["pref"], one["options"]["actions"][0]) for one in found if "actions" in one.get("options", {})]


def filters(world: World) -> list[str]:
    """What stands at the tap's ingress."""
    return [f"{preference} {action['kind']}" for preference, action in actions(world)]


def refused(world: World) -> int:
    """How many frames the judge has dropped."""
    dropping = [action for _, action in actions(world) if action.get("control_action", {}).get("type") == "drop"]
    return sum(int(action["stats"]["packets"]) for action in dropping)


def forged(world: World, agent: Agent, times: int = 3) -> int:
    """How many forged packets were counted for the tap of so many that it sent."""

    def counted() -> int:
        return sum(int(one["packets"]) for one in world.drops("hv1", TAP) if one["reason"] == "foreign IPv4 source")

    before = counted()
    send(agent, times)
    return counted() - before


def send(agent: Agent, times: int) -> None:
    """Forged packets from the guest."""
    answer = agent.call("send", name=TAP, frames=[FORGED.hex()] * times)
    assert answer["errors"] == []


def test_it_is_there_counts_and_is_shown(judged: tuple[World, Agent]) -> None:
    world, agent = judged
    there = filters(world)
    assert there[0].startswith("256 csum")
    assert there[1].startswith("257 mirred")
    assert {one.split()[1] for one in there[2:]} == {"gact"}
    assert forged(world, agent) == 3
    assert refused(world) == 3, "the flows were not asked"


def test_hands_on_it_are_found_at_once(judged: tuple[World, Agent]) -> None:
    world, agent = judged
    whole = filters(world)
    for hand in (
        f"tc filter del dev {TAP} ingress pref 260",
        f"tc filter del dev {TAP} ingress",
        f"tc qdisc del dev {TAP} clsact",
        f"tc filter replace dev {TAP} ingress pref 257 handle 1 bpf bytecode '1,6 0 0 4294967295' action pass",
        "ip link del vnetd-sums",
        "ip link set vnetd-sums down",
        "ethtool -K vnetd-sums tx on",
    ):
        world.on("hv1", f"{hand} > /dev/null")
        world.until(lambda: filters(world) == whole, 10, f"the judge is whole again after: {hand}")
        world.until(lambda: world.attempt("hv1", "vnetctl", "plan").returncode == 0, 10, f"nothing is left to do after: {hand}")
        assert forged(world, agent) == 3, hand


def test_it_needs_no_daemon(judged: tuple[World, Agent]) -> None:
    world, agent = judged
    whole, before = filters(world), refused(world)
    try:
        world.stop_daemon("hv1", "KILL")
        world.on("hv1", "pkill -KILL -x ovs-vswitchd")
        send(agent, 3)
        assert filters(world) == whole
        assert refused(world) == before + 3
    finally:
        world.on("hv1", "/run/start-vswitchd; /run/start-vnetd")
    world.until(lambda: world.attempt("hv1", "vnetctl", "plan").returncode == 0, 30, "all is in order again")


def test_somebody_elses_filter_before_it_is_told_and_left_alone(judged: tuple[World, Agent]) -> None:
    world, agent = judged
    world.on("hv1", f"tc filter add dev {TAP} ingress pref 9 matchall action continue")

    def told() -> bool:
        return any("stands before its judge" in one["text"] for one in world.status("hv1")["problems"])

    world.until(told, 40, "status says that a filter stands before the judge")
    assert forged(world, agent) == 3
    world.on("hv1", f"tc filter del dev {TAP} ingress pref 9")
    world.until(lambda: not told(), 40, "status says so no longer")


def test_it_goes_with_the_guard_and_with_the_tap(judged: tuple[World, Agent]) -> None:
    world, _ = judged
    strict = len(filters(world))
    world.on("hv1", "tee", f"/etc/vnetd/taps/{TAP}.xml", stdin=FILE.replace("strict", "none"))
    world.on("hv1", f"/etc/vnetd/ovs-ifup {TAP}")
    assert 0 < len(filters(world)) < strict
    world.on("hv1", f"/etc/vnetd/ovs-ifdown {TAP}")
    world.until(lambda: not world.on("hv1", f"tc filter show dev {TAP} ingress").strip(), 10, "a tap that is nobody's has no judge")
    world.on("hv1", "tee", f"/etc/vnetd/taps/{TAP}.xml", stdin=FILE)
    world.on("hv1", f"/etc/vnetd/ovs-ifup {TAP}")
    assert len(filters(world)) == strict
