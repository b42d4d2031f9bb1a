"""What libvirt's and vnetd's elements mean: VLANs, bandwidth, policies, NICs and the network hook's data."""

import time
from ipaddress import IPv4Address, ip_network

import pytest

from vnetd.errors import InputError
from vnetd.model.names import IfName, Mac
from vnetd.model.network import Bandwidth, Binding, Guard, Nic, Policy, Rate, Vlan, VlanMode
from vnetd.xmlread import (
    DOMAIN_NS,
    NETWORK_NS,
    NicExtras,
    as_kept,
    interface_text,
    is_vnetd_network,
    read_domain,
    read_interface,
    read_network,
    read_network_hook,
    read_network_port,
)

TAP0 = IfName("tap0")
M1, M2 = Mac("52:54:00:00:00:01"), Mac("52:54:00:00:00:02")
UUID = "b41957c4-dfcc-4123-add7-17673e91dea0"
PORT = "5b1d9c2e-0f3a-4a52-9a1b-6f0e8c7d1122"
GUEST = "0c0d5a9e-8b1f-4f3c-8d57-3d2f6f0f9e11"
IFACE = "9a7be2f1-1d2c-4c64-b3d5-8f2a6c1e4b77"


def network(ours: str = "", rest: str = "", name: str = "blue") -> bytes:
    return (
        f"<network><name>{name}</name><uuid>{UUID}</uuid>"
        f"<metadata><vnet:network xmlns:vnet='{NETWORK_NS}'>{ours}</vnet:network></metadata>"
        f"<forward mode='bridge'/><bridge name='br-blue'/><virtualport type='openvswitch'/>{rest}</network>"
    ).encode()


def domain(nics: str, ours: str = "") -> bytes:
    metadata = f"<metadata><vnet:domain xmlns:vnet='{DOMAIN_NS}'>{ours}</vnet:domain></metadata>" if ours else ""
    return f"<domain><name>vm1</name><uuid>{GUEST}</uuid>{metadata}<devices>{nics}</devices></domain>".encode()


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


@pytest.mark.parametrize(("force", "means"), [("", False), ("force='no'", False), ("force='yes'", True)])
def test_uplink(force, means):
    uplink = read_network(network(f"<vnet:uplink dev='eth1' {force}/>")).uplink
    assert uplink is not None
    assert (uplink.devs, uplink.force) == (("eth1",), means)


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


# Guests.

NIC = "<interface type='network'><mac address='{mac}'/><source network='blue' portgroup='{group}'/>{rest}</interface>"


def test_policies_find_their_nic_by_mac():
    nics = NIC.format(mac=M1, group="a", rest="") + NIC.format(mac="52:54:00:AB:CD:EF", group="b", rest="")
    ours = "<vnet:interface mac='52:54:00:ab:cd:ef'><vnet:policy guard='none'/></vnet:interface>"
    found = read_domain(domain(nics, ours)).domain.nics
    assert [(nic.mac, nic.policy.guard) for nic in found] == [(M1, None), ("52:54:00:ab:cd:ef", Guard.NONE)]


ADDRESSES = "<vnet:address address='2001:db8::/64'/><vnet:address address='10.0.0.9'/><vnet:address address='9.0.0.0/8'/>"
SORTED = (ip_network("9.0.0.0/8"), ip_network("10.0.0.9"), ip_network("2001:db8::/64"))


def test_addresses_find_their_nic_by_mac():
    nics = NIC.format(mac=M1, group="a", rest="") + NIC.format(mac=M2, group="b", rest="")
    ours = f"<vnet:interface mac='{M2}'><vnet:policy flood='none' neighbour='9'/>{ADDRESSES}</vnet:interface>"
    reading = read_domain(domain(nics, ours))
    assert [(nic.mac, nic.policy, nic.addresses) for nic in reading.domain.nics] == [
        (M1, Policy(), ()),
        (M2, Policy(flood=0, neighbour=9), SORTED),
    ]
    assert reading.extras == {M2: NicExtras(Policy(flood=0, neighbour=9), SORTED)}


def test_a_running_guests_nic():
    rest = (
        f"<virtualport type='openvswitch'><parameters interfaceid='{IFACE.upper()}'/></virtualport>"
        "<target dev='vnet0'/><mtu size='1450'/><model type='virtio'/>"
    )
    nics = (
        f"<interface type='network'><mac address='{M1}'/>"
        f"<source network='blue' portgroup='a' portid='{PORT}' bridge='br-blue'/>{rest}</interface>"
    )
    reading = read_domain(domain(nics))
    assert (reading.domain.name, reading.domain.uuid) == ("vm1", GUEST)
    assert reading.domain.nics == (
        Nic(
            M1,
            network="blue",
            bridge=IfName("br-blue"),
            portgroup="a",
            tap=IfName("vnet0"),
            iface_id=IFACE,
            portid=PORT,
            mtu=1450,
            owner="vm1",
            owner_uuid=GUEST,
        ),
    )


@pytest.mark.parametrize(
    "nic",
    [
        "<interface type='user'><mac address='zero'/></interface>",
        "<interface type='direct'><source dev='--help' mode='bridge'/></interface>",
        "<interface type='ethernet'><target dev='--help'/></interface>",
        "<interface type='hostdev'><source/></interface>",
        "<interface/>",
    ],
)
def test_nics_that_cannot_be_vnets_are_left_alone(nic):
    reading = read_domain(domain(nic))
    assert (reading.domain.nics, reading.faults) == ((), ())


def test_a_bad_nic_is_a_fault_beside_the_good_ones():
    bad = NIC.format(mac="00:00:00:00:00:00", group="a", rest="")
    reading = read_domain(domain(bad + NIC.format(mac=M1, group="a", rest="")))
    assert [nic.mac for nic in reading.domain.nics] == [M1]
    assert [(fault.network, fault.bridge) for fault in reading.faults] == [("blue", None)]
    assert len(reading.errors(lambda net, bridge: net == "blue")) == 1
    assert reading.errors(lambda net, bridge: net == "green") == []


def test_one_mac_on_two_nics_is_a_fault_on_one_network_only():
    def faults(*places: str) -> int:
        nics = "".join(f"<interface type='network'><mac address='{M1}'/><source {place}/></interface>" for place in places)
        return len(read_domain(domain(nics)).faults)

    assert faults("network='blue'", "network='blue'") == 1
    assert faults("network='blue'", "network='green'") == 0
    # Scripts may wire these two into different networks; only their taps' own files say.
    ethernet = f"<interface type='ethernet'><mac address='{M1}'/><script path='/etc/vnetd/ovs-ifup'/></interface>"
    assert read_domain(domain(ethernet * 2)).faults == ()


def test_a_long_chain_of_snapshots_does_not_hold_a_guest_up():
    # libvirt allows 200 of them, and a running guest's XML shows each inside the one before.
    chain = "<backingStore type='file'>" * 200 + "</backingStore>" * 200
    disk = f"<disk type='file'>{chain}</disk>"
    assert len(read_domain(domain(disk + NIC.format(mac=M1, group="a", rest=""))).domain.nics) == 1


# A tap's own file.


def test_a_taps_file():
    ours = f"<vnet:interface mac='{M1}' xmlns:vnet='{DOMAIN_NS}'><vnet:policy guard='none'/></vnet:interface>"
    text = interface(f"<mac address='{M1}'/>{ours}")
    assert read_interface(text, TAP0) == Nic(M1, network="blue", tap=TAP0, policy=Policy(Guard.NONE), owner="tap0")


def test_a_taps_file_gives_addresses():
    ours = f"<vnet:interface xmlns:vnet='{DOMAIN_NS}'>{ADDRESSES}<vnet:policy guard='strict' flood='100'/></vnet:interface>"
    nic = read_interface(interface(ours), TAP0)
    assert (nic.addresses, nic.policy) == (SORTED, Policy(Guard.STRICT, flood=100))
    # The spool's copy says the same.
    assert read_interface(as_kept(interface(ours), M1, None), TAP0).addresses == SORTED


def test_a_taps_file_may_name_the_bridge():
    nic = read_interface(b"<interface type='bridge'><source bridge='br-blue'/></interface>", TAP0)
    assert (nic.network, nic.bridge) == (None, "br-blue")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"<interface/>", "where the tap belongs"),
        (b"<interface type='ethernet'><source network='blue'/></interface>", "write type='network'"),
        (interface("<target dev='tap1'/>"), "another device than tap0"),
        (interface(f"<vnet:interface mac='{M1}' xmlns:vnet='{DOMAIN_NS}'/>"), "has no <mac>"),
        (interface(f"<mac address='{M2}'/><vnet:interface mac='{M1}' xmlns:vnet='{DOMAIN_NS}'/>"), f"has {M2}"),
        (interface(f"<vnet:interface xmlns:vnet='{DOMAIN_NS}'/>" * 2), "twice"),
        (interface("<mtu size='67'/>"), "<mtu> size: '67' is not a number from 68 to 65535"),
    ],
)
def test_a_taps_file_refused(text, words):
    with pytest.raises(InputError, match=words):
        read_interface(text, TAP0)


def test_the_interface_that_a_scripts_name_stands_for():
    assert read_interface(interface_text("blue", "vlan-10", M1), TAP0) == Nic(
        M1, network="blue", portgroup="vlan-10", tap=TAP0, owner="tap0"
    )
    assert read_interface(interface_text("a<b&'c\"", None, None), TAP0).network == "a<b&'c\""


def test_the_spools_copy_has_what_the_file_leaves_out():
    kept = read_interface(as_kept(interface(""), M1, 7), TAP0)
    assert (kept.mac, kept.ifindex) == (M1, 7)


# The network hook's data, as libvirt gives it.

HOOK = f"""<hookData>
  <network connections='1'>
    <name>blue</name>
    <uuid>{UUID}</uuid>
    <metadata><vnet:network xmlns:vnet="{NETWORK_NS}"/></metadata>
    <forward mode='bridge'/>
    <bridge name='br-blue'/>
    <virtualport type='openvswitch'/>
    <portgroup name='vlan-10'><vlan><tag id='10'/></vlan></portgroup>
  </network>
  <networkport>
    <uuid>{PORT}</uuid>
    <owner>
      <name>vm1</name>
      <uuid>{GUEST}</uuid>
    </owner>
    <group>vlan-10</group>
    <mac address='52:54:00:00:00:01'/>
    <virtualport type='openvswitch'>
      <parameters interfaceid='{IFACE}'/>
    </virtualport>
    <vlan>
      <tag id='10'/>
    </vlan>
    <plug type='bridge' bridge='br-blue'/>
  </networkport>
</hookData>
"""


def test_the_hooks_network_and_port():
    hook = read_network_hook(HOOK.encode())
    assert (hook.name, hook.uuid, hook.ours) == ("blue", UUID, True)
    assert read_network(hook.network).portgroup("vlan-10").vlan == Vlan(VlanMode.ACCESS, 10)
    port = read_network_port(hook.port)
    assert port.portid == PORT
    assert port.nic == Nic(
        M1,
        network="blue",
        portgroup="vlan-10",
        iface_id=IFACE,
        portid=PORT,
        vlan=Vlan(VlanMode.ACCESS, 10),
        owner="vm1",
        owner_uuid=GUEST,
    )


def test_a_hook_without_a_port_or_a_group():
    start = HOOK[: HOOK.index("  <networkport>")] + "</hookData>"
    assert read_network_hook(start.encode()).port is None
    bare = read_network_hook(HOOK.replace("<group>vlan-10</group>", "").encode())
    assert read_network_port(bare.port).nic.portgroup is None


def test_a_hook_about_somebody_elses_network():
    assert not read_network_hook(HOOK.replace(NETWORK_NS, "urn:other").encode()).ours


def test_a_network_with_a_slip_in_it_can_still_be_stopped():
    hook = read_network_hook(HOOK.replace("vnet:network", "vnet:netwrok").encode())
    assert (hook.name, hook.uuid, hook.ours) == ("blue", UUID, True)
    with pytest.raises(InputError, match="<vnet:netwrok>: does not belong in <metadata>"):
        read_network(hook.network)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("<network connections='1'>", "<net>", "well-formed"),
        ("<name>blue</name>", "<name>a/b</name>", "<network> name"),
        ("<name>blue</name>", "", "<network> name"),
        (f"<uuid>{UUID}</uuid>", "", "<network> uuid"),
        (f"<uuid>{UUID}</uuid>", "<uuid>blue</uuid>", "<network> uuid: 'blue' is no UUID"),
    ],
)
def test_a_hook_refused(old, new, words):
    with pytest.raises(InputError, match=words):
        read_network_hook(HOOK.replace(old, new, 1).encode())


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (f"<uuid>{PORT}</uuid>", "", "<networkport> uuid"),
        (f"<uuid>{GUEST}</uuid>", "<uuid>1</uuid>", "<networkport> owner uuid: '1' is no UUID"),
        ("<name>vm1</name>", "<name>a\u2028b</name>", "<networkport> owner: 'a.u2028b' is no name"),
        ("<group>vlan-10</group>", "<group>a/b</group>", "<group>: 'a/b' is no name"),
        ("<tag id='10'/>\n", "<tag id='0'/>\n", "<tag> id: '0' is not a number from 1 to 4094"),
        ("52:54:00:00:00:01", "00:00:00:00:00:00", "<mac> address"),
        (IFACE, "x", "<parameters> interfaceid"),
    ],
)
def test_a_hooks_port_refused(old, new, words):
    hook = read_network_hook(HOOK.replace(old, new).encode())
    with pytest.raises(InputError, match=words):
        read_network_port(hook.port)
