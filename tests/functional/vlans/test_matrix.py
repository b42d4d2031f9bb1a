"""Every VLAN mode against every other: on one host, over an uplink and over GRE; at every port, and on the wire."""

from __future__ import annotations

import pytest

from vlans.judge import judged, report
from vlans.ports import PLAIN, SERVICE, arenas
from vlans.rules import Mode
from vlans.stage import staged

SHOWN = 40
"""Faults that are printed; more are of the same kind."""


@pytest.mark.parametrize("modes", [PLAIN, PLAIN + SERVICE], ids=["without service VLANs", "all modes"])
def test_every_mode_against_every_other(modes: tuple[Mode, ...]) -> None:
    """Without a service VLAN the switch looks at one tag only (vlan-limit), and hidden ones must come to nothing all the same."""
    found, faults = arenas(modes), []
    with staged(found) as stage:
        for arena in found:
            verdict = judged(arena, stage.play(arena))
            print(f"\n{report(arena, verdict)}")
            faults += verdict.faults
    assert not faults, "\n".join([f"{len(faults)} faults:", *faults[:SHOWN]])
