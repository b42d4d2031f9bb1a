"""Peers that come and go in the definition, an address that comes later, and a host that nobody has named."""

from __future__ import annotations

import json
import time
from typing import Any

from mesh.guests import NETS, Guest, address
from mesh.stage import Stage, faults, staged

NET = NETS[0]
NOTICE = "this host has none of its peers' addresses"


def test_a_peer_goes_and_comes_and_the_others_do_not_notice() -> None:
    with staged(4) as stage:
        stage.start([NET], range(1, 5))
        stage.talk(0.1)
        stage.await_all(10)
        before, since = {host: _tunnels(stage, host) for host in ("hv1", "hv2", "hv3")}, time.time()
        for host in before:
            stage.redefine(NET, host, range(1, 4))
            _assert_gone(stage, host)
            assert _kept(before[host], _tunnels(stage, host)) == 2
        without = time.time()
        time.sleep(1)
        stage.gather()
        fourth = Guest(NET, 4).id
        talks = [one for one in stage.log.sent if without <= one.time and fourth in (one.sender, *_ears(stage, one.key))]
        assert not any(_ears(stage, one.key) for one in talks), "the peer that is gone talks with others"
        for host in before:
            stage.redefine(NET, host, range(1, 5))
            assert _kept(before[host], _tunnels(stage, host)) == 2
        again = time.time()
        stage.world.until(lambda: _hears_fourth_since(stage, again), 10, "the peer that came back is heard by all")
        until = time.time()
        time.sleep(0.5)
        stage.gather()
        # No frame among the three that stayed may be lost; the fourth is heard when its tunnels are up.
        found = faults(stage, since, until, lambda one, other, when: 4 not in (one, other))
        assert not found, "\n".join(found[:20])


def _tunnels(stage: Stage, host: str) -> dict[str, tuple[str, str, int]]:
    """(row, port number, packets sent) of each tunnel, by the other end's address."""
    text = stage.world.on(host, "ovs-vsctl --format=json --columns=_uuid,ofport,options,statistics find interface type=gre")
    rows = [(uuid[1], ofport, _map(options), _map(counts)) for uuid, ofport, options, counts in json.loads(text)["data"]]
    return {options["remote_ip"]: (uuid, str(ofport), counts["tx_packets"]) for uuid, ofport, options, counts in rows}


def _map(column: list[Any]) -> dict[str, Any]:
    return dict(column[1])


def _kept(before: dict[str, tuple[str, str, int]], now: dict[str, tuple[str, str, int]]) -> int:
    """How many tunnels to others than the fourth are still what they were: the same row and port, whose counters went on."""
    same = [before[one][:2] == now[one][:2] and before[one][2] <= now[one][2] for one in before.keys() & now.keys() - {address(4)}]
    assert all(same), f"{before} has become {now}"
    return len(same)


def _assert_gone(stage: Stage, host: str) -> None:
    """No tunnel to the fourth host, and nothing that was learned of its guest."""
    assert address(4) not in _tunnels(stage, host)
    flows = stage.world.on(host, "ovs-ofctl -O OpenFlow14 --names dump-flows br-tun")
    assert Guest(NET, 4).mac not in flows, flows


def _ears(stage: Stage, key: tuple[int, int, int]) -> list[int]:
    return [at for at, _ in stage.log.heard.get(key, [])]


def _hears_fourth_since(stage: Stage, when: float) -> bool:
    stage.gather()
    ears = {at for one in stage.log.sent if one.sender == Guest(NET, 4).id and one.time >= when for at in _ears(stage, one.key)}
    return {Guest(NET, one).id for one in (1, 2, 3)} <= ears


def test_an_address_that_comes_later_and_a_host_without_one() -> None:
    """Guests of the second host talk with each other before it has its address, and with all after; those of the third never do."""
    with staged(3) as stage:
        stage.world.on("hv2", f"ip addr del {address(2)}/24 dev {stage.world.plane.underlay}")
        stage.start([NET], range(1, 4), peers=[1, 2])
        stage.plug([Guest(NET, 2, seat=1), Guest(NET, 3, seat=1)])
        for host in ("hv2", "hv3"):
            network = stage.world.status(host)["networks"][0]
            assert (network["state"], network["overlay"]["local"]) == ("notice", None)
            assert NOTICE in network["error"]
        stage.talk(0.1)
        for host in (2, 3):
            stage.world.until(lambda host=host: _meet(stage, {(host, host)}), 5, f"two guests of hv{host} hear each other")
        assert not _meet(stage, {(1, 2)})
        stage.world.on("hv2", f"ip addr add {address(2)}/24 dev {stage.world.plane.underlay}")
        stage.world.until(lambda: _meet(stage, {(1, 2), (2, 1)}), 10, "the overlay is up once the address is there")
        assert stage.world.status("hv2")["networks"][0]["overlay"]["local"] == address(2)
        time.sleep(0.5)
        assert not any(_meet(stage, {pair}) for pair in ((1, 3), (3, 1), (2, 3), (3, 2)))
        assert NOTICE in stage.world.status("hv3")["networks"][0]["error"]


def _meet(stage: Stage, pairs: set[tuple[int, int]]) -> bool:
    """Whether a broadcast of each first host's guest has been heard by one of the second's."""
    stage.gather()
    home = {guest.id: guest.number for guest in stage.guests}
    heard = {(home[sender], home[at]) for (sender, whom, _), ears in stage.log.heard.items() if not whom for at, _ in ears}
    return pairs <= heard
