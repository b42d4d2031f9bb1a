"""What ``vnetctl status`` tells: its shape for programs, and the table for people."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from fakes import FakeHost, mac_of, uuid_of

from vnetd.drops import Drop
from vnetd.model.names import IfName
from vnetd.model.network import (
    Bond,
    BondMode,
    Guard,
    Inventory,
    Lacp,
    Network,
    Nic,
    Overlay,
    OverlayType,
    Peer,
    Policy,
    PortGroup,
    Uplink,
    Vlan,
    VlanMode,
)
from vnetd.reconcile import look, reconcile
from vnetd.status import as_text, report

HV1, HV2 = ip_address("192.0.2.11"), ip_address("192.0.2.12")
BLUE = Network(
    "blue",
    uuid_of(1),
    IfName("br-blue"),
    portgroups=(PortGroup("web", True, Vlan(VlanMode.ACCESS, 10)),),
    overlay=Overlay(OverlayType.GRE, 100, (Peer("hv1", HV1), Peer("hv2", HV2))),
)
WEB = Nic(mac_of(1), "blue", tap=IfName("vnet1"), iface_id=uuid_of(11), owner="web", owner_uuid=uuid_of(9))
ALL = Inventory((BLUE,), (WEB,), complete=True)


@pytest.fixture
def running(host: FakeHost) -> FakeHost:
    host.addresses = {HV1}
    host.link_comes("vnet1")
    reconcile(ALL, host.rim())
    return host


def status(host: FakeHost, inventory: Inventory = ALL, drops: tuple[Drop, ...] = ()) -> dict[str, Any]:
    return report(*look(inventory, host.rim()), drops)


def rows(text: str) -> dict[str, list[str]]:
    """The table's lines by their first word."""
    return {line.split()[0]: line.split() for line in text.splitlines() if line.strip()}


def test_the_report_has_one_shape_and_is_plain_json(running: FakeHost) -> None:
    found = json.loads(json.dumps(status(running, drops=(Drop("vnet1", "foreign source MAC", 7, 700),))))
    (tunnel,) = found["tunnels"]
    assert found == {
        "networks": [
            {
                "name": "blue",
                "uuid": uuid_of(1),
                "bridge": "br-blue",
                "state": "up",
                "overlay": {"type": "gre", "segment": 100, "local": "192.0.2.11", "peers": 1, "alive": 1, "mtu": None},
                "parent": None,
                "uplink": None,
                "bond": None,
                "joints": [],
                "dropped": {},
                "ports": 1,
                "error": None,
            }
        ],
        "ports": [
            {
                "tap": "vnet1",
                "guest": "web",
                "network": "blue",
                "portgroup": "web",
                "mac": mac_of(1),
                "vlan": "VLAN 10",
                "guard": "mac",
                "addresses": [],
                "isolated": False,
                "mtu": 1500,
                "state": "up",
                "dropped": {"foreign source MAC": 7},
                "error": None,
            }
        ],
        "tunnels": [
            {
                "name": tunnel["name"],
                "type": "gre",
                "local": "192.0.2.11",
                "remote": "192.0.2.12",
                "peers": ["hv2"],
                "networks": ["blue"],
                "state": "up",
                "path_mtu": None,
                "error": None,
            }
        ],
        "problems": [],
        "to_do": [],
        "dataplane": None,
    }


def test_an_empty_host_is_told_as_empty(host: FakeHost) -> None:
    found = status(host, Inventory())
    assert found == {"networks": [], "ports": [], "tunnels": [], "problems": [], "to_do": [], "dataplane": None}
    assert as_text(found).splitlines() == [
        "vnetd does not run; this is what one look at the host shows",
        "",
        "no networks",
        "",
        "no ports",
        "",
        "no tunnels",
    ]


def test_every_object_carries_its_own_error(running: FakeHost) -> None:
    other = replace(WEB, tap=IfName("vnet2"), mac=mac_of(2), owner="db")
    found = status(running, Inventory((replace(BLUE, uplink=Uplink((IfName("eth9"),))),), (WEB, other), complete=True))
    (network,) = found["networks"]
    assert network["state"] == "error"
    assert "its uplink eth9 is not on this host" in network["error"]
    assert [(port["tap"], port["state"], port["error"]) for port in found["ports"]] == [
        ("vnet1", "up", None),
        ("vnet2", "error", "its tap device is not there"),
    ]


def test_what_stops_nothing_is_a_notice(running: FakeHost) -> None:
    running.addresses = set()
    found = status(running)
    assert found["networks"][0]["state"] == "notice"
    assert found["networks"][0]["overlay"] == {"type": "gre", "segment": 100, "local": None, "peers": 2, "alive": 0, "mtu": None}
    assert [problem["soft"] for problem in found["problems"]] == [True]


def test_what_somebody_broke_shows_before_it_is_repaired(running: FakeHost) -> None:
    running.hand_delete_port("vnet1")
    found = status(running)
    assert found["ports"][0]["state"] == "missing"
    assert found["to_do"][0] == "+ port vnet1 on br-blue (guest, VLAN 10)"
    running.hand_delete_bridge("br-blue")
    assert status(running)["networks"][0]["state"] == "missing"


def test_a_tunnel_that_the_switch_did_not_make_says_why(running: FakeHost) -> None:
    (name,) = [name for name, row in running.ports.items() if row.type == "gre"]
    running.ports[name].ofport, running.ports[name].error = -1, "could not add network device (File exists)"
    (tunnel,) = status(running)["tunnels"]
    assert (tunnel["state"], tunnel["error"]) == ("error", "Open vSwitch did not make it: could not add network device (File exists)")


def test_a_port_that_nobody_claims_is_told_as_closed(running: FakeHost) -> None:
    running.hand_port("my-port", "br-blue")
    (_, port) = status(running)["ports"]
    assert (port["tap"], port["state"], port["guest"]) == ("my-port", "closed", None)
    assert "no guest or file that vnetd knows claims it, so nothing it sends passes" in port["error"]


def test_ports_of_other_peoples_bridges_are_not_told(running: FakeHost) -> None:
    running.hand_bridge("br-user")
    running.hand_port("my-port", "br-user")
    assert [port["tap"] for port in status(running)["ports"]] == ["vnet1"]


def test_foreign_flows_are_a_problem_of_their_bridge(running: FakeHost) -> None:
    running.hand_flow("br-blue", "priority=7 actions=NORMAL")
    (problem,) = status(running)["problems"]
    assert (problem["kind"], problem["name"]) == ("bridge", "br-blue")
    assert "bridge br-blue: it has a flow that vnetd did not make" in as_text(status(running))


def test_drops_that_are_counted_for_the_whole_bridge_are_told_too(running: FakeHost) -> None:
    """A frame from a port that no policy names has no other account than its bridge's."""
    found = status(running, drops=(Drop("br-blue", "port without policy", 3, 300), Drop("vnet1", "second VLAN tag", 4, 400)))
    assert found["networks"][0]["dropped"] == {"port without policy": 3}
    assert found["ports"][0]["dropped"] == {"second VLAN tag": 4}


def test_a_strict_guests_addresses_are_told_as_one_writes_them(running: FakeHost) -> None:
    addresses = tuple(map(ip_network, ("10.0.0.1", "10.0.1.0/24", "2001:db8::1")))
    group = replace(BLUE.portgroups[0], policy=Policy(guard=Guard.STRICT, isolated=True))
    network = replace(BLUE, portgroups=(group,))
    (port,) = status(running, replace(ALL, networks=(network,), nics=(replace(WEB, addresses=addresses),)))["ports"]
    assert port["addresses"] == ["10.0.0.1", "10.0.1.0/24", "2001:db8::1"]
    assert port["isolated"] is True
    assert port["guard"] == "strict"


def test_the_table_has_a_line_for_each_object(running: FakeHost) -> None:
    found = status(running, drops=(Drop("vnet1", "foreign source MAC", 7, 700), Drop("br-blue", "second VLAN tag", 3, 300)))
    found["daemon"] = {"pid": 42, "version": "1.2", "libvirt": "connected", "trouble": ""}
    text = as_text(found)
    lines = rows(text)
    assert text.startswith("vnetd 1.2 runs with pid 42, libvirt: connected\n\n")
    assert lines["blue"] == ["blue", "br-blue", "gre", "100,", "1", "of", "1", "peers", "-", "-", "1", "3", "second", "VLAN", "tag", "up"]
    assert lines["vnet1"] == ["vnet1", "web", "blue", "web", mac_of(1), "VLAN", "10", "mac", "7", "foreign", "source", "MAC", "up"]
    assert all(line == line.rstrip() for line in text.splitlines())


def test_columns_stand_below_their_heads(running: FakeHost) -> None:
    head, line = [line for line in as_text(status(running)).splitlines() if line.startswith(("PORT", "vnet1"))]
    for word, value in (("GUEST", "web"), ("NETWORK", "blue"), ("MAC", mac_of(1)), ("STATE", "up")):
        assert line[head.index(word) :].startswith(value)


def test_the_table_says_what_is_still_to_do_but_not_without_end(running: FakeHost) -> None:
    running.vswitchd_restart()
    found = status(running)
    assert len(found["to_do"]) > 10
    last = as_text(found).split("\n\n")[-1].splitlines()
    assert last[0] == f"not as it should be; vnetctl apply would change {len(found['to_do'])}:"
    assert len(last) == 11


def test_the_daemons_trouble_stands_in_the_first_line(running: FakeHost) -> None:
    found = status(running)
    found["daemon"] = {"pid": 42, "version": "1.2", "libvirt": "away", "trouble": "ovsdb-server is away"}
    assert as_text(found).splitlines()[0] == "vnetd 1.2 runs with pid 42, libvirt: away, in trouble: ovsdb-server is away"


def test_a_bond_is_told_with_its_nics(host: FakeHost) -> None:
    host.link_comes("eth2", up=False)
    uplink = Uplink(tuple(map(IfName, ("eth1", "eth2", "eth9"))), bond=Bond(IfName("bond0"), BondMode.BALANCE_TCP, Lacp.ACTIVE))
    inventory = Inventory((Network("wire", uuid_of(4), IfName("br-wire"), uplink=uplink),), complete=True)
    reconcile(inventory, host.rim())
    host.links["eth2"] = False
    (found,) = status(host, inventory)["networks"]
    assert found["uplink"] == "eth1,eth2,eth9"
    assert found["bond"] == {
        "name": "bond0",
        "mode": "balance-tcp",
        "lacp": "active",
        "members": [
            {"name": "eth1", "link": "up", "lacp": None, "error": None},
            {"name": "eth2", "link": "down", "lacp": None, "error": None},
            {"name": "eth9", "link": "missing", "lacp": None, "error": None},
        ],
    }
    assert "bond0 (balance-tcp, LACP without answer): eth1 up, eth2 down, eth9 missing" in as_text(status(host, inventory))


def test_joined_bridges_and_vlans_of_bridges_are_told(running: FakeHost) -> None:
    lan = Network("lan", uuid_of(4), IfName("br-lan"), patches=(IfName("br-user"),))
    vlan = Network("vlan", uuid_of(5), IfName("br-vlan"))
    running.hand_bridge("br-user")
    reconcile(Inventory((BLUE, lan), (WEB,), complete=True), running.rim())
    running.hand_fake_bridge("br-vlan", "br-lan", 7)
    inventory = Inventory((BLUE, lan, vlan), (WEB,), complete=True)
    reconcile(inventory, running.rim())
    found = status(running, inventory)
    networks = {one["name"]: one for one in found["networks"]}
    assert [(one["bridge"], one["state"]) for one in networks["lan"]["joints"]] == [("br-user", "up")]
    assert (networks["vlan"]["state"], networks["vlan"]["parent"]) == ("up", {"bridge": "br-lan", "vlan": 7})
    assert (networks["lan"]["parent"], networks["vlan"]["joints"]) == (None, [])
    assert [port["tap"] for port in found["ports"]] == ["vnet1"]
    text = as_text(found)
    assert rows(text)["lan"][:6] == ["lan", "br-lan", "-", "-", "br-user", "0"]
    assert rows(text)["vlan"][:9] == ["vlan", "br-vlan", "-", "-", "VLAN", "7", "of", "br-lan", "0"]
    running.hand_delete_port(networks["lan"]["joints"][0]["port"])
    assert status(running, inventory)["networks"][1]["joints"][0]["state"] == "missing"


@pytest.mark.parametrize("guard", list(Guard))
def test_guards_are_words(running: FakeHost, guard: Guard) -> None:
    network = replace(BLUE, policy=replace(BLUE.policy, guard=guard))
    assert json.loads(json.dumps(status(running, replace(ALL, networks=(network,)))))["ports"][0]["guard"] == str(guard)
