"""Aggregates: what the ports of a portgroup, or of a network, share on a host."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from world import World

from rates.stations import HOST, Station, station, wired
from rates.streams import ABOVE, Flowed, Stream, flow_within, offered, total

BELOW, SHARE = 0.90, 0.25
BROADCASTS = """
import socket, sys, time
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
link.bind(("eth0", 0))
mac = bytes.fromhex(open("/sys/class/net/eth0/address").read().strip().replace(":", ""))
for _ in range(int(sys.argv[1])):
    link.send(b"\\xff" * 6 + mac + b"\\x88\\xb5" + bytes(46))
    time.sleep(0.005)
"""
"""Frames of an EtherType for experiments (IEEE 802, 9.2.4), fewer a second than a port may send to all."""
RHYTHMS = (1370, 1730, 2110, 2530)
"""Who comes first gets through, and senders in step would come in the same order for ever, as no two guests do."""


def _aggregate(**averages: int) -> str:
    return "<vnet:aggregate>" + "".join(f"<vnet:{way} average='{mbit * 125}'/>" for way, mbit in averages.items()) + "</vnet:aggregate>"


@pytest.mark.parametrize("udp", [True, False], ids=["UDP", "TCP"])
@pytest.mark.parametrize("outbound", [True, False], ids=["outbound", "inbound"])
def test_two_guests_of_a_portgroup_share_its_limit(rates: World, outbound: bool, udp: bool) -> None:
    limit, network = 20, "pooled"
    ours = f"<vnet:portgroup name='pool'>{_aggregate(inbound=limit, outbound=limit)}</vnet:portgroup>"
    members = [station(name, network, "pool") for name in ("pa", "pb")]
    others = [station(name, network, "free") for name in ("fa", "fb")]
    with wired(rates, network, *members, *others, ours=ours, portgroups="<portgroup name='pool'/><portgroup name='free'/>"):
        ends = list(zip(members, others, strict=True) if outbound else zip(others, members, strict=True))
        pace = offered(limit) if udp else None
        streams = (Stream(*pair, pace, rhythm=rhythm) for pair, rhythm in zip(ends, RHYTHMS, strict=False))

        def shared(found: Sequence[Flowed]) -> bool:
            # That one has most of a limit for himself is chance in a few seconds of a busy machine, and not in many.
            return total(found) <= ABOVE * limit and (not udp or all(one.frames >= SHARE * limit for one in found))

        found = flow_within(rates, shared, *streams)
        print(f"\n{limit} Mbit/s {'outbound' if outbound else 'inbound'} for two by {'UDP' if udp else 'TCP'}: {_shown(found)}")
        assert total(found) <= ABOVE * limit
        if udp:
            assert total(found) >= BELOW * limit
            assert all(one.frames >= SHARE * limit for one in found)


@pytest.mark.parametrize("outbound", [True, False], ids=["outbound", "inbound"])
def test_the_network_s_limit_holds_all_and_a_portgroup_s_its_own_besides(rates: World, outbound: bool) -> None:
    """Two of a portgroup with 10 Mbit/s of its own and two of one without, in a network with 30. Whom they talk to is held to nothing."""
    small, whole, network = 10, 30, "whole"
    way = "outbound" if outbound else "inbound"
    ours = f"{_aggregate(**{way: whole})}<vnet:portgroup name='small'>{_aggregate(**{way: small})}</vnet:portgroup>"
    members = [station(f"m{number}", network, "small" if number < 2 else "large") for number in range(4)]
    others = [station(f"o{number}", network, "large") for number in range(4)]
    with wired(rates, network, *members, *others, ours=ours, portgroups="<portgroup name='small'/><portgroup name='large'/>"):
        ends = zip(members, others, strict=True) if outbound else zip(others, members, strict=True)
        streams = (Stream(*pair, offered(whole, 0.5), rhythm=rhythm) for pair, rhythm in zip(ends, RHYTHMS, strict=True))
        found = flow_within(rates, lambda found: total(found[:2]) <= ABOVE * small and total(found) <= ABOVE * whole, *streams)
        print(f"\n{whole} Mbit/s {way} for four, of that {small} for the first two: {_shown(found)}")
        assert total(found[:2]) <= ABOVE * small
        assert BELOW * whole <= total(found) <= ABOVE * whole
        assert all(one.frames > 0 for one in found)


def test_a_limit_that_is_used_up_takes_no_other_guest_s_copy(rates: World) -> None:
    """A meter that refuses a frame ends what its actions still had to do, and of a broadcast those are the copies to others."""
    network, frames = "copied", 200
    ours = "".join(
        f"<vnet:portgroup name='{name}'><vnet:aggregate><vnet:inbound {limit}/></vnet:aggregate></vnet:portgroup>"
        for name, limit in (("tight", "average='1' burst='1'"), ("wide", "average='100000'"))
    )
    sender = station("cs", network, "free")
    tight = [station(name, network, "tight") for name in ("ct", "cv")]
    hearers = [station("cw", network, "wide"), station("cf", network, "free")]
    groups = "".join(f"<portgroup name='{name}'/>" for name in ("tight", "wide", "free"))
    with wired(rates, network, sender, tight[0], *hearers, tight[1], ours=ours, portgroups=groups):
        everybody = [*tight, *hearers]
        before = {one.name: _got(rates, one) for one in everybody}
        rates.on(HOST, "ip", "netns", "exec", sender.name, "python3", "-c", BROADCASTS, str(frames))
        rates.until(lambda: _got(rates, hearers[1]) - before["cf"] >= frames, 5, "all have come")
        heard = {one.name: _got(rates, one) - before[one.name] for one in everybody}
        print(f"\nof {frames} broadcasts: {heard}")
        assert min(heard["cw"], heard["cf"]) >= frames
        assert max(heard["ct"], heard["cv"]) <= frames / 4


def _got(world: World, one: Station) -> int:
    """How many frames a station has got."""
    return int(world.on(HOST, f"{one.inside} cat /sys/class/net/eth0/statistics/rx_packets"))


def _shown(found: list[Flowed]) -> str:
    return " + ".join(f"{one.frames:.2f}" for one in found) + f" = {total(found):.2f}"
