"""Limits on packets, where the data plane counts what guests hand over and not what becomes of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes import FakeHost
from intents import BLUE, nic, wanted, wire

from vnetd.model.network import Qos
from vnetd.model.state import Meter
from vnetd.policy import whole_packets


@pytest.mark.parametrize(
    ("mtu", "bandwidth", "limit"),
    [
        (1500, None, Meter(12176, 12176)),
        (9000, None, Meter(72176, 72176)),
        (1500, Meter(100000, 25000), Meter(12176, 12176)),
        (1500, Meter(8000, 2000), Meter(8000, 2000)),
    ],
    ids=["alone", "of large packets", "under a wider limit", "under a narrower one"],
)
def test_no_more_bytes_than_so_many_whole_packets_have(mtu: int, bandwidth: Meter | None, limit: Meter) -> None:
    assert whole_packets(Meter(1000, 1000, "pktps"), bandwidth, mtu) == limit


def test_a_small_limit_lets_a_whole_burst_of_tcp_through() -> None:
    assert whole_packets(Meter(1, 1, "pktps"), None, 1500) == Meter(13, 256)


@pytest.mark.parametrize(("datapath", "limit"), [("system", Meter(12176, 12176)), ("netdev", None)])
def test_only_the_kernels_data_plane_needs_it(host: FakeHost, datapath: str, limit: Meter | None) -> None:
    host.datapath = datapath
    desired = wanted(host, replace(BLUE, qos=Qos(pps=1000)), nics=(nic(),))
    assert wire(desired).meter == limit
    assert wire(desired).packets == Meter(1000, 1000, "pktps")
