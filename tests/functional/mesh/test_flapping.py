"""A peer that comes and goes: in the end it is not believed until it has stayed, and what it sends is not taken."""

from __future__ import annotations

import time

from mesh.guests import NETS
from mesh.stage import Stage, faults, pause, staged

HOSTS = (1, 2)
BORNE = 5
"""So many returns in a row are believed at once."""
HOLD_SECONDS = 10.0
"""How long the next one must last."""
DOWN_SECONDS, UP_SECONDS = 4.0, 6.0
"""How long BFD may take to see a death and a return; a session that has just begun sends a packet a second."""


def test_a_peer_that_flaps_is_held_until_it_stays() -> None:
    with staged(len(HOSTS)) as stage:
        stage.start(NETS[:1], HOSTS)
        stage.talk(0.1)
        stage.await_all(10)
        returns = 0
        while _comes_and_goes(stage) != "held":
            returns += 1
            assert returns <= BORNE + 1, "it is believed every time"
        # The session before the first death may have been long enough to be none of them.
        assert returns >= BORNE - 1, f"it is held after {returns} returns"
        since = time.time()
        (tunnel,) = stage.world.tunnels("hv1")
        assert tunnel["why"] == "it came and went several times; it must stay up for a while"
        stage.world.wait_for_tunnels("hv1", seconds=HOLD_SECONDS + 3)
        until = time.time()
        assert until - since >= HOLD_SECONDS - 1
        assert not _crossed(stage, since + 1, until - 1)
        stage.world.wait_for_tunnels("hv2", seconds=UP_SECONDS)
        assert not faults(stage, *pause(stage, 2))


def _comes_and_goes(stage: Stage) -> str:
    """As what hv1 takes hv2's tunnel, that has been down, when its session is up again."""
    world = stage.world
    world.lab.cut("hv2")
    world.until(lambda: _state(stage) == "down", DOWN_SECONDS, "hv2 is seen to be dead")
    world.lab.mend("hv2")
    world.until(lambda: _state(stage) != "down", UP_SECONDS, "hv2 is seen to be back")
    return _state(stage)


def _state(stage: Stage) -> str:
    (tunnel,) = stage.world.tunnels("hv1")
    return str(tunnel["state"])


def _crossed(stage: Stage, since: float, until: float) -> list[tuple[int, int, int]]:
    """The frames sent between two moments that were heard on the other host."""
    log, homes = stage.gather(), {guest.id: guest.host for guest in stage.guests}
    keys = [sent.key for sent in log.sent if since <= sent.time <= until]
    assert keys
    return [key for key in keys if any(homes[at] != homes[key[0]] for at, _ in log.heard.get(key, []))]
