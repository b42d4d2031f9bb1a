"""QinQ as the XML says it: the service VLAN by libvirt's elements, the customers' by vnetd's, and what is refused of them."""

import pytest
from badxml import M1, as_guest, as_network, as_tap, guest, network, ours_in_tap, refusal

from vnetd.model.network import QinQ, Vlan, VlanMode
from vnetd.xmlread import read_network

SERVICE = "<vlan><tag id='100'/></vlan>"


def tunnel(attributes: str = "mode='dot1q-tunnel'", tags: str = "", vlan: str = SERVICE, rest: str = "") -> bytes:
    """A network with one portgroup, a, that has ``vlan``; ``rest`` stands beside it."""
    ours = f"<vnet:portgroup name='a'><vnet:vlan {attributes}>{tags}</vnet:vlan></vnet:portgroup>"
    return network(ours, f"<portgroup name='a'>{vlan}</portgroup>{rest}")


@pytest.mark.parametrize(
    ("attributes", "tags", "means"),
    [
        ("mode='dot1q-tunnel'", "", QinQ((), 0x88A8)),
        ("mode='dot1q-tunnel' ethertype='802.1ad'", "", QinQ((), 0x88A8)),
        ("mode='dot1q-tunnel' ethertype='802.1q'", "<vnet:tag id='10'/>", QinQ((10,), 0x8100)),
        ("mode='dot1q-tunnel'", "".join(f"<vnet:tag id='{n}'/>" for n in (4094, 20, 1)), QinQ((1, 20, 4094), 0x88A8)),
        # A customer may use the number of the service VLAN: it is another tag.
        ("mode='dot1q-tunnel'", "<vnet:tag id='100'/>", QinQ((100,), 0x88A8)),
    ],
)
def test_a_tunnel(attributes, tags, means):
    group = read_network(tunnel(attributes, tags)).portgroups[0]
    assert (group.qinq, group.vlan) == (means, Vlan(VlanMode.ACCESS, 100))


def test_the_service_vlan_may_be_that_of_the_network():
    found = read_network(tunnel(vlan="", rest="<vlan trunk='no'><tag id='200'/></vlan>"))
    assert (found.vlan, found.portgroups[0].vlan, found.portgroups[0].qinq) == (Vlan(VlanMode.ACCESS, 200), None, QinQ())


def test_the_portgroups_vlan_comes_before_the_networks():
    found = read_network(tunnel(rest="<vlan trunk='yes'><tag id='200'/></vlan>"))
    assert (found.vlan, found.portgroups[0].vlan) == (Vlan(VlanMode.TRUNK, None, (200,)), Vlan(VlanMode.ACCESS, 100))


def test_other_portgroups_are_no_tunnels():
    found = read_network(tunnel(rest="<portgroup name='b'/>"))
    assert [(group.name, group.qinq) for group in found.portgroups] == [("a", QinQ()), ("b", None)]


LIBVIRTS = "is libvirt's to say, by the <vlan> of its <portgroup>; write 'dot1q-tunnel' or no <vnet:vlan>"
WRITE = "write <vlan><tag id='100'/></vlan> in <portgroup name='a'>"

REFUSED = [
    (tunnel(""), "<vnet:vlan>: has no mode; write mode='…'"),
    *((tunnel(f"mode='{mode}'"), f"<vnet:vlan> mode: '{mode}' {LIBVIRTS}") for mode in VlanMode if mode is not VlanMode.DOT1Q_TUNNEL),
    (tunnel("mode='qinq'"), "<vnet:vlan> mode: 'qinq' is unknown; write 'dot1q-tunnel'"),
    (tunnel("mode=''"), "<vnet:vlan> mode: '' is unknown; write 'dot1q-tunnel'"),
    (
        tunnel("mode='dot1q-tunnel' ethertype='0x88a8'"),
        "<vnet:vlan> ethertype: '0x88a8' is unknown; write '802.1ad' or '802.1q'",
    ),
    (tunnel("mode='dot1q-tunnel' id='100'"), "<vnet:vlan>: has no attribute 'id'; it takes mode, ethertype"),
    (tunnel(tags="<vnet:tag/>"), "<vnet:tag>: has no id; write id='…'"),
    (tunnel(tags="<vnet:tag id='0'/>"), "<vnet:tag> id: '0' is not a number from 1 to 4094"),
    (tunnel(tags="<vnet:tag id='4095'/>"), "<vnet:tag> id: '4095' is not a number from 1 to 4094"),
    (tunnel(tags="<vnet:tag id='10-20'/>"), "<vnet:tag> id: '10-20' is not a number from 1 to 4094"),
    (tunnel(tags="<vnet:tag id='10' nativeMode='tagged'/>"), "<vnet:tag>: has no attribute 'nativeMode'; it takes id"),
    (tunnel(tags="<vnet:tag id='10'><vnet:tag id='11'/></vnet:tag>"), "<vnet:tag>: does not belong in <vnet:tag>; it takes none"),
    (tunnel(tags="<vnet:tag id='10'/>" * 2), "<vnet:tag>: stands here twice for VLAN 10; write it once"),
    (tunnel(tags="<tag id='10'/>"), "<tag>: stands inside vnetd's element without its prefix; write vnet:tag"),
    (tunnel(tags="<vnet:range/>"), "<vnet:range>: does not belong in <vnet:vlan>; it takes tag"),
    (tunnel(tags="10,20"), "<vnet:vlan>: takes no text"),
    (
        network("<vnet:portgroup name='a'>" + "<vnet:vlan mode='dot1q-tunnel'/>" * 2 + "</vnet:portgroup>", "<portgroup name='a'/>"),
        "<vnet:vlan>: stands here twice; write it once",
    ),
    (tunnel(vlan=""), f"<vnet:portgroup>: has dot1q-tunnel and no service VLAN; {WRITE}"),
    *(
        (tunnel(vlan=vlan), f"<vnet:portgroup>: has dot1q-tunnel and a trunk, not one service VLAN; {WRITE}")
        for vlan in (
            "<vlan trunk='yes'><tag id='100'/></vlan>",
            "<vlan><tag id='100'/><tag id='200'/></vlan>",
            "<vlan><tag id='100' nativeMode='untagged'/></vlan>",
            "<vlan trunk='yes'><tag id='100' nativeMode='tagged'/><tag id='200'/></vlan>",
        )
    ),
    (
        tunnel(vlan="", rest="<vlan trunk='yes'><tag id='100'/></vlan>"),
        f"<vnet:portgroup>: has dot1q-tunnel and a trunk, not one service VLAN; {WRITE}",
    ),
    (
        tunnel(vlan="<vlan trunk='yes'><tag id='100'/></vlan>", rest=SERVICE),
        f"<vnet:portgroup>: has dot1q-tunnel and a trunk, not one service VLAN; {WRITE}",
    ),
    (
        network("<vnet:vlan mode='dot1q-tunnel'/>", SERVICE),
        "<vnet:vlan>: does not belong in <vnet:network>; write it in the <vnet:portgroup name='…'> whose ports are to be tunnels",
    ),
]


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_refused(text, message):
    assert refusal(as_network, text) == f"line 1, {message}"


def test_a_nic_alone_is_no_tunnel():
    message = "write it in the <vnet:portgroup> of the network, and name that portgroup in the NIC's <source>"
    wanted = f"line 1, <vnet:vlan>: does not belong in <vnet:interface>; {message}"
    inside = "<vnet:vlan mode='dot1q-tunnel'/>"
    assert refusal(as_tap, ours_in_tap(inside=inside)) == wanted
    assert refusal(as_guest, guest(ours=f"<vnet:interface mac='{M1}'>{inside}</vnet:interface>")) == wanted
