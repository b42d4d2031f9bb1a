"""Rows of OVSDB as values, tried with rows that have the columns of the real ones."""

from __future__ import annotations

import pytest
from raw_rows import interface, port

from vnetd.adapters.ovsrows import SeenPorts, put_vlan, seen_port, vlan_limit, vlan_of
from vnetd.model.network import Vlan, VlanMode
from vnetd.model.state import ROLE, Role


@pytest.mark.parametrize(
    "vlan",
    [
        None,
        Vlan(VlanMode.ACCESS),
        Vlan(VlanMode.ACCESS, 10),
        Vlan(VlanMode.TRUNK, None, (10, 20)),
        Vlan(VlanMode.NATIVE_TAGGED, 10, (10, 20)),
        Vlan(VlanMode.DOT1Q_TUNNEL, 100, (), (), 0x88A8),
        Vlan(VlanMode.DOT1Q_TUNNEL, 100, (), (7, 8), 0x8100),
    ],
    ids=str,
)
@pytest.mark.parametrize("before", [Vlan(VlanMode.DOT1Q_TUNNEL, 5, (), (1,), 0x8100), Vlan(VlanMode.TRUNK, None, (1, 2)), None], ids=str)
def test_a_vlan_reads_back_as_it_was_written_whatever_stood_there(vlan: Vlan | None, before: Vlan | None) -> None:
    row = port("vnet1", other_config={"somebodys": "own"})
    put_vlan(row, before)
    put_vlan(row, vlan)
    assert vlan_of(row) == vlan
    assert row.other_config["somebodys"] == "own"
    assert ("qinq-ethtype" in row.other_config) is (vlan is not None and vlan.tpid == 0x8100 and vlan.mode is VlanMode.DOT1Q_TUNNEL)


def test_columns_that_vnetd_never_leaves_so_differ_from_all_that_it_writes() -> None:
    assert vlan_of(port("p", tag=[10])) == Vlan(VlanMode.TRUNK, 10, (-1,))
    assert vlan_of(port("p", tag=[10], vlan_mode=["access"], cvlans=[7])) != Vlan(VlanMode.ACCESS, 10)


@pytest.mark.parametrize(
    ("settings", "limit"),
    [({}, None), ({"vlan-limit": "2"}, 2), ({"vlan-limit": "0"}, 0), ({"vlan-limit": "-1"}, -1), ({"vlan-limit": "two"}, None)],
)
def test_the_vlan_limit_is_read_as_open_vswitch_reads_it(settings: dict[str, str], limit: int | None) -> None:
    assert vlan_limit({"dpdk-init": "false", **settings}) == limit


def test_a_bond_is_live_when_every_nic_is_and_says_which_is_not() -> None:
    good, bad = interface("eth1", ofport=[3], lacp_current=[True]), interface("eth2", ofport=[-1], error=["could not open eth2"])
    row = port("bond0", bad, good, bond_mode=["balance-slb"], lacp=["active"], external_ids={ROLE: "bond"})
    seen = seen_port(row, "bond-x")
    assert (seen.port.role, seen.port.members) == (Role.BOND, ("eth1", "eth2"))
    assert seen.port.bond == (("bond_mode", "balance-slb"), ("lacp", "active"))
    assert not seen.live
    assert seen.error == "eth2: could not open eth2"
    assert [(one.name, one.ofport, one.lacp) for one in seen.members] == [("eth1", 3, True), ("eth2", -1, None)]
    bad.ofport, bad.error = [4], []
    assert seen_port(row, "bond-x").live


def test_a_bond_of_one_nic_is_a_bond_and_a_port_is_none() -> None:
    assert seen_port(port("bond0", interface("eth1")), "b").port.members == ("eth1",)
    assert seen_port(port("eth1", interface("eth1")), "b").port.members == ()


def test_a_nics_own_columns_differ_when_somebody_changed_them() -> None:
    row = port("bond0", interface("eth1"), interface("eth2", type="internal", mtu_request=[9000], options={"a": "b"}))
    seen = seen_port(row, "b").port
    assert (seen.type, seen.mtu, seen.options) == ("internal", 9000, (("a", "b"),))


def test_what_was_read_is_believed_until_a_row_of_the_bond_changes() -> None:
    one, other = interface("eth1"), interface("eth2")
    row, seen = port("bond0", one, other), SeenPorts()
    first, _ = seen.port(row, "b")
    other.lacp_current = [True]
    assert seen.port(row, "b")[0] is first
    seen.forget(other.uuid)
    assert [member.lacp for member in seen.port(row, "b")[0].members] == [None, True]
    one.ofport = [-1]
    seen.forget(one.uuid)
    assert not seen.port(row, "b")[0].live


@pytest.mark.parametrize(("fake", "tag", "vlan"), [(True, [7], 7), (True, [], 0), (False, [7], None)])
def test_a_fake_bridge_is_known_by_its_vlan(fake: bool, tag: list[int], vlan: int | None) -> None:
    assert SeenPorts().port(port("br-v", interface("br-v", type="internal"), fake_bridge=fake, tag=tag), "b")[1] == vlan
