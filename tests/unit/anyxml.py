"""Any XML whatever: trees of the elements that libvirt and vnetd have, the examples with changes in them, and their readers."""

import copy
from collections.abc import Callable
from pathlib import Path

from hypothesis import settings
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


# Trees.

NAMESPACES = st.sampled_from(["", "", "", NETWORK_NS, NETWORK_NS, DOMAIN_NS, "urn:foreign"])
TAGS = st.sampled_from(
    [
        *("network", "domain", "interface", "hookData", "networkport", "name", "uuid", "metadata", "forward", "bridge", "virtualport"),
        *("parameters", "portgroup", "vlan", "tag", "bandwidth", "inbound", "outbound", "mac", "source", "target", "mtu", "script"),
        *("devices", "owner", "group", "overlay", "peer", "uplink", "policy", "address", "binding", "unknown"),
        *("patch", "nic", "qos", "aggregate"),
    ]
)
ATTRIBUTES = st.sampled_from(
    [
        *("name", "mode", "type", "dev", "default", "trunk", "id", "nativeMode", "average", "peak", "burst", "address", "network"),
        *("portgroup", "portid", "bridge", "interfaceid", "size", "mac", "segment", "force", "guard", "unknown"),
        *("isolated", "flood", "neighbour", "host", "bond", "lacp", "ethertype", "pps", "dscp", "trust", "floor"),
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
        *(
            "access",
            "trunk",
            "dot1q-tunnel",
            "802.1ad",
            "802.1q",
            "active-backup",
            "balance-slb",
            "balance-tcp",
            "off",
            "active",
            "passive",
        ),
        *("46", "63", "64", "536870911", "536870912", "eth2", "bond0", "br0", "br-a"),
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
