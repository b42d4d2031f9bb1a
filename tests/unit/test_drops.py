"""What was dropped, by port and reason: from counters of flows and meters to an account, what grew, and what the log says of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fakes import FakeHost, mac_of, uuid_of

from vnetd.drops import BridgeCounts, Drop, DropLog, FlowCount, account, as_text, drop_counts, grown
from vnetd.model.names import IfName
from vnetd.model.network import Bandwidth, Inventory, Network, Nic, PortGroup, Rate
from vnetd.model.state import Desired, NetworkWiring, Observed
from vnetd.pipeline import Cookie, MeterKind, Reason
from vnetd.pipeline.limits import inbound_meter, outbound_meter
from vnetd.policy import pools_of
from vnetd.reconcile import look, reconcile

BLUE = Network("blue", uuid_of(1), IfName("br-blue"))
WEB = Nic(mac_of(1), "blue", tap=IfName("vnet1"), iface_id=uuid_of(11), owner="web", owner_uuid=uuid_of(9))
ALL = Inventory((BLUE,), (WEB,), complete=True)
VNET1 = 3
"""The number of the guest's port; two of somebody else's are before it."""


@pytest.fixture
def seen(host: FakeHost) -> tuple[Desired, Observed]:
    """A host with one guest, looked at."""
    reconcile(Inventory((BLUE,), complete=True), host.rim())
    host.hand_port("my-port", "br-blue")
    host.hand_port("my-other", "br-blue")
    host.link_comes("vnet1")
    reconcile(ALL, host.rim())
    assert host.ports["vnet1"].ofport == VNET1
    desired, observed, _ = look(ALL, host.rim())
    return desired, observed


def counts(seen: tuple[Desired, Observed], *flows: FlowCount, **meters: tuple[int, int]) -> list[Drop]:
    numbers = {MeterKind[name.upper()].number(VNET1): found for name, found in meters.items()}
    return drop_counts(*seen, {"br-blue": BridgeCounts(flows, numbers)}, {})


def counted(reason: Reason, packets: int, octets: int, port: int = VNET1) -> FlowCount:
    """A flow that the switch made to count this reason for this port."""
    return FlowCount(reason.counted, port, packets, octets)


# From counters to drops.


def test_only_drops_are_counted(seen: tuple[Desired, Observed]) -> None:
    flows = [FlowCount(cookie, VNET1, 1000, 100000) for cookie in (*Cookie, 0x7, 0)]
    assert counts(seen, *flows) == []


def test_the_frame_that_made_the_flow_is_counted_with_those_that_met_it(seen: tuple[Desired, Observed]) -> None:
    """Its size is taken to be that of the others."""
    assert counts(seen, counted(Reason.FOREIGN_IPV4, 9, 900)) == [Drop("vnet1", "foreign IPv4 source", 10, 1000)]


def test_a_first_frame_alone_has_the_size_that_its_reason_has_on_the_bridge(seen: tuple[Desired, Observed]) -> None:
    total = FlowCount(Reason.FOREIGN_IPV4.total, None, 4, 800)
    assert counts(seen, total, counted(Reason.FOREIGN_IPV4, 0, 0)) == [Drop("vnet1", "foreign IPv4 source", 1, 200)]
    assert counts(seen, counted(Reason.FOREIGN_IPV4, 0, 0)) == [Drop("vnet1", "foreign IPv4 source", 1, 60)]


def test_totals_are_not_counted_once_more(seen: tuple[Desired, Observed]) -> None:
    assert counts(seen, FlowCount(Reason.FOREIGN_IPV4.total, None, 4, 800)) == []


def test_counts_of_one_reason_are_added_up(seen: tuple[Desired, Observed]) -> None:
    """A forged MAC drops at two flows: by its last byte already, or by the rest of it."""
    direct = FlowCount(Reason.FOREIGN_MAC.direct, VNET1, 7, 700)
    assert counts(seen, direct, counted(Reason.FOREIGN_MAC, 1, 100)) == [Drop("vnet1", "foreign source MAC", 9, 900)]


def test_a_direct_drop_that_never_happened_is_not_told(seen: tuple[Desired, Observed]) -> None:
    assert counts(seen, FlowCount(Reason.FOREIGN_MAC.direct, VNET1, 0, 0)) == []


@pytest.mark.parametrize("port", [None, 77, 0xFFFE])
def test_what_no_port_can_be_named_for_goes_to_the_bridges_account(seen: tuple[Desired, Observed], port: int | None) -> None:
    flow = FlowCount(Reason.UNWIRED.direct, port, 3, 300)
    assert counts(seen, flow) == [Drop("br-blue", "port without policy", 3, 300)]


def test_a_port_that_nobody_claims_has_an_account_of_its_own(seen: tuple[Desired, Observed]) -> None:
    assert counts(seen, counted(Reason.UNWIRED, 1, 60, port=1)) == [Drop("my-port", "port without policy", 2, 120)]


def test_what_meters_drop_is_counted_by_their_kind(seen: tuple[Desired, Observed]) -> None:
    assert counts(seen, bandwidth=(1, 10), flood=(2, 20), neighbour=(3, 30)) == [
        Drop("vnet1", "ARP and ND limit", 3, 30),
        Drop("vnet1", "bandwidth limit", 1, 10),
        Drop("vnet1", "flood limit", 2, 20),
    ]


def test_a_meter_that_dropped_nothing_or_is_nobodys_is_not_told(seen: tuple[Desired, Observed]) -> None:
    found = {MeterKind.FLOOD.number(VNET1): (0, 0), MeterKind.FLOOD.number(50): (5, 50)}
    assert drop_counts(*seen, {"br-blue": BridgeCounts((), found)}, {}) == []


@pytest.mark.parametrize("reason", Reason)
def test_each_reason_has_three_cookies_and_words(seen: tuple[Desired, Observed], reason: Reason) -> None:
    assert len({reason.direct, reason.counted, reason.total}) == 3
    (drop,) = counts(seen, FlowCount(reason.direct, VNET1, 1, 60))
    assert drop.reason


def test_what_a_shared_limit_drops_is_told_by_its_name_and_bridge(seen: tuple[Desired, Observed]) -> None:
    """Which of the ports that share it sent too much, nobody can say."""
    desired, observed = seen
    limits = Bandwidth(Rate(100), Rate(100))
    shared = replace(BLUE, aggregate=limits, portgroups=(PortGroup("web", aggregate=limits),))
    pooled = replace(desired, wirings={"br-blue": NetworkWiring(pools=pools_of(shared))})
    web, blue = pools_of(shared)
    found = {outbound_meter(web): (3, 300), inbound_meter(blue): (2, 200), outbound_meter(blue): (0, 0), 1 << 30: (7, 700)}
    drops = drop_counts(pooled, observed, {"br-blue": BridgeCounts((), found)}, {})
    assert drops == [Drop("br-blue", "limit shared by blue", 2, 200), Drop("br-blue", "limit shared by blue/web", 3, 300)]
    assert [(one["guest"], one["network"]) for one in account(pooled, drops)] == [(None, "blue")] * 2


def test_meters_have_numbers_of_their_own_that_lead_back_to_port_and_kind() -> None:
    numbers = {kind.number(port): (port, kind) for port in range(1, 200) for kind in MeterKind}
    assert len(numbers) == len(MeterKind) * 199
    assert all(MeterKind.of(number) == meant for number, meant in numbers.items())
    assert min(numbers) > 0


# The account.


def test_an_account_names_guest_and_network(seen: tuple[Desired, Observed]) -> None:
    drops = [
        Drop("br-blue", "port without policy", 3, 300),
        Drop("my-port", "port without policy", 1, 60),
        Drop("vnet1", "flood limit", 2, 20),
    ]
    assert account(seen[0], drops) == [
        {"port": "br-blue", "guest": None, "network": "blue", "reason": "port without policy", "packets": 3, "bytes": 300},
        {"port": "my-port", "guest": None, "network": None, "reason": "port without policy", "packets": 1, "bytes": 60},
        {"port": "vnet1", "guest": "web", "network": "blue", "reason": "flood limit", "packets": 2, "bytes": 20},
    ]


def entry(
    packets: int, port: str = "vnet1", guest: str | None = "web", reason: str = "flood limit", octets: int | None = None
) -> dict[str, Any]:
    size = packets * 100 if octets is None else octets
    return {"port": port, "guest": guest, "network": "blue", "reason": reason, "packets": packets, "bytes": size}


def test_what_grew_is_the_difference(seen: tuple[Desired, Observed]) -> None:
    assert grown([entry(3)], [entry(5), entry(1, reason="redirect")]) == [entry(2), entry(1, reason="redirect")]
    assert grown([entry(3)], [entry(3)]) == []


def test_a_counter_that_began_anew_is_told_from_its_beginning() -> None:
    """The port went and came again, or the switch was restarted."""
    assert grown([entry(30)], [entry(2)]) == [entry(2)]
    assert grown([entry(30)], [entry(40, guest="db")]) == [entry(40, guest="db")]


def test_bytes_that_were_guessed_too_high_before_are_no_negative_number() -> None:
    assert grown([entry(1, octets=200)], [entry(2, octets=130)]) == [entry(1, octets=0)]


def test_an_account_reads_as_a_table() -> None:
    head, line = as_text([entry(12)]).splitlines()
    assert head.split() == ["PORT", "GUEST", "NETWORK", "REASON", "PACKETS", "BYTES"]
    assert line.split() == ["vnet1", "web", "blue", "flood", "limit", "12", "1200"]
    assert as_text([]) == "nothing dropped"
    assert as_text([], head="10:00").startswith("10:00")


# The log.


def test_the_first_look_is_no_news() -> None:
    log = DropLog(10)
    assert log.lines(0, [entry(100)]) == []
    assert log.lines(1, [entry(100)]) == []
    assert log.lines(2, [entry(103), entry(1, reason="redirect")]) == ["dropped at vnet1 of 'web': 3 flood limit, 1 redirect"]


def test_a_guests_name_is_escaped_in_the_log() -> None:
    log = DropLog(10)
    log.lines(0, [])
    (line,) = log.lines(1, [entry(1, guest="w\u00e9b\u202e")])
    assert line.isascii()


def test_the_log_has_so_many_lines_a_minute_and_the_worst_come_first() -> None:
    log = DropLog(2)
    log.lines(0, [])
    first = [replace_port(entry(number), number) for number in (1, 5, 3)]
    assert [line.split()[2].rstrip(":") for line in log.lines(1, first)] == ["vnet5", "vnet3"]
    assert log.lines(30, [replace_port(entry(9), 1)]) == []
    assert log.lines(62, [replace_port(entry(10), 1)]) == ["dropped at vnet1 of 'web': 1 flood limit"]


def test_what_was_dropped_while_nobody_logged_is_no_news() -> None:
    log = DropLog(10)
    log.lines(0, [entry(100)])
    log.limit_to(0)
    log.limit_to(10)
    assert log.lines(1000, [entry(5000)]) == []
    log.limit_to(5)
    assert log.lines(1001, [entry(5002)]) == ["dropped at vnet1 of 'web': 2 flood limit"], "another limit is no new beginning"


def replace_port(one: dict[str, Any], number: int) -> dict[str, Any]:
    return {**one, "port": f"vnet{number}"}


def test_a_fake_switch_that_counted_a_drop_is_read_through_the_same_way(host: FakeHost) -> None:
    """What the switch writes on the flows that it makes is enough to find port and reason again."""
    host.link_comes("vnet1")
    outcome = reconcile(replace(ALL), host.rim())
    host.refuse("vnet1", int(Reason.REDIRECT))
    found = drop_counts(
        outcome.desired, outcome.observed, {"br-blue": BridgeCounts(host.counters("br-blue"), host.meter_drops("br-blue"))}, {}
    )
    assert found == [Drop("vnet1", "ICMPv6 redirect", 1, 60)]
