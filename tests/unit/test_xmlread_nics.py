"""What the elements of guests and taps mean, and the network hook's data."""

from ipaddress import ip_network

import pytest

from vnetd.errors import InputError
from vnetd.model.names import IfName, Mac
from vnetd.model.network import Guard, Nic, Policy, Vlan, VlanMode
from vnetd.xmlread import (
    DOMAIN_NS,
    NETWORK_NS,
    NicExtras,
    as_kept,
    interface_text,
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


def domain(nics: str, ours: str = "") -> bytes:
    metadata = f"<metadata><vnet:domain xmlns:vnet='{DOMAIN_NS}'>{ours}</vnet:domain></metadata>" if ours else ""
    return f"<domain><name>vm1</name><uuid>{GUEST}</uuid>{metadata}<devices>{nics}</devices></domain>".encode()


def interface(rest: str, source: str = "<source network='blue'/>") -> bytes:
    return f"<interface type='network'>{source}{rest}</interface>".encode()


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
