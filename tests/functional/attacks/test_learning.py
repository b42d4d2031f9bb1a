"""What was dropped teaches the switches nothing."""

from __future__ import annotations

from attacks import cast
from attacks.frames import BROADCAST
from attacks.judge import play_class
from attacks.stage import Stage
from attacks.table_arp import good
from attacks.table_link import FOREIGN, foreign_mac


def test_no_switch_learns_a_foreign_address(stage: Stage) -> None:
    for row in foreign_mac():
        stage.play(row)
    owned = {port.mac for port in cast.PORTS.values()} | set(cast.BRIDGE_MACS.values())
    strange = [mac for mac in FOREIGN.values() if mac not in owned and mac not in (BROADCAST, "00:00:00:00:00:00", "01:80:c2:00:00:00")]
    for host in cast.HOSTS:
        for bridge in ("br-arena", "br-tun"):
            known = stage.world.on(host, f"ovs-appctl fdb/show {bridge}; ovs-ofctl -O OpenFlow14 dump-flows {bridge}")
            assert not [mac for mac in strange if mac in known], (host, bridge)


def test_after_all_spoofing_everybody_is_where_he_was(stage: Stage) -> None:
    """P has sent from its neighbours' addresses; what is for them still reaches them alone."""
    for row in foreign_mac():
        stage.play(row)
    assert play_class(stage, [row for row in good() if len(row.arrives) == 1], introduce=False) == []
