"""What else is wrong on a host neither hides a peer's death from it nor looks like one."""

from __future__ import annotations

import time

from labs import started_lab
from world import World

from mesh.guests import Net

NET = Net("mtrouble", "gre", 7, 1)
PATIENT = NET.xml([1, 2]).replace("</vnet:overlay>", "<vnet:bfd multiplier='40'/></vnet:overlay>")
"""An overlay whose sessions last for as long as the switch may stand still here."""
OTHER = """<network><name>other</name><metadata><vnet:network xmlns:vnet='urn:vnetd:network:1'/></metadata>
  <forward mode='bridge'/><bridge name='br-other'/><virtualport type='openvswitch'/></network>"""
FULL_TABLE = """ovs-vsctl -- --id=@full create flow_table flow_limit=1 overflow_policy=refuse -- set bridge br-other flow_tables:0=@full
ovs-ofctl -O OpenFlow14 del-flows br-other"""
"""A table with room for one flow: what vnetd puts back is refused, time and again."""
RETRIES_SECONDS = 9
"""By then passes have failed so often that the pauses between them have their full length."""
REFUSES = "Open vSwitch refuses a part"
DEATHS = 3


def test_a_death_is_acted_on_while_something_else_is_refused() -> None:
    """Failed passes are tried again after up to 5 s, for which no peer's death waits. Whoever asked the daemon would wake it here."""
    with started_lab("m", 2, NET.xml([1, 2])) as world:
        world.wait_for_tunnels("hv1", "hv2")
        world.start_xml(OTHER, "hv1")
        world.on("hv1", FULL_TABLE)
        world.attempt("hv1", "vnetctl apply")
        time.sleep(RETRIES_SECONDS)
        assert REFUSES in world.status("hv1")["daemon"]["trouble"]
        for _ in range(DEATHS):
            world.lab.cut("hv2")
            world.until(lambda: not _hears(world, "hv1"), 4, "hv2 is seen to be dead")
            world.until(lambda: not _floods(world), 1, "nothing is flooded to hv2")
            world.lab.mend("hv2")
            # Either end may have to begin once more, where the other had not yet seen that they were apart.
            world.until(lambda: _hears(world, "hv1") and _hears(world, "hv2") and _floods(world), 8, "hv2 gets broadcasts again")
        assert REFUSES in world.status("hv1")["daemon"]["trouble"]
        world.on("hv1", "ovs-vsctl clear bridge br-other flow_tables")
        world.until(lambda: not world.status("hv1")["to_do"], 10, "all is in order again")


def _hears(world: World, host: str) -> bool:
    """Whether a host's only session is up, as the switch says."""
    return "state=up" in world.on(host, "ovs-vsctl --bare --columns=bfd_status find interface type=gre")


def _floods(world: World) -> bool:
    """Whether hv1 floods into its only tunnel."""
    flows = world.on("hv1", "ovs-ofctl -O OpenFlow14 dump-flows br-tun table=40; ovs-ofctl -O OpenFlow14 dump-flows br-tun table=41")
    return "output:" in flows


def test_sessions_without_a_state_have_not_ended() -> None:
    """After ovsdb-server's restart the switch must say again how each is; here it stands still, so that the daemon looks before that."""
    with started_lab("m", 2, PATIENT) as world:
        world.wait_for_tunnels("hv1", "hv2")
        world.until(lambda: _floods(world), 5, "hv2 gets broadcasts")
        ages = world.ages("hv1", "br-tun")
        world.on("hv1", "pkill -9 -x ovsdb-server; pkill -STOP -x ovs-vswitchd; /run/start-ovsdb; sleep 3; pkill -CONT -x ovs-vswitchd")
        world.until(lambda: _hears(world, "hv1"), 15, "the switch has said again how the session is")
        world.assert_flows_untouched("hv1", "br-tun", ages)
        for host in world.lab.names():
            world.assert_settled(host)
