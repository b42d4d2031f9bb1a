"""What libvirt's and vnetd's elements in a network mean: VLANs, bandwidth, policies, bindings and overlays."""

import time
from ipaddress import IPv4Address, ip_network

import pytest

from vnetd.errors import InputError
from vnetd.model.names import IfName, Mac
from vnetd.model.network import Bandwidth, Binding, Guard, Policy, Rate, Vlan, VlanMode
from vnetd.xmlread import NETWORK_NS, is_vnetd_network, read_interface, read_network, read_network_hook

TAP0 = IfName("tap0")
M1, M2 = Mac("52:54:00:00:00:01"), Mac("52:54:00:00:00:02")
UUID = "b41957c4-dfcc-4123-add7-17673e91dea0"


def network(ours: str = "", rest: str = "", name: str = "blue") -> bytes:
    return (
        f"<network><name>{name}</name><uuid>{UUID}</uuid>"
        f"<metadata><vnet:network xmlns:vnet='{NETWORK_NS}'>{ours}</vnet:network></metadata>"
        f"<forward mode='bridge'/><bridge name='br-blue'/><virtualport type='openvswitch'/>{rest}</network>"
    ).encode()


def interface(rest: str, source: str = "<source network='blue'/>") -> bytes:
    return f"<interface type='network'>{source}{rest}</interface>".encode()


# VLANs, as libvirt's formatnetwork says ("Setting VLAN tag").


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("<vlan><tag id='10'/></vlan>", Vlan(VlanMode.ACCESS, 10)),
        ("<vlan trunk='no'><tag id='10'/></vlan>", Vlan(VlanMode.ACCESS, 10)),
        ("<vlan trunk='yes'><tag id='10'/></vlan>", Vlan(VlanMode.TRUNK, None, (10,))),
        ("<vlan><tag id='20'/><tag id='10'/></vlan>", Vlan(VlanMode.TRUNK, None, (10, 20))),
        ("<vlan trunk='yes'><tag id='1'/><tag id='4094'/></vlan>", Vlan(VlanMode.TRUNK, None, (1, 4094))),
        (
            "<vlan trunk='yes'><tag id='10' nativeMode='tagged'/><tag id='20'/></vlan>",
            Vlan(VlanMode.NATIVE_TAGGED, 10, (10, 20)),
        ),
        ("<vlan><tag id='20'/><tag id='10' nativeMode='untagged'/></vlan>", Vlan(VlanMode.NATIVE_UNTAGGED, 10, (10, 20))),
        # libvirt would let every VLAN through here; what nobody wrote is not opened.
        ("<vlan><tag id='10' nativeMode='untagged'/></vlan>", Vlan(VlanMode.NATIVE_UNTAGGED, 10, (10,))),
    ],
)
def test_vlan(text, means):
    assert read_interface(interface(text), TAP0).vlan == means
    assert read_network(network(rest=text)).vlan == means
    assert read_network(network(rest=f"<portgroup name='a'>{text}</portgroup>")).portgroups[0].vlan == means


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<vlan/>", "names no VLAN"),
        ("<vlan><tag/></vlan>", "has no id"),
        ("<vlan><tag id='10'/><tag id='10'/></vlan>", "VLAN 10 twice"),
        ("<vlan trunk='no'><tag id='10'/><tag id='20'/></vlan>", "trunk='no'"),
        ("<vlan trunk='no'><tag id='10' nativeMode='tagged'/></vlan>", "trunk='no'"),
        ("<vlan trunk='maybe'><tag id='10'/></vlan>", "'maybe'"),
        ("<vlan><tag id='10' nativeMode='both'/></vlan>", "'both'"),
        ("<vlan><tag id='10' nativeMode=''/></vlan>", "nativeMode"),
        ("<vlan><tag id='10' nativeMode='tagged'/><tag id='20' nativeMode='tagged'/></vlan>", "two native VLANs"),
        ("<vlan><tag id='10'/></vlan><vlan><tag id='10'/></vlan>", "twice"),
    ],
)
def test_vlan_refused(text, words):
    with pytest.raises(InputError, match=words):
        read_interface(interface(text), TAP0)


# Bandwidth: kilobytes/s, kilobytes/s and KiB.


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("", Bandwidth()),
        ("<bandwidth/>", Bandwidth()),
        ("<bandwidth><inbound average='1000'/></bandwidth>", Bandwidth(Rate(1000))),
        (
            "<bandwidth><inbound average='1000' peak='5000' burst='1024'/><outbound average='128' burst='256'/></bandwidth>",
            Bandwidth(Rate(1000, 5000, 1024), Rate(128, None, 256)),
        ),
        # A floor is for libvirt's own bridges; Open vSwitch ports have none.
        ("<bandwidth><inbound floor='200'/></bandwidth>", Bandwidth()),
        ("<bandwidth><outbound average='536870911'/></bandwidth>", Bandwidth(None, Rate(536870911))),
    ],
)
def test_bandwidth(text, means):
    assert read_interface(interface(text), TAP0).bandwidth == means


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<bandwidth><inbound average='0'/></bandwidth>", "<inbound> average"),
        ("<bandwidth><inbound average='536870912'/></bandwidth>", "536870911"),
        ("<bandwidth><inbound average='-1'/></bandwidth>", "'-1'"),
        ("<bandwidth><outbound average='10' peak='5'/></bandwidth>", "peak of 5 below its average of 10"),
        ("<bandwidth><outbound average='10' burst='1.5'/></bandwidth>", "<outbound> burst"),
        ("<bandwidth><inbound average='1'/><inbound average='1'/></bandwidth>", "twice"),
    ],
)
def test_bandwidth_refused(text, words):
    with pytest.raises(InputError, match=words):
        read_interface(interface(text), TAP0)


# Networks.


def test_the_name_is_kept_to_the_letter_for_the_nics_ask_for_it_so():
    assert read_network(network(name=" blue ")).name == " blue "
    hook = read_network_hook(b"<hookData>" + network(name=" blue ") + b"<networkport/></hookData>")
    assert hook.name == " blue "
    assert b'network=" blue "' in hook.port


def test_portgroups_take_their_policy_from_vnets_element_of_the_same_name():
    ours = "<vnet:policy guard='mac'/><vnet:portgroup name='b'><vnet:policy guard='none'/></vnet:portgroup>"
    found = read_network(network(ours, "<portgroup name='a' default='yes'/><portgroup name='b'/>"))
    assert found.policy == Policy(Guard.MAC)
    assert [(group.name, group.default, group.policy.guard) for group in found.portgroups] == [
        ("a", True, None),
        ("b", False, Guard.NONE),
    ]
    assert found.portgroup(None) is found.portgroup("a")
    assert found.portgroup("c") is None


@pytest.mark.parametrize(
    ("rules", "means"),
    [
        ("", Policy()),
        ("guard='strict'", Policy(Guard.STRICT)),
        ("isolated='no'", Policy(isolated=False)),
        ("flood='1' neighbour='1000000'", Policy(flood=1, neighbour=1_000_000)),
        # 0 is no limit, and differs from a place that says nothing.
        ("flood='none' neighbour='none'", Policy(flood=0, neighbour=0)),
    ],
)
def test_a_policy_of_a_network_and_of_a_portgroup(rules, means):
    assert read_network(network(f"<vnet:policy {rules}/>")).policy == means
    ours = f"<vnet:portgroup name='a'><vnet:policy {rules}/></vnet:portgroup>"
    assert read_network(network(ours, "<portgroup name='a'/>")).portgroups[0].policy == means


def test_only_a_network_lets_guests_reach_the_host():
    assert read_network(network("<vnet:policy host='yes'/>")).policy == Policy(host=True)
    assert read_network(network("<vnet:policy host='no'/>")).policy == Policy(host=False)


def bound(mac: str, address: str) -> str:
    return f"<vnet:binding mac='{mac}' address='{address}'/>"


def test_bindings_are_sorted_by_address():
    texts = ["2001:db8::/64", "10.0.0.9", "9.0.0.0/8", "10.0.0.10", "2001:DB8::5"]
    found = read_network(network("".join(bound(M1.upper(), text) for text in texts))).bindings
    wanted = ["9.0.0.0/8", "10.0.0.9", "10.0.0.10", "2001:db8::/64", "2001:db8::5"]
    assert found == tuple(Binding(M1, ip_network(text)) for text in wanted)


@pytest.mark.parametrize(
    ("one", "other", "fine"),
    [
        ("10.0.0.0/24", "10.0.1.0/24", True),
        ("10.0.0.0/25", "10.0.0.128", True),
        ("10.0.0.0/24", "10.0.0.255", False),
        ("10.0.0.0", "10.0.0.0/24", False),
        ("10.0.0.0/24", "10.0.0.0/25", False),
        ("10.0.0.0/24", "::a00:0/120", True),
        ("2001:db8::/32", "2001:db8:ffff::1", False),
        ("2001:db8::ffff", "2001:db8::1:0", True),
    ],
)
def test_an_address_is_bound_to_one_mac(one, other, fine):
    def read(*macs: str):
        return read_network(network("".join(map(bound, macs, (one, other))))).bindings

    assert len(read(M1, M1)) == 2
    for macs in ((M1, M2), (M2, M1)):
        if fine:
            assert len(read(*macs)) == 2
        else:
            with pytest.raises(InputError, match="for one MAC only"):
                read(*macs)


def test_many_bindings_are_read_in_time():
    """As many as there may be, each MAC's inside a prefix of its own: no two pairs need to be compared that are apart."""
    lines = []
    for number in range(65536 // 256):
        mac, base = f"52:54:00:00:00:{number:02x}", 0x0A000000 + number * 256
        lines += [bound(mac, f"{IPv4Address(base)}/24"), *(bound(mac, str(IPv4Address(base + low))) for low in range(255))]
    began = time.process_time()
    assert len(read_network(network("".join(lines))).bindings) == 65536
    assert time.process_time() - began < 5


@pytest.mark.parametrize(("kind", "limit"), [("gre", 4294967295), ("vxlan", 16777215), ("geneve", 16777215)])
def test_a_segment_goes_up_to_what_the_protocol_carries(kind, limit):
    def read(segment: int):
        return read_network(
            network(f"<vnet:overlay type='{kind}' segment='{segment}'><vnet:peer name='a' address='192.0.2.1'/></vnet:overlay>")
        ).overlay.segment

    assert read(0) == 0
    assert read(limit) == limit
    with pytest.raises(InputError, match=f"<vnet:overlay> segment: '{limit + 1}' is not a number from 0 to {limit}"):
        read(limit + 1)


def test_foreign_elements_and_attributes_are_not_vnets_business():
    foreign = "<x:any xmlns:x='urn:x' a='1'>text<unknown/></x:any>"
    ours = f"{foreign}<vnet:uplink dev='eth1' x:y='z' xmlns:x='urn:x'>{foreign}</vnet:uplink>"
    assert read_network(network(ours)).uplink is not None


def test_vnets_elements_inside_a_foreign_one_are_not_vnets_business():
    kept = f"<x:backup xmlns:x='urn:x'><v:netwrok xmlns:v='{NETWORK_NS}'/></x:backup>".encode()
    assert read_network(network().replace(b"<metadata>", b"<metadata>" + kept)).name == "blue"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (network(), True),
        (network().replace(NETWORK_NS.encode(), b"urn:other"), False),
        (b"<network><name>default</name></network>", False),
        (b"<network><metadata/></network>", False),
        # A slip must not make the network nobody's, and its policy unread.
        (network().replace(b"vnet:network", b"vnet:netwrok"), True),
        (network().replace(b"</metadata>", b"<v:network xmlns:v='urn:vnetd:network:1'/></metadata>"), True),
    ],
)
def test_which_networks_are_meant_for_vnetd(text, meant):
    assert is_vnetd_network(text) is meant
