"""The worked examples in xml/: each is read, checked against vnet.rng and libvirt's schemas, and means what it says."""

from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from lxml import etree

from vnetd.model.names import HostName, IfName, Mac
from vnetd.model.network import (
    Bandwidth,
    Bfd,
    Binding,
    Bond,
    BondMode,
    Encapsulation,
    Guard,
    Lacp,
    Network,
    Nic,
    Overlay,
    OverlayType,
    Peer,
    Policy,
    PortGroup,
    QinQ,
    Qos,
    Rate,
    Uplink,
    Vlan,
    VlanMode,
)
from vnetd.validate import validate
from vnetd.xmlread import DOMAIN_NS, NETWORK_NS, read_domain, read_interface, read_network

XML = Path(__file__).resolve().parents[2] / "xml"
LIBVIRT_SCHEMAS = Path("/usr/share/libvirt/schemas")
EXAMPLES = sorted(str(path.relative_to(XML)) for path in XML.rglob("*.xml"))
RELAXNG = "{http://relaxng.org/ns/structure/1.0}"
NOTES = "{http://relaxng.org/ns/compatibility/annotations/1.0}"

VLANS = (
    PortGroup("vlan-10", default=True, vlan=Vlan(VlanMode.ACCESS, 10)),
    PortGroup("vlan-20", vlan=Vlan(VlanMode.ACCESS, 20)),
    PortGroup("vlan-all", vlan=Vlan(VlanMode.TRUNK, None, (10, 20))),
)


def peers(count: int, prefix: str) -> tuple[Peer, ...]:
    return tuple(Peer(f"hv{number}", ip_address(f"{prefix}{10 + number}")) for number in range(1, count + 1))


NETWORKS = {
    "isolated.xml": Network("isolated", "", IfName("br-isolated")),
    "flat-uplink.xml": Network("flat", "", IfName("br-flat"), uplink=Uplink((IfName("eth1"),))),
    "vlan-portgroups.xml": Network("lan", "", IfName("br-lan"), portgroups=VLANS, uplink=Uplink((IfName("eth2"),))),
    "overlay-gre.xml": Network(
        "blue", "", IfName("br-blue"), portgroups=VLANS, overlay=Overlay(OverlayType.GRE, 100, peers(5, "192.0.2."))
    ),
    "overlay-vxlan.xml": Network(
        "green",
        "",
        IfName("br-green"),
        portgroups=(PortGroup("guests", default=True), PortGroup("router", policy=Policy(Guard.NONE))),
        overlay=Overlay(OverlayType.VXLAN, 5001, peers(2, "192.0.2.")),
        policy=Policy(Guard.MAC),
    ),
    "overlay-geneve.xml": Network(
        "red",
        "",
        IfName("br-red"),
        portgroups=(
            PortGroup("limited", default=True, bandwidth=Bandwidth(Rate(12500, 25000, 1024), Rate(12500, None, 1024))),
            PortGroup("unlimited"),
        ),
        overlay=Overlay(OverlayType.GENEVE, 7001, peers(3, "2001:db8::")),
    ),
    "overlay-names.xml": Network(
        "sites",
        "",
        IfName("br-sites"),
        overlay=Overlay(
            OverlayType.VXLAN,
            16777215,
            (Peer("hv1", HostName("hv1.paris.example")), Peer("hv2", HostName("hv2.lyon.example"))),
            Encapsulation(csum=True, ttl="64", tos="inherit"),
            Bfd(1000, 5),
            responder=False,
        ),
    ),
    "strict.xml": Network(
        "strict",
        "",
        IfName("br-strict"),
        portgroups=(
            PortGroup("vlan-10", default=True, vlan=Vlan(VlanMode.ACCESS, 10)),
            PortGroup("vlan-20", vlan=Vlan(VlanMode.ACCESS, 20), policy=Policy(flood=200, neighbour=50)),
            PortGroup("dmz", vlan=Vlan(VlanMode.ACCESS, 30), policy=Policy(isolated=True)),
        ),
        overlay=Overlay(OverlayType.GRE, 200, peers(2, "192.0.2.")),
        policy=Policy(Guard.STRICT),
        bindings=(
            Binding(Mac("52:54:00:00:00:07"), ip_network("10.0.10.1")),
            Binding(Mac("52:54:00:00:00:08"), ip_network("10.0.30.8")),
            Binding(Mac("52:54:00:00:00:07"), ip_network("2001:db8:77::/64")),
        ),
    ),
    "qinq.xml": Network(
        "metro",
        "",
        IfName("br-metro"),
        portgroups=(
            PortGroup("customer-a", vlan=Vlan(VlanMode.ACCESS, 100), qinq=QinQ((10, 20), 0x88A8)),
            PortGroup("customer-b", vlan=Vlan(VlanMode.ACCESS, 200), qinq=QinQ((), 0x88A8)),
        ),
        uplink=Uplink((IfName("eth3"),)),
    ),
    "bond-uplink.xml": Network(
        "rack",
        "",
        IfName("br-rack"),
        portgroups=VLANS[:2],
        uplink=Uplink((IfName("eth4"), IfName("eth5")), bond=Bond(IfName("bond0"), BondMode.BALANCE_TCP, Lacp.ACTIVE)),
    ),
    "patch.xml": Network("office", "", IfName("br-office"), vlan=Vlan(VlanMode.ACCESS, 10), patches=(IfName("br0"),)),
    "bandwidth.xml": Network(
        "metered",
        "",
        IfName("br-metered"),
        portgroups=(
            PortGroup(
                "small",
                default=True,
                bandwidth=Bandwidth(Rate(6250, 12500, 1024), Rate(12500, None, 1024)),
                aggregate=Bandwidth(Rate(25000), Rate(25000)),
            ),
            PortGroup("phones", bandwidth=Bandwidth(Rate(125, 125), Rate(125)), qos=Qos(pps=1000, dscp=46)),
        ),
        qos=Qos(pps=50000, trust=False),
        aggregate=Bandwidth(Rate(125000, None, 4096), Rate(125000, None, 4096)),
    ),
}

GUESTS = {
    "domain-portgroup.xml": Nic(Mac("52:54:00:00:00:01"), network="blue", portgroup="vlan-10", mtu=1454, owner="vm1"),
    "domain-trunk.xml": Nic(
        Mac("52:54:00:00:00:02"), network="blue", portgroup="vlan-all", mtu=1454, policy=Policy(Guard.NONE), owner="router1"
    ),
    "domain-own-vlan.xml": Nic(
        Mac("52:54:00:00:00:03"),
        network="blue",
        vlan=Vlan(VlanMode.ACCESS, 30),
        bandwidth=Bandwidth(Rate(12500, 25000, 1024), Rate(6250, None, 512)),
        mtu=1454,
        owner="vm3",
    ),
    "domain-ethernet.xml": Nic(Mac("52:54:00:00:00:04"), tap=IfName("tap0"), mtu=1454, owner="vm4"),
    "domain-strict.xml": Nic(
        Mac("52:54:00:00:00:05"),
        network="strict",
        portgroup="vlan-10",
        mtu=1454,
        addresses=(ip_network("10.0.10.5"), ip_network("2001:db8:10::5")),
        owner="vm5",
    ),
    "domain-limits.xml": Nic(
        Mac("52:54:00:00:00:09"),
        network="metered",
        portgroup="small",
        bandwidth=Bandwidth(Rate(25000, 25000, 2048), Rate(25000, None, 2048)),
        qos=Qos(pps=0, dscp=10),
        owner="vm6",
    ),
}

TAPS = {
    "taps/tap0.xml": Nic(None, network="blue", portgroup="vlan-20", tap=IfName("tap0"), mtu=1454, policy=Policy(Guard.MAC), owner="tap0"),
    "taps/tap1.xml": Nic(
        Mac("52:54:00:00:00:06"),
        network="strict",
        portgroup="vlan-20",
        tap=IfName("tap1"),
        mtu=1454,
        policy=Policy(flood=1000),
        addresses=(ip_network("10.0.20.6"), ip_network("2001:db8:20::/120")),
        owner="tap1",
    ),
}


def test_every_example_has_its_meaning_written_here():
    assert sorted({*NETWORKS, *GUESTS, *TAPS}) == EXAMPLES


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_means(name):
    assert read_network((XML / name).read_bytes()) == NETWORKS[name]


@pytest.mark.parametrize("name", GUESTS)
def test_a_guest_means(name):
    reading = read_domain((XML / name).read_bytes())
    assert reading.faults == ()
    assert reading.domain.nics == (GUESTS[name],)


@pytest.mark.parametrize("name", TAPS)
def test_a_tap_means(name):
    assert read_interface((XML / name).read_bytes(), IfName(Path(name).stem)) == TAPS[name]


def test_the_examples_fit_together():
    rows = validate([XML / name for name in EXAMPLES])
    assert [row for row in rows if row[2] is not None] == []
    assert len(rows) == len(EXAMPLES)


def test_the_ethernet_guest_and_the_tap_file_are_about_the_same_tap():
    assert GUESTS["domain-ethernet.xml"].tap == TAPS["taps/tap0.xml"].tap


def vnet_elements(name: str) -> list[etree._Element]:
    """The outermost elements of vnetd's in an example."""
    root = etree.parse(str(XML / name)).getroot()
    return [
        element for element in root.iter(f"{{{NETWORK_NS}}}*", f"{{{DOMAIN_NS}}}*") if etree.QName(element.getparent()).namespace is None
    ]


@pytest.mark.parametrize("name", EXAMPLES)
def test_vnets_own_elements_are_valid(name):
    schema = etree.RelaxNG(etree.parse(str(XML / "vnet.rng")))
    found = vnet_elements(name)
    # Guests need nothing of vnetd's, networks always do.
    assert found or name in GUESTS
    for element in found:
        schema.assertValid(element)


@pytest.mark.parametrize("name", [*NETWORKS, *GUESTS])
def test_libvirts_own_schema_accepts_it(name):
    schema = LIBVIRT_SCHEMAS / ("network.rng" if name in NETWORKS else "domain.rng")
    etree.RelaxNG(etree.parse(str(schema))).assertValid(etree.parse(str(XML / name)))


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_comment_on_top_says_what_it_is_for(name):
    text = (XML / name).read_text(encoding="utf-8")
    comment = text[: text.index("-->")].removeprefix("<!--").strip().splitlines()
    assert 2 <= len(comment) <= 6
    assert Path(name).name in " ".join(comment)


def test_every_definition_of_the_schema_is_explained():
    root = etree.parse(str(XML / "vnet.rng")).getroot()
    for define in root.iter(f"{RELAXNG}define"):
        assert define[0].tag == f"{NOTES}documentation", define.get("name")
        assert len(define[0].text) > 10
