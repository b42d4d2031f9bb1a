"""Whatever the text, the readers answer with a value or with InputError; and the reader and vnet.rng agree."""

import copy
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st
from lxml import etree

from vnetd.errors import InputError
from vnetd.model.names import IfName
from vnetd.xmlread import (
    DOMAIN_NS,
    NETWORK_NS,
    read_domain,
    read_interface,
    read_network,
    read_network_hook,
    read_network_port,
)

XML = Path(__file__).resolve().parents[2] / "xml"
SCHEMA = etree.RelaxNG(etree.parse(str(XML / "vnet.rng")))
EXAMPLES = [path.read_bytes() for path in sorted(XML.rglob("*.xml"))]
UUID = "b41957c4-dfcc-4123-add7-17673e91dea0"

quick = settings(max_examples=300, deadline=None, database=None)


def read_hook(data: bytes) -> None:
    hook = read_network_hook(data)
    # What a hook keeps is read again from its own text.
    read_network_hook(b"<hookData>" + hook.network + b"</hookData>")
    read_network(hook.network)
    if hook.port is not None:
        read_network_port(hook.port)


READERS: tuple[Callable[[bytes], object], ...] = (
    read_network,
    read_domain,
    lambda data: read_interface(data, IfName("tap0")),
    read_hook,
    read_network_port,
)


def refusal(reader: Callable[[bytes], object], data: bytes) -> str | None:
    """Why ``reader`` refuses ``data``, or None. Any other exception than InputError is the test's failure."""
    why = None
    try:
        reader(data)
    except InputError as error:
        why = str(error)
    assert why is None or len(why.splitlines()) == 1
    return why


def read_all(data: bytes) -> None:
    for reader in READERS:
        refusal(reader, data)


# Bytes.

HOOK = b"<hookData>" + EXAMPLES[0] + f"<networkport><uuid>{UUID}</uuid><mac address='52:54:00:00:00:01'/></networkport></hookData>".encode()
SNIPPETS = st.sampled_from(
    [b"<", b">", b"&", b"&e;", b"<!DOCTYPE a>", b"<![CDATA[", b"]]>", b"<!--", b"-->", b"<?x?>", b"'", b'"', b"\0", b"\xff", b":"]
)


@quick
@given(st.binary(max_size=400))
def test_any_bytes(data):
    read_all(data)


@quick
@given(st.sampled_from([*EXAMPLES, HOOK]), st.data())
def test_examples_cut_and_spliced(text, data):
    begin, end = sorted(data.draw(st.tuples(st.integers(0, len(text)), st.integers(0, len(text)))))
    read_all(text[:begin] + data.draw(SNIPPETS | st.binary(max_size=8)) + text[end:])


# Trees.

NAMESPACES = st.sampled_from(["", "", "", NETWORK_NS, NETWORK_NS, DOMAIN_NS, "urn:foreign"])
TAGS = st.sampled_from(
    [
        *("network", "domain", "interface", "hookData", "networkport", "name", "uuid", "metadata", "forward", "bridge", "virtualport"),
        *("parameters", "portgroup", "vlan", "tag", "bandwidth", "inbound", "outbound", "mac", "source", "target", "mtu", "script"),
        *("devices", "owner", "group", "overlay", "peer", "uplink", "policy", "address", "binding", "unknown"),
    ]
)
ATTRIBUTES = st.sampled_from(
    [
        *("name", "mode", "type", "dev", "default", "trunk", "id", "nativeMode", "average", "peak", "burst", "address", "network"),
        *("portgroup", "portid", "bridge", "interfaceid", "size", "mac", "segment", "force", "guard", "unknown"),
        *("isolated", "flood", "neighbour", "host"),
    ]
)
VALUES = st.sampled_from(
    [
        *(
            "",
            " ",
            "yes",
            "no",
            "strict",
            "mac",
            "none",
            "bridge",
            "network",
            "ethernet",
            "openvswitch",
            "gre",
            "vxlan",
            "geneve",
            "tagged",
        ),
        *("0", "1", "10", "100", "4094", "4095", "010", "-1", "１０", "16777215", "16777216", "4294967295", "4294967296", "1e1", " 1"),
        *("192.0.2.11", "192.0.2.12", "192.0.2.012", "0.0.0.0", "224.0.0.1", "255.255.255.255", "127.0.0.1", "1.2.3"),
        *("2001:db8::11", "2001:DB8:0::11", "::", "::1", "ff02::1", "fe80::1%eth0", "::ffff:192.0.2.11", "::ffff:0", "1:2:3:4:5:6:7::"),
        *("1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:1.2.3.4", "1::2::3", "12345::", "2001:db8::/64", "::ffff:0:1"),
        *("10.0.0.0/24", "10.0.0.5/24", "10.0.0.5/32", "10.0.0.0/0", "10.0.0.0/33", "128.0.0.0/1", "fe80::/64", "fe80::1", "::/0"),
        *("1000000", "1000001", "2001:db8::5/64", "e000::/3"),
        *("52:54:00:00:00:01", "52:54:00:00:00:02", "52:54:00:AA:BB:cc", "00:00:00:00:00:00", "01:00:5e:00:00:01", "52-54-00-00-00-01"),
        *("eth1", "br-blue", "tap0", "lo", "all", "default", "a;reboot", "--help", "../../x", "0123456789abcde", "0123456789abcdef"),
        *("blue", "vlan-10", "vlan-20", "hv1", "$(id)", "a/b", "a\nb", "a\x85b", "a\u2028b", "é" * 255, "é" * 256, UUID),
    ]
) | st.text(st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters="\ufffe\uffff"), max_size=20)

Plain = tuple[str, dict[str, str], str, list]
TREES: st.SearchStrategy[Plain] = st.recursive(
    st.tuples(NAMESPACES, TAGS, st.dictionaries(ATTRIBUTES, VALUES, max_size=4), VALUES, st.just([])),
    lambda inner: st.tuples(NAMESPACES, TAGS, st.dictionaries(ATTRIBUTES, VALUES, max_size=3), VALUES, st.lists(inner, max_size=5)),
    max_leaves=15,
)


def build(plain: Plain) -> etree._Element:
    namespace, tag, attributes, text, children = plain
    element = etree.Element(f"{{{namespace}}}{tag}" if namespace else tag)
    for name, value in attributes.items():
        element.set(name, value)
    if tag in ("name", "uuid", "group", "unknown"):  # Hardly any other element takes text.
        element.text = text
    element.extend(build(child) for child in children)
    return element


@quick
@given(st.sampled_from(["network", "domain", "interface", "hookData", "networkport"]), TREES)
def test_any_tree(root, plain):
    read_all(etree.tostring(build(("", root, *plain[2:])), encoding="utf-8"))


# Mutations.


def mutate(data: st.DataObject, root: etree._Element, keep: etree._Element | None = None) -> None:
    """One change somewhere below ``root``; ``keep`` stays where it is and what it is called."""
    elements = list(root.iter(etree.Element))
    element = data.draw(st.sampled_from(elements))
    change = data.draw(st.sampled_from([_delete, _duplicate, _rename, _drop, _alter, _alter, _alter, _text, _insert, _move]))
    if element in (root, keep) and change in (_delete, _duplicate, _rename, _move):
        change = _alter
    change(data, element, elements)


def _delete(data: st.DataObject, element: etree._Element, elements: list[etree._Element]) -> None:
    element.getparent().remove(element)


def _duplicate(data: st.DataObject, element: etree._Element, elements: list[etree._Element]) -> None:
    element.addnext(copy.deepcopy(element))


def _rename(data: st.DataObject, element: etree._Element, elements: list[etree._Element]) -> None:
    namespace = data.draw(NAMESPACES)
    name = data.draw(st.just(etree.QName(element).localname) | TAGS)
    element.tag = f"{{{namespace}}}{name}" if namespace else name


def _drop(data: st.DataObject, element: etree._Element, elements: list[etree._Element]) -> None:
    if element.attrib:
        del element.attrib[data.draw(st.sampled_from(sorted(element.attrib)))]


def _alter(data: st.DataObject, element: etree._Element, elements: list[etree._Element]) -> None:
    names = st.sampled_from(sorted(element.attrib)) if element.attrib else ATTRIBUTES
    prefixed = st.tuples(NAMESPACES, ATTRIBUTES).map(lambda pair: f"{{{pair[0]}}}{pair[1]}" if pair[0] else pair[1])
    element.set(data.draw(names | names | prefixed), data.draw(VALUES))


def _text(data: st.DataObject, element: etree._Element, elements: list[etree._Element]) -> None:
    text = data.draw(st.sampled_from(["", " ", "\n\t", "\u3000"]) | VALUES)
    if data.draw(st.booleans()) and element.getparent() is not None:
        element.tail = text
    else:
        element.text = text


def _insert(data: st.DataObject, element: etree._Element, elements: list[etree._Element]) -> None:
    element.insert(data.draw(st.integers(0, len(element))), build(data.draw(TREES)))


def _move(data: st.DataObject, element: etree._Element, elements: list[etree._Element]) -> None:
    inside = set(element.iter())
    places = [place for place in elements if place not in inside]
    if places:
        data.draw(st.sampled_from(places)).append(element)


def tree(text: bytes) -> etree._Element:
    return etree.fromstring(text, etree.XMLParser(remove_comments=True))


@settings(quick, max_examples=600)
@given(st.sampled_from([*EXAMPLES, HOOK]), st.data())
def test_mutated_examples(text, data):
    root = tree(text)
    for _ in range(data.draw(st.integers(1, 4))):
        mutate(data, root)
    read_all(etree.tostring(root, encoding="utf-8"))


# The reader and the schema.

BEYOND_RELAXNG = (
    "stands here twice for",
    "each host stands here once",
    "write each address for one MAC only",
    "has bits set beyond its length",
    "reaches into",
)
"""What no grammar can say, and only the reader refuses: what stands twice, and what a prefix holds besides the address written."""


def in_network(ours: etree._Element) -> bytes:
    """A network of libvirt's around ``<vnet:network>``, with all the portgroups that this names."""
    root = tree(
        b"<network><name>a</name><metadata/><forward mode='bridge'/><bridge name='br-a'/><virtualport type='openvswitch'/></network>"
    )
    for name in {element.get("name", "") for element in ours.iterchildren(f"{{{NETWORK_NS}}}portgroup")}:
        etree.SubElement(root, "portgroup", name=name)
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


@settings(quick, max_examples=600)
@given(st.fixed_dictionaries({}, optional=RULES), st.sampled_from(["network", "portgroup", "domain", "tap"]))
def test_reader_and_schema_agree_on_policies(rules, place):
    namespace = NETWORK_NS if place in ("network", "portgroup") else DOMAIN_NS
    ours = etree.Element(f"{{{namespace}}}{'interface' if place == 'tap' else 'domain' if place == 'domain' else 'network'}")
    parent = ours
    if place == "portgroup":
        parent = etree.SubElement(ours, f"{{{namespace}}}portgroup", name="a")
    if place == "domain":
        parent = etree.SubElement(ours, f"{{{namespace}}}interface", mac="52:54:00:00:00:01")
    etree.SubElement(parent, f"{{{namespace}}}policy", **rules)
    agree(ours, {"domain": in_domain, "tap": in_tap}.get(place, in_network))


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
