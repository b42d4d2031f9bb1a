"""What ``vnetctl tunnels`` tells: how each tunnel is and why, since when, and what has gone through it."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
from fakes import FakeHost, uuid_of

from vnetd.adapters.openflow import read_port_counts
from vnetd.model.names import IfName
from vnetd.model.network import Inventory, Network, Overlay, OverlayType, Peer
from vnetd.model.state import Desired, Observed, Port, Role, Rows, SeenPort, TunnelFacts, TunnelWire
from vnetd.reconcile import look, reconcile
from vnetd.tunnels import PortCount, Remembered, account, as_text, grown, state_of, tunnel_problems

HV1, HV2, HV3 = (ip_address(f"192.0.2.1{number}") for number in (1, 2, 3))
MESH = Overlay(OverlayType.GRE, 100, (Peer("hv1", HV1), Peer("hv2", HV2), Peer("hv3", HV3)))
BLUE = Network("blue", uuid_of(1), IfName("br-blue"), overlay=MESH)
RED = Network("red", uuid_of(2), IfName("br-red"), overlay=replace(MESH, segment=200, peers=MESH.peers[:2]))
ALL = Inventory((BLUE, RED), complete=True)


@pytest.fixture
def running(host: FakeHost) -> FakeHost:
    """This host is hv1, and shares a network with hv2 and hv3 and another one with hv2."""
    host.addresses = {HV1}
    reconcile(ALL, host.rim())
    return host


def seen_now(host: FakeHost, inventory: Inventory = ALL) -> tuple[Desired, Observed]:
    desired, observed, _ = look(inventory, host.rim())
    return desired, observed


def of_peer(host: FakeHost, remote: object) -> str:
    """The name of the tunnel to a peer."""
    return next(name for name, row in host.ports.items() if ("remote_ip", str(remote)) in row.options)


# How a tunnel is, and why.


def facts(alive: bool, watched: bool = True) -> TunnelFacts:
    return TunnelFacts(OverlayType.GRE, HV1, HV2, ("hv2",), ("blue",), watched, TunnelWire(alive))


def observed(state: str = "", why: str = "", ofport: int = 1, error: str = "") -> Observed:
    row = SeenPort(Port("gre-a", "br-tun", Role.TUNNEL, "gre"), True, ofport, error, bfd_state=state, bfd_why=why)
    return replace(Observed(Rows(), {}, FakeHost().host()), rows=Rows(ports={"gre-a": row}))


@pytest.mark.parametrize(
    ("state", "diagnostic", "told", "why"),
    [
        ("up", "No Diagnostic", "up", ""),
        ("up", "Control Detection Time Expired", "up", ""),
        ("held", "Control Detection Time Expired", "held", "it came and went several times; it must stay up for a while"),
        ("", "", "down", "the peer has not answered yet"),
        ("down", "No Diagnostic", "down", "the peer has not answered yet"),
        ("down", "Control Detection Time Expired", "down", "the peer fell silent"),
        ("init", "Control Detection Time Expired", "down", "the peer does not hear this host"),
        ("down", "Neighbor Signaled Session Down", "down", "BFD: Neighbor Signaled Session Down"),
        ("admin_down", "Administratively Down", "down", "BFD: Administratively Down"),
    ],
)
def test_a_watched_tunnel_is_as_its_session_is(state: str, diagnostic: str, told: str, why: str) -> None:
    assert state_of("gre-a", facts(state == "up"), observed(state, diagnostic)) == (told, why)


def test_a_tunnel_that_nobody_watches_is_neither_up_nor_down() -> None:
    assert state_of("gre-a", facts(True, watched=False), observed()) == ("unwatched", "<vnet:bfd enabled='no'/>")


@pytest.mark.parametrize("watched", [True, False])
def test_a_tunnel_that_open_vswitch_has_not_made_is_missing(watched: bool) -> None:
    error = "could not add network device gre-a to ofproto (File exists)"
    assert state_of("gre-a", facts(False, watched), observed(ofport=-1, error=error)) == ("missing", error)
    assert state_of("gre-a", facts(True, watched), observed("up", ofport=-1)) == ("missing", "Open vSwitch has not made it yet")
    assert state_of("gre-b", facts(True, watched), observed()) == ("missing", "Open vSwitch has not made it yet")


def test_a_peer_that_is_not_there_is_worth_knowing_and_no_reason_to_refuse_anything(running: FakeHost) -> None:
    assert tunnel_problems(*seen_now(running)) == []
    running.dead.add(str(HV2))
    (problem,) = tunnel_problems(*seen_now(running))
    assert problem.soft
    assert str(problem) == f"tunnel {of_peer(running, HV2)}: its peer hv2 (192.0.2.12) is down: the peer fell silent"


def test_a_held_peer_is_told_too_and_a_missing_tunnel_only_where_ports_are() -> None:
    desired = Desired(tunnels={"gre-a": facts(alive=False)})
    (problem,) = tunnel_problems(desired, observed("held"))
    assert "its peer hv2 (192.0.2.12) is held: it came and went several times" in problem.text
    assert tunnel_problems(desired, observed(ofport=-1)) == []


def test_a_tunnel_that_several_peers_share_names_them_all() -> None:
    shared = replace(facts(alive=False), peers=("hv2", "hv2-again"))
    (problem,) = tunnel_problems(Desired(tunnels={"gre-a": shared}), observed("down"))
    assert "its peer hv2, hv2-again (192.0.2.12) is down" in problem.text


# The account.


def test_every_tunnel_is_told_in_one_shape_as_plain_json(running: FakeHost) -> None:
    running.dead.add(str(HV3))
    desired, seen = seen_now(running)
    one, other = of_peer(running, HV2), of_peer(running, HV3)
    remembered = {one: Remembered(1_700_000_000.7, 0.25), other: Remembered(None, None)}
    found = account(desired, seen, remembered, {running.ports[one].ofport: PortCount(1, 2, 3, 4, 5, 6)})
    assert json.loads(json.dumps(found)) == found
    assert found == [
        {
            "name": one,
            "peers": ["hv2"],
            "type": "gre",
            "local": "192.0.2.11",
            "remote": "192.0.2.12",
            "networks": ["blue", "red"],
            "state": "up",
            "since": "2023-11-14T22:13:20+00:00",
            "why": None,
            "rtt_ms": 0.25,
            "path_mtu": None,
            "rx_packets": 1,
            "rx_bytes": 2,
            "rx_dropped": 3,
            "tx_packets": 4,
            "tx_bytes": 5,
            "tx_dropped": 6,
        },
        {
            "name": other,
            "peers": ["hv3"],
            "type": "gre",
            "local": "192.0.2.11",
            "remote": "192.0.2.13",
            "networks": ["blue"],
            "state": "down",
            "since": None,
            "why": "the peer fell silent",
            "rtt_ms": None,
            "path_mtu": None,
            **dict.fromkeys(("rx_packets", "rx_bytes", "rx_dropped", "tx_packets", "tx_bytes", "tx_dropped"), 0),
        },
    ]


def test_of_a_tunnel_of_which_nothing_is_remembered_or_counted_the_rest_is_told(running: FakeHost) -> None:
    running.ports[of_peer(running, HV2)].ofport = -1
    first, _ = account(*seen_now(running), {}, {7: PortCount(1, 1, 1, 1, 1, 1)})
    assert (first["state"], first["since"], first["rtt_ms"], first["rx_packets"]) == ("missing", None, None, 0)


def test_tunnels_stand_in_the_order_of_their_peers_names(running: FakeHost) -> None:
    peers = (Peer("hv1", HV1), Peer("zoe", HV2), Peer("anna", HV3))
    network = replace(BLUE, overlay=replace(MESH, peers=peers))
    found = account(*seen_now(running, Inventory((network,), complete=True)), {}, {})
    assert [one["peers"] for one in found] == [["anna"], ["zoe"]]


# What has gone through since.


def told(name: str, **counts: int) -> dict[str, Any]:
    keys = ("rx_packets", "rx_bytes", "rx_dropped", "tx_packets", "tx_bytes", "tx_dropped")
    return {"name": name, "state": "up", **dict.fromkeys(keys, 0), **counts}


def test_the_growth_is_what_was_counted_in_between() -> None:
    before = [told("a", rx_packets=5, tx_bytes=100), told("gone", rx_packets=9)]
    now = [told("a", rx_packets=7, tx_bytes=100), told("new", rx_bytes=3)]
    assert grown(before, now) == [told("a", rx_packets=2), told("new", rx_bytes=3)]
    assert now == [told("a", rx_packets=7, tx_bytes=100), told("new", rx_bytes=3)], "what was told stays as it is"


def test_a_counter_that_began_anew_counts_from_nothing() -> None:
    """A restarted switch counts from 0, and nothing is counted less than that."""
    assert grown([told("a", rx_packets=1000)], [told("a", rx_packets=40)]) == [told("a", rx_packets=40)]


# As a table.


def lines_of(host: FakeHost, remembered: dict[str, Remembered] | None = None, **more: str) -> list[str]:
    return as_text(account(*seen_now(host), remembered or {}, {}), **more).splitlines()


def test_the_table_has_a_line_for_each_peer_and_dashes_for_what_nobody_knows(running: FakeHost) -> None:
    running.dead.add(str(HV3))
    head, first, second = lines_of(running, {of_peer(running, HV2): Remembered(1_700_000_000.0, 12.3456)})
    assert head.startswith("TUNNEL TO  REMOTE")
    assert first.split() == [
        "hv2", "192.0.2.12", "gre", "up", "2023-11-14T22:13:20+00:00", "12.35", "-", "0/0", "0/0", "0/0", "blue,red",
    ]  # fmt: skip
    assert second.split()[:10] == ["hv3", "192.0.2.13", "gre", "down", "-", "-", "-", "0/0", "0/0", "0/0"]
    assert second.endswith("the peer fell silent")
    for word, value in (("REMOTE", "192.0.2.13"), ("STATE", "down"), ("NETWORKS", "blue")):
        assert second[head.index(word) :].startswith(value)


def test_a_rate_has_its_unit_and_a_line_above_the_table(running: FakeHost) -> None:
    first, head, *_ = lines_of(running, unit="/s", head="12:00:00")
    assert first == "12:00:00"
    assert "PACKETS IN/OUT/s  BYTES IN/OUT/s  DROPPED IN/OUT/s" in head


def test_no_tunnels_are_said_in_words() -> None:
    assert as_text([]) == "no tunnels"
    assert as_text([], "/s", "12:00:00") == "12:00:00\nno tunnels"


# What ovs-ofctl prints.

DUMP = """\
OFPST_PORT reply (OF1.4) (xid=0x2): 5 ports
  port LOCAL: rx pkts=11, bytes=12, drop=?, errs=?, frame=?, over=?, crc=?
           tx pkts=13, bytes=14, drop=?, errs=?, coll=?
           duration=0.008s
           CUSTOM Statistics
                      rx_custom_packets_1=0, rx_custom_packets_2=0, rx_q0_bytes=0,
                      rx_q0_packets=0, tx_q0_bytes=0, tx_q0_packets=0,
  port  1: rx pkts=210, bytes=22000, drop=?, errs=?, frame=?, over=?, crc=?
           tx pkts=230, bytes=24000, drop=?, errs=?, coll=?
           duration=0.008s
  port  2: rx pkts=31, bytes=32, drop=33, errs=0, frame=0, over=0, crc=0
           tx pkts=34, bytes=35, drop=36, errs=0, coll=0
           duration=7200.008s
  port  3: rx pkts=?, bytes=?, drop=?, errs=?, frame=?, over=?, crc=?
           tx pkts=?, bytes=?, drop=?, errs=?, coll=?
           duration=0.007s
  port 1024: rx pkts=18446744073709551614, bytes=42, drop=0, errs=0, frame=0, over=0, crc=0
           tx pkts=43, bytes=44, drop=0, errs=0, coll=0
           duration=1s
"""
"""Of Open vSwitch 3.1: what a port does not count is a question mark, which is everything of one whose device has gone."""


def test_counts_of_ports_are_read_by_their_numbers_and_what_is_not_counted_is_nothing() -> None:
    assert read_port_counts(DUMP) == {
        1: PortCount(210, 22000, 0, 230, 24000, 0),
        2: PortCount(31, 32, 33, 34, 35, 36),
        3: PortCount(),
        1024: PortCount(18446744073709551614, 42, 0, 43, 44, 0),
    }


def test_a_bridge_without_ports_has_counted_nothing() -> None:
    assert read_port_counts("OFPST_PORT reply (OF1.4) (xid=0x2): 0 ports\n") == {}
    assert read_port_counts("") == {}
