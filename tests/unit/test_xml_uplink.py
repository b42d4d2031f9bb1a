"""What leads out of a network's bridge, as the XML says it: a NIC, a bond or patches, and what is refused of them."""

import pytest
from badxml import as_network, network, refusal

from vnetd.model.network import Bond, BondMode, Lacp, Uplink
from vnetd.xmlread import DOMAIN_NS, read_network

NICS = "<vnet:nic dev='eth2'/><vnet:nic dev='eth1'/>"
PEERS = "<vnet:overlay type='gre' segment='1'><vnet:peer name='a' address='192.0.2.1'/></vnet:overlay>"


def bond(attributes: str = "", nics: str = NICS) -> str:
    return f"<vnet:uplink bond='bond0' {attributes}>{nics}</vnet:uplink>"


@pytest.mark.parametrize(("force", "means"), [("", False), ("force='no'", False), ("force='yes'", True)])
def test_one_nic(force, means):
    assert read_network(network(f"<vnet:uplink dev='eth1' {force}/>")).uplink == Uplink(("eth1",), means)


@pytest.mark.parametrize(
    ("attributes", "mode", "lacp", "force"),
    [
        ("", BondMode.ACTIVE_BACKUP, Lacp.OFF, False),
        ("force='yes'", BondMode.ACTIVE_BACKUP, Lacp.OFF, True),
        ("lacp='passive'", BondMode.ACTIVE_BACKUP, Lacp.PASSIVE, False),
        ("mode='active-backup' lacp='off'", BondMode.ACTIVE_BACKUP, Lacp.OFF, False),
        ("mode='balance-slb'", BondMode.BALANCE_SLB, Lacp.OFF, False),
        ("mode='balance-slb' lacp='active'", BondMode.BALANCE_SLB, Lacp.ACTIVE, False),
        ("mode='balance-tcp' lacp='active'", BondMode.BALANCE_TCP, Lacp.ACTIVE, False),
        ("mode='balance-tcp' lacp='passive' force='no'", BondMode.BALANCE_TCP, Lacp.PASSIVE, False),
    ],
)
def test_a_bond(attributes, mode, lacp, force):
    assert read_network(network(bond(attributes))).uplink == Uplink(("eth1", "eth2"), force, Bond("bond0", mode, lacp))


def test_the_order_in_which_nics_and_patches_stand_says_nothing():
    one, other = (f"<vnet:nic dev='eth{n}'/>" for n in (1, 2))
    third = "<vnet:nic dev='eth10'/>"
    assert read_network(network(bond("", one + other + third))) == read_network(network(bond("", third + other + one)))
    one, other = (f"<vnet:patch bridge='br{n}'/>" for n in (1, 2))
    assert read_network(network(other + one)).patches == read_network(network(one + other)).patches == ("br1", "br2")


def test_no_patch_and_one():
    assert read_network(network()).patches == ()
    assert read_network(network("<vnet:patch bridge='br0'/>")).patches == ("br0",)


REFUSED = [
    # One NIC.
    ("<vnet:uplink/>", "<vnet:uplink>: has no dev; write dev='…'"),
    (
        "<vnet:uplink dev='a;reboot'/>",
        "<vnet:uplink> dev: 'a;reboot' is no interface name; write 1 to 15 of A-Z a-z 0-9 _ . -, beginning with a letter, a digit or _",
    ),
    (
        "<vnet:uplink dev='--help'/>",
        "<vnet:uplink> dev: '--help' is no interface name; write 1 to 15 of A-Z a-z 0-9 _ . -, beginning with a letter, a digit or _",
    ),
    ("<vnet:uplink dev='lo'/>", "<vnet:uplink> dev: 'lo' has a meaning of its own on every host; write another name"),
    ("<vnet:uplink dev='eth1' force='true'/>", "<vnet:uplink> force: 'true' is neither 'yes' nor 'no'"),
    ("<vnet:uplink dev='eth1' mtu='9000'/>", "<vnet:uplink>: has no attribute 'mtu'; it takes dev, force"),
    (
        "<vnet:uplink dev='br-blue'/>",
        "<vnet:uplink>: has dev='br-blue', which is the network's own bridge; write another name",
    ),
    (
        "<vnet:uplink dev='eth1'/><vnet:uplink dev='eth2'/>",
        "<vnet:uplink>: stands here twice; write one bond of both: <vnet:uplink bond='bond0'> with a <vnet:nic dev='…'/> for each",
    ),
    (
        "<vnet:uplink dev='eth1' lacp='active'/>",
        "<vnet:uplink>: has lacp and no bond; write bond='bond0' and two or more <vnet:nic dev='…'/>, or dev='…' alone",
    ),
    (
        "<vnet:uplink mode='balance-slb'/>",
        "<vnet:uplink>: has mode and no bond; write bond='bond0' and two or more <vnet:nic dev='…'/>, or dev='…' alone",
    ),
    (
        f"<vnet:uplink dev='eth1'>{NICS}</vnet:uplink>",
        "<vnet:uplink>: has <vnet:nic> and no bond; write bond='bond0' and two or more <vnet:nic dev='…'/>, or dev='…' alone",
    ),
    # A bond.
    (
        bond("dev='eth1'"),
        "<vnet:uplink>: has dev and bond; write dev='…' for one NIC, or bond='bond0' with a <vnet:nic dev='…'/> for each of several",
    ),
    (bond("nics='eth1 eth2'"), "<vnet:uplink>: has no attribute 'nics'; it takes bond, mode, lacp, force"),
    (bond("", NICS + "<vnet:dev/>"), "<vnet:dev>: does not belong in <vnet:uplink>; it takes nic"),
    (bond("", "eth1 eth2"), "<vnet:uplink>: takes no text"),
    (
        bond("").replace("bond0", "../../x"),
        "<vnet:uplink> bond: '../../x' is no interface name; write 1 to 15 of A-Z a-z 0-9 _ . -, beginning with a letter, a digit or _",
    ),
    (bond("").replace("bond0", "br-blue"), "<vnet:uplink>: has bond='br-blue', which is the network's own bridge; write another name"),
    (
        bond("mode='802.3ad'"),
        "<vnet:uplink> mode: '802.3ad' is unknown; write 'active-backup' or 'balance-slb' or 'balance-tcp'",
    ),
    (bond("mode=''"), "<vnet:uplink> mode: '' is unknown; write 'active-backup' or 'balance-slb' or 'balance-tcp'"),
    (bond("lacp='on'"), "<vnet:uplink> lacp: 'on' is unknown; write 'off' or 'active' or 'passive'"),
    (bond("force='1'"), "<vnet:uplink> force: '1' is neither 'yes' nor 'no'"),
    (
        bond("mode='balance-tcp'"),
        "<vnet:uplink>: has mode='balance-tcp', which needs a switch that bundles the same ports; write lacp='active' or lacp='passive'",
    ),
    (
        bond("mode='balance-tcp' lacp='off'"),
        "<vnet:uplink>: has mode='balance-tcp', which needs a switch that bundles the same ports; write lacp='active' or lacp='passive'",
    ),
    (bond("", ""), "<vnet:uplink>: has no NICs; write two or more <vnet:nic dev='…'/> inside it"),
    (
        bond("", "<vnet:nic dev='eth1'/>"),
        "<vnet:uplink>: is a bond of one NIC; write <vnet:uplink dev='eth1'/>, or a second <vnet:nic dev='…'/>",
    ),
    (bond("", NICS + "<vnet:nic dev='eth2'/>"), "<vnet:nic>: stands here twice for eth2; write it once"),
    (
        bond("", NICS + "<vnet:nic dev='bond0'/>"),
        "<vnet:nic>: has dev='bond0', which is the name of its bond; write another name for the bond",
    ),
    (
        bond("", NICS + "<vnet:nic dev='br-blue'/>"),
        "<vnet:nic>: has dev='br-blue', which is the network's own bridge; write another name",
    ),
    (bond("", NICS + "<vnet:nic/>"), "<vnet:nic>: has no dev; write dev='…'"),
    (bond("", NICS + "<vnet:nic dev='eth3' speed='10'/>"), "<vnet:nic>: has no attribute 'speed'; it takes dev"),
    (bond("", NICS + "<vnet:nic dev='eth3'><vnet:nic/></vnet:nic>"), "<vnet:nic>: does not belong in <vnet:nic>; it takes none"),
    (
        bond("", NICS + "<vnet:nic dev='eth3;id'/>"),
        "<vnet:nic> dev: 'eth3;id' is no interface name; write 1 to 15 of A-Z a-z 0-9 _ . -, beginning with a letter, a digit or _",
    ),
    (bond("", NICS + "<nic dev='eth3'/>"), "<nic>: stands inside vnetd's element without its prefix; write vnet:nic"),
    (
        bond("", NICS + f"<d:nic xmlns:d='{DOMAIN_NS}' dev='eth3'/>"),
        "<vnet:nic>: does not belong in <vnet:uplink>; it takes nic",
    ),
    # Patches.
    ("<vnet:patch/>", "<vnet:patch>: has no bridge; write bridge='…'"),
    ("<vnet:patch bridge='br0' vlan='10'/>", "<vnet:patch>: has no attribute 'vlan'; it takes bridge"),
    ("<vnet:patch bridge='br0'><vnet:tag id='1'/></vnet:patch>", "<vnet:tag>: does not belong in <vnet:patch>; it takes none"),
    (
        "<vnet:patch bridge='b0;id'/>",
        "<vnet:patch> bridge: 'b0;id' is no interface name; write 1 to 15 of A-Z a-z 0-9 _ . -, beginning with a letter, a digit or _",
    ),
    ("<vnet:patch bridge='all'/>", "<vnet:patch> bridge: 'all' has a meaning of its own on every host; write another name"),
    ("<vnet:patch bridge='br-blue'/>", "<vnet:patch>: has bridge='br-blue', which is the network's own bridge; write another name"),
    ("<vnet:patch bridge='br0'/>" * 2, "<vnet:patch>: stands here twice for br0; write it once"),
    # Two ways out.
    (
        PEERS + "<vnet:uplink dev='eth1'/>",
        "<vnet:network>: has an overlay and an uplink, so where two uplinks meet, frames would circle between wire and tunnel; write one",
    ),
    (
        "<vnet:patch bridge='br0'/>" + PEERS,
        "<vnet:network>: has an overlay and a patch, so where two such bridges meet, frames would circle between them; write one",
    ),
    (
        "<vnet:patch bridge='br0'/><vnet:uplink dev='eth1'/>",
        "<vnet:network>: has an uplink and a patch, so frames would circle between hosts where both lead to the same wire; write one",
    ),
    (
        "<vnet:patch bridge='br0'/>" + bond(),
        "<vnet:network>: has an uplink and a patch, so frames would circle between hosts where both lead to the same wire; write one",
    ),
]


@pytest.mark.parametrize(("ours", "message"), REFUSED)
def test_refused(ours, message):
    assert refusal(as_network, network(ours)) == f"line 1, {message}"


def test_a_bond_of_ten_thousand_nics_is_read_in_time():
    nics = "".join(f"<vnet:nic dev='eth{n}'/>" for n in range(10_000))
    message = "line 1, <vnet:nic>: stands here twice for eth9999; write it once"
    assert refusal(as_network, network(bond("", nics + "<vnet:nic dev='eth9999'/>"))) == message
