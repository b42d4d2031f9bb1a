"""A guest moves from host to host: who sends it something finds it at its new place."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from mesh.guests import NETS, Guest
from mesh.stage import Stage, staged
from mesh.wire import Crossing, watched

NET = NETS[0]
WAY = (1, 2, 4, 3, 1)
RARP_PAUSES = (0.05, 0.15, 0.25, 0.35, 0.45)
"""Seconds before each of QEMU's announcements (qapi/migration.json, AnnounceParameters)."""
FOLLOW_SECONDS = 1.0
"""After so long everybody sends to the new place only."""


def test_all_hosts_follow_a_mac_address_that_moves(tmp_path: Path) -> None:
    """As in a migration: its port at the new place is there first, then it announces itself, then the old port goes."""
    with staged(4) as stage:
        stage.start([NET], range(1, 5))
        mover = Guest(NET, WAY[0], seat=1, home=1)
        stage.plug([mover])
        _announce(stage, mover)
        stage.talk(0.1, silent=[mover])
        stage.await_all(10, hosts=(2, 3, 4))
        with watched(stage, tmp_path) as underlay:
            stays = []
            for number in WAY[1:]:
                fresh = Guest(NET, number, seat=1, home=1)
                stage.plug([fresh])
                moved = time.time()
                _announce(stage, fresh, mover)
                mover = fresh
                time.sleep(max(moved + FOLLOW_SECONDS + 1 - time.time(), 0))
                stays.append((number, moved + FOLLOW_SECONDS, time.time() - 0.1))
            time.sleep(0.3)
            stage.hush()
        stage.gather()
        found = [fault for stay in stays for fault in _astray(stage, mover, stay, underlay.crossings())]
        assert not found, "\n".join(found[:20])


def _announce(stage: Stage, guest: Guest, before: Guest | None = None) -> None:
    """Five RARP requests, as QEMU sends them; after the first the guest's old port goes."""
    mac = guest.mac.replace(":", "")
    frame = "ff" * 6 + mac + "8035" + "0001080006040003" + mac + "00000000" + mac + "00000000"
    for pause in RARP_PAUSES:
        stage.agents[guest.host].call("send", tap=guest.tap, frame=frame.ljust(120, "0"))
        if before is not None:
            stage.unplug(before)
            before = None
        time.sleep(pause)


def _astray(stage: Stage, mover: Guest, stay: tuple[int, float, float], crossings: Iterable[Crossing]) -> list[str]:
    """What was sent to the guest while it was at one place and did not come there once, or went anywhere else."""
    number, since, until = stay
    sent = {one.key: one for one in stage.log.sent if one.whom == mover.id and since <= one.time <= until}
    assert len({one.sender for one in sent.values()}) == 4
    found = []
    for key, one in sent.items():
        count = len(stage.log.heard.get(key, []))
        if count != 1:
            found.append(f"at hv{number}: frame {key}, {one.time - since:.2f} s after that, was heard {count} times")
    astray = (one for one in crossings if one.key in sent and one.outer[1] != number)
    return found + [f"at hv{number}: frame {one.key} went from hv{one.outer[0]} to hv{one.outer[1]}" for one in astray]
