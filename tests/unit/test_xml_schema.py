"""The reader and vnet.rng agree: what one refuses the other does, but for what no grammar can say."""

import copy
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network

import pytest
from anyxml import EXAMPLES, READERS, XML, mutate, quick, refusal, tree
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lxml import etree

from vnetd.xmlread import DOMAIN_NS, NETWORK_NS

SCHEMA = etree.RelaxNG(etree.parse(str(XML / "vnet.rng")))

BEYOND_RELAXNG = (
    "stands here twice for",
    "each host stands here once",
    "write each address for one MAC only",
    "has bits set beyond its length",
    "reaches into",
    "which is the network's own bridge",
    "which is the name of its bond",
)
"""What no grammar can say, and only the reader refuses: what stands twice, what a prefix holds besides the address written, and
whose name a name is."""


def in_network(ours: etree._Element) -> bytes:
    """A network of libvirt's around ``<vnet:network>``, with all the portgroups that this names, each in a VLAN."""
    root = tree(
        b"<network><name>a</name><metadata/><forward mode='bridge'/><bridge name='br-a'/><virtualport type='openvswitch'/></network>"
    )
    for name in {element.get("name", "") for element in ours.iterchildren(f"{{{NETWORK_NS}}}portgroup")}:
        vlan = etree.SubElement(etree.SubElement(root, "portgroup", name=name), "vlan")
        etree.SubElement(vlan, "tag", id="100")
    root.find("metadata").append(ours)
    return etree.tostring(root, encoding="utf-8")


def in_domain(ours: etree._Element) -> bytes:
    root = tree(b"<domain><name>a</name><metadata/></domain>")
    root.find("metadata").append(ours)
    return etree.tostring(root, encoding="utf-8")


def in_tap(ours: etree._Element) -> bytes:
    """A tap's file around ``<vnet:interface>``, for the NIC that this names."""
    root = tree(b"<interface><source network='a'/></interface>")
    if ours.get("mac") is not None:
        etree.SubElement(root, "mac", address=ours.get("mac"))
    root.append(ours)
    return etree.tostring(root, encoding="utf-8")


OURS = [
    (element, {"network": in_network, "domain": in_domain, "interface": in_tap}[etree.QName(element).localname])
    for text in EXAMPLES
    for element in tree(text).iter(f"{{{NETWORK_NS}}}network", f"{{{DOMAIN_NS}}}domain", f"{{{DOMAIN_NS}}}interface")
    if not etree.QName(element.getparent()).namespace
]
READER_OF = {in_network: READERS[0], in_domain: READERS[1], in_tap: READERS[2]}


def agree(ours: etree._Element, around: Callable[[etree._Element], bytes]) -> None:
    # The schema sees what a parser made of the text, just as the reader does.
    text = etree.tostring(ours, encoding="utf-8", with_tail=False)
    valid = SCHEMA.validate(tree(text))
    why = refusal(READER_OF[around], around(tree(text)))
    if valid and why is not None:
        assert any(words in why for words in BEYOND_RELAXNG), why
    if not valid:
        assert why is not None, text


@settings(quick, max_examples=1500)
@given(st.sampled_from(OURS), st.data())
def test_reader_and_schema_agree_on_mutated_elements(pair, data):
    ours = copy.deepcopy(pair[0])
    ours.tail = None
    for _ in range(data.draw(st.integers(1, 3))):
        mutate(data, ours)
    agree(ours, pair[1])


GROUPS = st.sampled_from(["", "", "0", "0000", "1", "ffff", "FFFF", "abcd", "ff02", "00ff", "12345", "1.2.3.4", "01.2.3.4", "ff02", "g"])
BYTES = st.integers(0, 300).map(str) | st.sampled_from(["01", "00", "", " 1"])
ADDRESSES = st.lists(GROUPS, max_size=9).map(":".join) | st.lists(BYTES, min_size=3, max_size=5).map(".".join) | st.ip_addresses().map(str)


@settings(quick, max_examples=1000)
@given(ADDRESSES)
@example("::ffff:1:2")
@example("0:0:0:0:0:ffff::")
@example("::ffff:1")
@example("1:2:3:4:5:6:7::")
@example("::2:3:4:5:6:7:8")
@example("1::3:4:5:6:7:8:9")
def test_reader_and_schema_agree_on_addresses(address):
    ours = etree.Element(f"{{{NETWORK_NS}}}network")
    overlay = etree.SubElement(ours, f"{{{NETWORK_NS}}}overlay", type="gre", segment="1")
    etree.SubElement(overlay, f"{{{NETWORK_NS}}}peer", name="a", address=address)
    agree(ours, in_network)


LABELS = ["hv1", "a", "1", "-a", "a-", "x" * 63, "y" * 64, "", "1a", "example", "300", "é", "A", "0x1f", "0X", "0xg"]


@settings(quick, max_examples=600)
@given(st.lists(st.sampled_from(LABELS), min_size=1, max_size=5).map(".".join))
@example("192.0.2.300")
@example("1.2.3")
@example(".".join(["x" * 63] * 3 + ["y" * 61]))
@example(".".join(["x" * 63] * 3 + ["y" * 62]))
@example("hv2.example.net.")
def test_reader_and_schema_agree_on_host_names(address):
    ours = etree.Element(f"{{{NETWORK_NS}}}network")
    overlay = etree.SubElement(ours, f"{{{NETWORK_NS}}}overlay", type="gre", segment="1")
    etree.SubElement(overlay, f"{{{NETWORK_NS}}}peer", name="a", address=address)
    agree(ours, in_network)


@pytest.mark.parametrize("attribute", ["ttl", "tos", "csum", "df", "responder", "bfd interval", "bfd multiplier", "bfd enabled"])
def test_reader_and_schema_agree_on_what_an_overlay_is_told(attribute):
    element, _, name = attribute.rpartition(" ")
    for value in [*map(str, range(300)), "inherit", "yes", "no", "", "-1", "01", " 4", "9999", "10000", "60000", "60001", "65000", "70000"]:
        ours = etree.Element(f"{{{NETWORK_NS}}}network")
        overlay = etree.SubElement(ours, f"{{{NETWORK_NS}}}overlay", type="gre", segment="1")
        etree.SubElement(overlay, f"{{{NETWORK_NS}}}peer", name="a", address="192.0.2.1")
        target = etree.SubElement(overlay, f"{{{NETWORK_NS}}}{element}") if element else overlay
        target.set(name, value)
        agree(ours, in_network)


LENGTHS = st.just("") | st.integers(0, 130).map("/{}".format) | st.sampled_from(["/", "/01", "/ 1", "/-1", "/255.0.0.0", "/24/24", "%a/64"])
NETS = st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 32)).map(lambda pair: str(IPv4Network(pair, strict=False))) | st.tuples(
    st.integers(0, 2**128 - 1), st.integers(1, 128)
).map(lambda pair: str(IPv6Network(pair, strict=False)))


@settings(quick, max_examples=1500)
@given(st.tuples(ADDRESSES, LENGTHS).map("".join) | NETS)
@example("::ffff:1:2/128")
@example("0:0:0:0:0:ffff::/96")
@example("::fffe:0:0/95")
@example("1:2:3:4:5:6:7::/112")
@example("1:2:3:4:5:6:7:8/128")
@example("1:2:3:4:5:6:1.2.3.4/128")
@example("1::3:4:5:6:7:8:9/128")
@example("::1/128")
@example("::0.0.0.1")
@example("0:0:0:0:0:0:0:1")
@example("::0001:0")
@example("::/0")
@example("::/1")
@example("1.2.3.0/24")
@example("1.2.3.4/24")
@example("64.0.0.0/2")
@example("255.255.255.255/32")
@example("255.255.255.254/31")
def test_reader_and_schema_agree_on_what_a_nic_owns(address):
    ours = etree.Element(f"{{{NETWORK_NS}}}network")
    etree.SubElement(ours, f"{{{NETWORK_NS}}}binding", mac="52:54:00:00:00:01", address=address)
    agree(ours, in_network)
    ours = etree.Element(f"{{{DOMAIN_NS}}}interface")
    etree.SubElement(ours, f"{{{DOMAIN_NS}}}address", address=address)
    agree(ours, in_tap)


RULES = {
    "guard": st.sampled_from(["strict", "mac", "none", "Strict", ""]),
    "isolated": st.sampled_from(["yes", "no", "true"]),
    "host": st.sampled_from(["yes", "no", ""]),
    "flood": st.integers(-1, 1_000_002).map(str) | st.sampled_from(["none", "0", "01", "1000000", "1000001", "1e3", " 1", "yes"]),
}
RULES["neighbour"] = RULES["flood"]


def below(parent: etree._Element, tag: str, **attributes: str) -> etree._Element:
    """A new element of vnetd's in ``parent``, of the same namespace."""
    return etree.SubElement(parent, f"{{{etree.QName(parent).namespace}}}{tag}", **attributes)


PLACES = st.sampled_from(["network", "portgroup", "domain", "tap"])


def place(where: str) -> tuple[etree._Element, etree._Element, Callable[[etree._Element], bytes]]:
    """vnetd's outermost element, the one in it that says something of ports ``where``, and what stands around both."""
    if where in ("network", "portgroup"):
        ours = etree.Element(f"{{{NETWORK_NS}}}network")
        return ours, below(ours, "portgroup", name="a") if where == "portgroup" else ours, in_network
    if where == "domain":
        ours = etree.Element(f"{{{DOMAIN_NS}}}domain")
        return ours, below(ours, "interface", mac="52:54:00:00:00:01"), in_domain
    ours = etree.Element(f"{{{DOMAIN_NS}}}interface")
    return ours, ours, in_tap


@settings(quick, max_examples=600)
@given(st.fixed_dictionaries({}, optional=RULES), PLACES)
def test_reader_and_schema_agree_on_policies(rules, where):
    ours, parent, around = place(where)
    below(parent, "policy", **rules)
    agree(ours, around)


MARKS = {
    "pps": RULES["flood"],
    "dscp": st.integers(-1, 70).map(str) | st.sampled_from(["0", "63", "64", "046", "EF", "", " 1", "１"]),
    "trust": st.sampled_from(["yes", "no", "true", ""]),
}


@settings(quick, max_examples=400)
@given(st.fixed_dictionaries({}, optional=MARKS), PLACES)
@example({"pps": "none", "dscp": "63", "trust": "no"}, "tap")
@example({"dscp": "64"}, "domain")
@example({"dscp": "0", "trust": "yes"}, "network")
@example({"pps": "1000000", "trust": "yes"}, "portgroup")
def test_reader_and_schema_agree_on_qos(marks, where):
    ours, parent, around = place(where)
    below(parent, "qos", **marks)
    agree(ours, around)


NUMBERS = (
    st.integers(1, 4094)
    | st.integers(-1, 4200)
    | st.integers(0, 2**30)
    | st.builds(
        int.__add__, st.sampled_from([10**n for n in range(10)] + [4094, 4000, 530000000, 536800000, 536870911]), st.integers(-12, 12)
    )
).map(str) | st.sampled_from(["", "01", "+1", "1e3", " 1", "１", "none", "1.0"])
RATES = st.fixed_dictionaries({"average": NUMBERS}, optional={"burst": NUMBERS}) | st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("average", "burst", "peak", "floor"), NUMBERS)
)


@settings(quick, max_examples=400)
@given(st.lists(st.tuples(st.sampled_from(["inbound", "outbound"]), RATES), max_size=3), PLACES)
@example([("outbound", {"average": "536870911"}), ("inbound", {"average": "1", "burst": "536870911"})], "network")
@example([("inbound", {"average": "536870912"})], "portgroup")
@example([], "network")
def test_reader_and_schema_agree_on_aggregates(directions, where):
    ours, parent, around = place(where)
    aggregate = below(parent, "aggregate")
    for direction, rates in directions:
        below(aggregate, direction, **rates)
    agree(ours, around)


TUNNELS = st.fixed_dictionaries(
    {"mode": st.sampled_from(["dot1q-tunnel", "dot1q-tunnel", "dot1q-tunnel", "trunk", "access", ""])},
    optional={"ethertype": st.sampled_from(["802.1ad", "802.1q", "802.1Q", "0x88a8", ""])},
)


@settings(quick, max_examples=400)
@given(TUNNELS, st.lists(NUMBERS, max_size=4), PLACES | st.just("portgroup"))
@example({"mode": "dot1q-tunnel"}, ["1", "4094"], "portgroup")
@example({"mode": "dot1q-tunnel", "id": "100"}, [], "portgroup")
@example({"mode": "dot1q-tunnel", "ethertype": "802.1q"}, ["4095"], "portgroup")
def test_reader_and_schema_agree_on_tunnels(attributes, customers, where):
    ours, parent, around = place(where)
    vlan = below(parent, "vlan", **attributes)
    for number in customers:
        below(vlan, "tag", id=number)
    agree(ours, around)


LINKS = st.sampled_from(["eth1", "eth2", "eth3", "bond0", "br-a", "lo", "a;b"])
BONDS = st.fixed_dictionaries(
    {"bond": LINKS},
    optional={
        "mode": st.sampled_from(["active-backup", "balance-slb", "balance-tcp", "balance-tcp", "802.3ad", ""]),
        "lacp": st.sampled_from(["off", "active", "passive", "on", ""]),
        "force": st.sampled_from(["yes", "no", ""]),
    },
)
ONES = st.fixed_dictionaries({"dev": LINKS}, optional={"force": st.sampled_from(["yes", "no", ""])})
UPLINKS = (
    st.tuples(BONDS, st.lists(LINKS, max_size=4))
    | st.tuples(ONES, st.just([]))
    | st.tuples(st.fixed_dictionaries({}, optional=dict.fromkeys(("dev", "bond", "mode", "lacp"), LINKS)), st.lists(LINKS, max_size=2))
)
"""Attributes of an uplink and the NICs in it."""


@settings(quick, max_examples=700)
@given(st.lists(UPLINKS, min_size=1, max_size=2))
@example([({"bond": "bond0"}, ["eth1", "eth2"])])
@example([({"bond": "bond0", "mode": "balance-tcp", "lacp": "passive", "force": "yes"}, ["eth1", "eth2", "eth3"])])
@example([({"bond": "bond0", "mode": "balance-tcp", "lacp": "off"}, ["eth1", "eth2"])])
@example([({"bond": "bond0", "mode": "balance-tcp"}, ["eth1", "eth2"])])
@example([({"bond": "bond0"}, ["eth1"])])
@example([({"bond": "bond0", "dev": "eth1"}, ["eth1", "eth2"])])
@example([({"dev": "eth1"}, ["eth1", "eth2"])])
@example([({"dev": "eth1", "lacp": "off"}, [])])
def test_reader_and_schema_agree_on_uplinks(uplinks):
    ours = etree.Element(f"{{{NETWORK_NS}}}network")
    for attributes, nics in uplinks:
        uplink = below(ours, "uplink", **attributes)
        for nic in nics:
            below(uplink, "nic", dev=nic)
    agree(ours, in_network)


@quick
@given(st.lists(LINKS, max_size=3), st.sampled_from(["", "", "", "uplink", "overlay"]), st.integers(0, 3))
@example(["eth1", "eth2", "eth3"], "", 0)
@example(["eth1"], "uplink", 0)
@example(["eth1"], "overlay", 1)
def test_reader_and_schema_agree_on_patches(bridges, other, index):
    ours = etree.Element(f"{{{NETWORK_NS}}}network")
    for bridge in bridges:
        below(ours, "patch", bridge=bridge)
    # What else there is may stand between them.
    ours.insert(index, below(ours, "policy", guard="strict"))
    if other == "uplink":
        ours.insert(index, below(ours, "uplink", dev="eth9"))
    if other == "overlay":
        overlay = below(ours, "overlay", type="gre", segment="1")
        below(overlay, "peer", name="a", address="192.0.2.1")
        ours.insert(index, overlay)
    agree(ours, in_network)


@quick
@given(st.sampled_from(["gre", "vxlan", "geneve"]), st.integers(0, 2**33) | st.sampled_from([2**24, 2**32]), st.integers(-12, 12))
def test_reader_and_schema_agree_on_segments(kind, around, off):
    ours = etree.Element(f"{{{NETWORK_NS}}}network")
    overlay = etree.SubElement(ours, f"{{{NETWORK_NS}}}overlay", type=kind, segment=str(around + off))
    etree.SubElement(overlay, f"{{{NETWORK_NS}}}peer", name="a", address="192.0.2.1")
    agree(ours, in_network)


MAC_TEXTS = st.lists(st.sampled_from(["00", "00", "01", "52", "53", "fe", "FF", "aA", "0", "g"]), min_size=5, max_size=7).map(":".join)


@quick
@given(MAC_TEXTS)
@example("00:00:00:00:00:00")
@example("52:54:00:00:00:01")
def test_reader_and_schema_agree_on_macs(mac):
    ours = etree.Element(f"{{{DOMAIN_NS}}}domain")
    etree.SubElement(ours, f"{{{DOMAIN_NS}}}interface", mac=mac)
    agree(ours, in_domain)
