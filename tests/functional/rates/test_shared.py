"""Aggregates: what the ports of a portgroup, or of a network, share on a host."""

from __future__ import annotations

import pytest
from world import World

from rates.stations import station, wired
from rates.streams import ABOVE, Flowed, Stream, flow_within, offered, total

BELOW, SHARE = 0.90, 0.25
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
        found = flow_within(rates, lambda found: total(found) <= ABOVE * limit, *streams)
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


def _shown(found: list[Flowed]) -> str:
    return " + ".join(f"{one.frames:.2f}" for one in found) + f" = {total(found):.2f}"
