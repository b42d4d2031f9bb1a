"""Every VLAN mode against every other: on one host, over an uplink and over GRE; at every port, and on the wire."""

from __future__ import annotations

import pytest

from vlans.judge import judged, report
from vlans.ports import PLAIN, SERVICE, arenas
from vlans.rules import Mode
from vlans.stage import staged

DUMP = "ovs-ofctl -O OpenFlow15"
SHOWN = 40
"""Faults that are printed; more are of the same kind."""


@pytest.mark.parametrize("modes", [PLAIN, PLAIN + SERVICE], ids=["without service VLANs", "all modes"])
def test_every_mode_against_every_other(modes: tuple[Mode, ...]) -> None:
    """A bridge with dot1q-tunnel ports parses some frames twice; another has no such flows, and hidden tags come to nothing too."""
    found, faults = arenas(modes), []
    with staged(found) as stage:
        for arena in found:
            verdict = judged(arena, stage.play(arena))
            print(f"\n{report(arena, verdict)}")
            faults += verdict.faults
    assert not faults, "\n".join([f"{len(faults)} faults:", *faults[:SHOWN]])


def test_groups_that_somebody_deletes_or_changes_are_made_again() -> None:
    """Open vSwitch deletes the flows with the groups, and must not die of it."""
    found = [arena for arena in arenas(PLAIN + SERVICE) if arena.name == "by-uplink"]
    with staged(found) as stage:
        world = stage.world
        pid = world.on("hv1", "cat /run/openvswitch/ovs-vswitchd.pid")
        groups = world.on("hv1", f"{DUMP} dump-groups br-by-uplink")
        assert "type=select" in groups
        assert "type=indirect" in groups
        for deed in ("del-groups br-by-uplink", "mod-group br-by-uplink group_id=1986946420,type=select,bucket=output:1"):
            world.on("hv1", f"{DUMP} {deed}")
            world.on("hv1", "vnetctl apply")
            assert sorted(world.on("hv1", f"{DUMP} dump-groups br-by-uplink").splitlines()) == sorted(groups.splitlines())
        assert world.on("hv1", "cat /run/openvswitch/ovs-vswitchd.pid") == pid
        verdict = judged(found[0], stage.play(found[0]))
        assert not verdict.faults, "\n".join(verdict.faults[:SHOWN])
