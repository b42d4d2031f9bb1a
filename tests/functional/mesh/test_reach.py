"""Many hosts and three networks of three types: who hears whom."""

from __future__ import annotations

import pytest
from dataplane import chosen

from mesh.guests import NETS
from mesh.stage import faults, pause, staged

HOSTS = range(1, chosen().mesh + 1)
SHOWN = 20


@pytest.mark.parametrize("version", [4, 6], ids=["IPv4 underlay", "IPv6 underlay"])
def test_everybody_hears_its_network_once_and_nobody_another(version: int) -> None:
    """Each guest sends to all, and to every other guest by its MAC address, of other networks too."""
    with staged(len(HOSTS)) as stage:
        stage.start(NETS, HOSTS, version)
        stage.talk(0.5, strangers=True)
        stage.await_all(10)
        since, until = pause(stage, 1.5)
        found = faults(stage, since, until)
        count = sum(since <= one.time <= until for one in stage.log.sent)
        print(f"\n{len(stage.guests)} guests, {count} frames")
        assert count >= 2 * len(stage.guests) ** 2
        assert not found, "\n".join([f"{len(found)} faults:", *found[:SHOWN]])
