"""vnetd's own limits as the XML says them: packets, marks and what ports share, and what is refused of them."""

import pytest
from badxml import M1, as_guest, as_network, as_tap, guest, network, nic, ours_in_tap, refusal

from vnetd.model.names import IfName
from vnetd.model.network import Bandwidth, Qos, Rate
from vnetd.xmlread import NicExtras, read_domain, read_interface, read_network

QOS = [
    ("", Qos()),
    ("pps='1'", Qos(pps=1)),
    ("pps='1000000'", Qos(pps=1_000_000)),
    # 0 is no limit, and differs from a place that says nothing.
    ("pps='none'", Qos(pps=0)),
    ("dscp='0'", Qos(dscp=0)),
    ("dscp='63' trust='no'", Qos(dscp=63, trust=False)),
    ("trust='no'", Qos(trust=False)),
    ("pps='100' trust='yes'", Qos(pps=100, trust=True)),
]


def in_group(inside: str) -> bytes:
    return network(f"<vnet:portgroup name='a'>{inside}</vnet:portgroup>", "<portgroup name='a'/>")


def in_guest(inside: str) -> bytes:
    return guest(nic(), ours=f"<vnet:interface mac='{M1}'>{inside}</vnet:interface>")


def in_tap(inside: str) -> bytes:
    return ours_in_tap(inside=inside)


@pytest.mark.parametrize(("attributes", "means"), QOS)
def test_qos(attributes, means):
    text = f"<vnet:qos {attributes}/>"
    assert read_network(network(text)).qos == means
    assert read_network(in_group(text)).portgroups[0].qos == means
    assert read_interface(in_tap(text), IfName("tap0")).qos == means
    reading = read_domain(in_guest(text))
    assert reading.domain.nics[0].qos == means
    assert reading.extras == {M1: NicExtras(qos=means)}


def test_what_nobody_says_is_left_open():
    found = read_network(network(rest="<portgroup name='a'/>"))
    assert (found.qos, found.aggregate) == (Qos(), Bandwidth())
    assert (found.portgroups[0].qos, found.portgroups[0].aggregate) == (Qos(), Bandwidth())
    assert read_domain(guest(nic())).domain.nics[0].qos == Qos()


def test_every_place_has_its_own():
    ours = "<vnet:qos pps='5'/><vnet:aggregate><vnet:inbound average='7'/></vnet:aggregate>"
    group = "<vnet:portgroup name='a'><vnet:qos dscp='6'/><vnet:aggregate><vnet:outbound average='8'/></vnet:aggregate></vnet:portgroup>"
    found = read_network(network(ours + group, "<portgroup name='a'><bandwidth><inbound average='9'/></bandwidth></portgroup>"))
    assert (found.qos, found.aggregate) == (Qos(pps=5), Bandwidth(Rate(7)))
    only = found.portgroups[0]
    assert (only.qos, only.aggregate, only.bandwidth) == (Qos(dscp=6), Bandwidth(None, Rate(8)), Bandwidth(Rate(9)))


@pytest.mark.parametrize(
    ("inside", "means"),
    [
        ("<vnet:inbound average='1000'/>", Bandwidth(Rate(1000))),
        ("<vnet:outbound average='1' burst='536870911'/>", Bandwidth(None, Rate(1, None, 536870911))),
        (
            "<vnet:outbound average='536870911'/><vnet:inbound average='2000' burst='64'/>",
            Bandwidth(Rate(2000, None, 64), Rate(536870911)),
        ),
    ],
)
def test_aggregates(inside, means):
    text = f"<vnet:aggregate>{inside}</vnet:aggregate>"
    assert read_network(network(text)).aggregate == means
    assert read_network(in_group(text)).portgroups[0].aggregate == means


NO_RATE = "is not a number from 1 to 536870911"
NO_PACKETS = "is not a number from 1 to 1000000; write one, as packets/s, or 'none' for no limit"
NO_PEAK = "takes no peak: ports that share a limit are held to its average; write average, and burst for what may pass at once"
NO_FLOOR = "takes no floor: Open vSwitch promises no rate to ports that share a limit; write average"

BAD_QOS = [
    *((f"<vnet:qos pps='{text}'/>", f"<vnet:qos> pps: '{text}' {NO_PACKETS}") for text in ("", "0", "-1", "01", "1e3", "1000001", "no")),
    *((f"<vnet:qos dscp='{text}'/>", f"<vnet:qos> dscp: '{text}' is not a number from 0 to 63") for text in ("", "64", "-1", "046", "EF")),
    ("<vnet:qos trust='maybe'/>", "<vnet:qos> trust: 'maybe' is neither 'yes' nor 'no'"),
    (
        "<vnet:qos dscp='46' trust='yes'/>",
        "<vnet:qos>: has trust='yes', which leaves the guest's marks, and dscp='46', which replaces them; write one",
    ),
    (
        "<vnet:qos dscp='0' trust='yes'/>",
        "<vnet:qos>: has trust='yes', which leaves the guest's marks, and dscp='0', which replaces them; write one",
    ),
    ("<vnet:qos rate='1'/>", "<vnet:qos>: has no attribute 'rate'; it takes pps, dscp, trust"),
    ("<vnet:qos><vnet:inbound/></vnet:qos>", "<vnet:inbound>: does not belong in <vnet:qos>; it takes none"),
    ("<vnet:qos>46</vnet:qos>", "<vnet:qos>: takes no text"),
    ("<vnet:qos/><vnet:qos/>", "<vnet:qos>: stands here twice; write it once"),
]

PLACES = [(as_network, network), (as_network, in_group), (as_guest, in_guest), (as_tap, in_tap)]


@pytest.mark.parametrize(("inside", "message"), BAD_QOS)
@pytest.mark.parametrize(("reader", "around"), PLACES, ids=["network", "portgroup", "guest", "tap"])
def test_qos_refused(inside, message, reader, around):
    assert refusal(reader, around(inside)) == f"line 1, {message}"


BAD_AGGREGATES = [
    ("", "<vnet:aggregate>: limits nothing; write <vnet:inbound average='…'/> or <vnet:outbound average='…'/> inside it"),
    ("<vnet:inbound/>", "<vnet:inbound>: has no average; write average='…'"),
    ("<vnet:outbound burst='64'/>", "<vnet:outbound>: has no average; write average='…'"),
    *(
        (f"<vnet:outbound average='{text}'/>", f"<vnet:outbound> average: '{text}' {NO_RATE}")
        for text in ("", "0", "-1", "1.5", "none", "10M", "536870912")
    ),
    ("<vnet:inbound average='1' burst='0'/>", f"<vnet:inbound> burst: '0' {NO_RATE}"),
    ("<vnet:inbound average='1' burst='536870912'/>", f"<vnet:inbound> burst: '536870912' {NO_RATE}"),
    ("<vnet:inbound average='1' peak='2'/>", f"<vnet:inbound>: {NO_PEAK}"),
    ("<vnet:outbound peak='2'/>", f"<vnet:outbound>: {NO_PEAK}"),
    ("<vnet:inbound average='2' floor='1'/>", f"<vnet:inbound>: {NO_FLOOR}"),
    ("<vnet:outbound average='1' pps='1'/>", "<vnet:outbound>: has no attribute 'pps'; it takes average, burst"),
    ("<vnet:inbound average='1'><vnet:qos/></vnet:inbound>", "<vnet:qos>: does not belong in <vnet:inbound>; it takes none"),
    ("<vnet:inbound average='1'/>" * 2, "<vnet:inbound>: stands here twice; write it once"),
    ("<inbound average='1'/>", "<inbound>: stands inside vnetd's element without its prefix; write vnet:inbound"),
    ("<vnet:total average='1'/>", "<vnet:total>: does not belong in <vnet:aggregate>; it takes inbound, outbound"),
    ("1000", "<vnet:aggregate>: takes no text"),
]


@pytest.mark.parametrize(("inside", "message"), BAD_AGGREGATES)
@pytest.mark.parametrize("around", [network, in_group])
def test_aggregates_refused(inside, message, around):
    assert refusal(as_network, around(f"<vnet:aggregate>{inside}</vnet:aggregate>")) == f"line 1, {message}"


@pytest.mark.parametrize("around", [network, in_group])
def test_an_aggregate_stands_alone_and_takes_no_attributes(around):
    one = "<vnet:aggregate><vnet:inbound average='1'/></vnet:aggregate>"
    assert refusal(as_network, around(one)) is None
    assert refusal(as_network, around(one * 2)) == "line 1, <vnet:aggregate>: stands here twice; write it once"
    wanted = "line 1, <vnet:aggregate>: has no attribute 'average'; it takes none"
    assert refusal(as_network, around("<vnet:aggregate average='1'/>")) == wanted


@pytest.mark.parametrize(("reader", "around"), PLACES[2:], ids=["guest", "tap"])
def test_a_nic_alone_has_no_aggregate(reader, around):
    wanted = "does not belong in <vnet:interface>; one NIC shares with nobody: write libvirt's <bandwidth> in its <interface>"
    assert refusal(reader, around("<vnet:aggregate/>")) == f"line 1, <vnet:aggregate>: {wanted}"
