"""Bad input, class by class: refused with one plain line that names the element, in under a second, and never otherwise."""

from collections.abc import Callable

import pytest
from badxml import (
    M1,
    UUID,
    as_guest,
    as_hook,
    as_network,
    as_tap,
    assert_refused,
    bound,
    guest,
    network,
    nic,
    ours_in_tap,
    refusal,
    tap,
)

from vnetd.xmlread import DOMAIN_NS, NETWORK_NS

MIB = 1024 * 1024


def mac(address: str) -> bytes:
    return tap(f"<mac address='{address}'/>")


def declared(encoding: str) -> bytes:
    return f"<?xml version='1.0' encoding='{encoding}'?>".encode() + network()


def doctype(inside: str = "") -> bytes:
    return b"<!DOCTYPE network" + inside.encode() + b">" + network()


def attributes(count: int, value: str = "") -> str:
    return " ".join(f"a{number}='{value}'" for number in range(count))


READERS: tuple[Callable[[bytes], None], ...] = (as_network, as_guest, as_tap, as_hook)

Row = tuple[str, Callable[[bytes], None], bytes, tuple[str, ...]]
"""The name of the case, who reads it, what is read and the words that the message must have."""

# What is refused before anybody looks at what it says: the same for every reader.
TEXTS: list[tuple[str, bytes, tuple[str, ...]]] = [
    ("empty", b"", ("the XML is empty",)),
    ("blank", b" \n\t", ("the XML is empty",)),
    ("cut off in a tag", network()[:60], ("not well-formed", "line 1")),
    ("cut off between tags", network()[:-10], ("not well-formed", "line 1")),
    ("two roots", network() * 2, ("not well-formed",)),
    ("no XML at all", b"name: blue\n", ("not well-formed",)),
    ("bytes that are not UTF-8", network().replace(b"blue", b"bl\xfce"), ("not UTF-8", "save it as UTF-8")),
    ("overlong UTF-8", network().replace(b"blue", b"bl\xc0\xaf"), ("not UTF-8",)),
    ("a surrogate in UTF-8", network().replace(b"blue", b"bl\xed\xa0\x80"), ("not UTF-8",)),
    ("UTF-16 with its mark", network().decode().encode("utf-16"), ("not UTF-8",)),
    # Both parsers guess it where nothing declares it, and Latin letters in it are valid UTF-8.
    ("UTF-16 without its mark, little end first", network().decode().encode("utf-16-le"), ("not UTF-8",)),
    ("UTF-16 without its mark, big end first", network().decode().encode("utf-16-be"), ("not UTF-8",)),
    ("UTF-32", network().decode().encode("utf-32"), ("not UTF-8",)),
    ("UTF-32 without its mark", network().decode().encode("utf-32-be"), ("not UTF-8",)),
    ("EBCDIC", network().decode().encode("cp037"), ("not UTF-8",)),
    ("a zero byte", network() + b"\0", ("not UTF-8", "zero")),
    ("declared as Latin-1", declared("ISO-8859-1"), ("'ISO-8859-1'", "encoding='UTF-8'")),
    ("declared as UTF-16", declared("UTF-16"), ("'UTF-16'", "encoding='UTF-8'")),
    ("declared as UTF-7", declared("UTF-7"), ("'UTF-7'", "encoding='UTF-8'")),
    ("declared as what Python calls a codec", declared("rot13"), ("'rot13'", "encoding='UTF-8'")),
    ("declared as something long", declared("x" * 5000), ("encoding='UTF-8'",)),
    ("over 4 MiB", network(rest="<a/>" * MIB), ("4194304",)),
    ("over 4 MiB of blanks", network() + b" " * 4 * MIB, ("4194304",)),
    ("a DOCTYPE", doctype(), ("DOCTYPE", "leave it out")),
    ("a DOCTYPE with a file", doctype(" SYSTEM 'file:///etc/hostname'"), ("DOCTYPE",)),
    ("an entity inside a name", doctype(" [<!ENTITY e 'x'>]").replace(b"blue", b"a&e;b"), ("DOCTYPE",)),
    (
        "entities that grow",
        doctype(" [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;&a;'>]").replace(b"blue", b"&b;" * 9),
        ("DOCTYPE",),
    ),
    ("an entity that nothing declares", network().replace(b"blue", b"a&e;b"), ("not well-formed", "entity")),
    ("20 000 attributes", network(rest=f"<a {attributes(20_000)}/>"), ("<a>", "100 attributes")),
    ("20 000 attributes on the root", f"<network {attributes(20_000)}/>".encode(), ("<network>", "100 attributes")),
    ("200 000 attributes with > in them", f"<network {attributes(200_000, '>')}/>".encode(), ("<network>", "100 attributes")),
    ("20 000 namespaces", network(rest=f"<a {attributes(20_000, 'u').replace('a', 'xmlns:a')}/>"), ("<a>", "100 attributes")),
    ("deep nesting", b"<network>" + b"<a>" * 300_000 + b"</a>" * 300_000 + b"</network>", ("deeper than 250",)),
    ("nesting one too deep", b"<a>" * 251 + b"</a>" * 251, ("deeper than 250",)),
    ("many elements", network(rest="<a/>" * 900_000), ("100000 elements",)),
    ("a tag that never ends", b"<network a='" + b"x" * 4_000_000, ("not well-formed",)),
    ("opening brackets only", b"<" * 4 * MIB, ("not well-formed",)),
    ("a long name", b"<network><" + b"x" * 60_000 + b"/></network>", ("not well-formed",)),
    ("a prefix of no namespace", network(rest="<x:y/>"), ("not well-formed", "x")),
    ("a long prefix of no namespace", network(rest=f"<{'é' * 20_000}:y/>"), ("not well-formed",)),
    ("an attribute twice", network(rest="<a b='' b=''/>"), ("not well-formed", "duplicate attribute")),
    ("an attribute twice by two prefixes", network(rest="<a xmlns:x='u' xmlns:y='u' x:b='' y:b=''/>"), ("not well-formed",)),
    ("a terminal's escape", network().replace(b"blue", b"bl\x1b[31m"), ("not well-formed",)),
    ("a wrong root", b"<pool/>", ("<pool>",)),
    ("a root in vnetd's namespace", f"<network xmlns='{NETWORK_NS}'/>".encode(), ("the root element is",)),
    ("a long root", b"<" + b"x" * 40_000 + b"/>", ("the root element is <xxx",)),
]

MACS = [
    "",
    "00:00:00:00:00:00",
    "ff:ff:ff:ff:ff:ff",
    "01:00:5e:00:00:01",
    "33:33:00:00:00:01",
    "53:54:00:00:00:01",
    "52:54:00:00:00",
    "52:54:00:00:00:01:02",
    "52-54-00-00-00-01",
    "5254.0000.0001",
    "52:54:0:0:0:1",
    "52:54:00:00:00:0g",
    "52:54:00:00:00:01 ",
    "５２:54:00:00:00:01",
]

TAP_NAMES = ["a;reboot", "--help", "../../x", "b0;id", "-", ".", "..", "a b", "$(id)", "é", "0123456789abcdef", ""]

GUESTS: list[tuple[str, bytes, tuple[str, ...]]] = [
    ("no name", b"<domain/>", ("<domain> name",)),
    ("two names", guest().replace(b"<name>vm1</name>", b"<name>vm1</name><name>vm2</name>"), ("<name>", "twice")),
    ("name with a slash", guest(name="../../x"), ("<domain> name", "'../../x'")),
    ("two devices", guest(around="<devices/>"), ("<devices>", "twice")),
    ("zero MAC", guest(nic(address="00:00:00:00:00:00")), ("<mac> address", "unicast")),
    ("multicast MAC", guest(nic(address="01:00:5e:00:00:01")), ("<mac> address", "unicast")),
    ("the same MAC twice", guest(nic(), nic()), ("<interface>", M1, "<mac address=")),
    (
        "the same MAC twice, once in capitals",
        guest(nic(address="52:54:00:aa:00:01"), nic(address="52:54:00:AA:00:01")),
        ("52:54:00:aa:00:01",),
    ),
    ("bridge b0;id", guest(nic(source="bridge='b0;id'")), ("<source> bridge", "'b0;id'")),
    ("network with a slash", guest(nic(source="network='../x'")), ("<source> network", "'../x'")),
    ("portgroup with a line end", guest(nic(source="network='blue' portgroup='a&#10;b'")), ("<source> portgroup", r"'a\nb'")),
    ("portid", guest(nic(source="network='blue' portid='1'")), ("<source> portid", "no UUID")),
    ("mtu", guest(nic("<mtu size='65536'/>")), ("<mtu> size", "68 to 65535")),
    ("mtu of nothing", guest(nic("<mtu/>")), ("<mtu>", "has no size")),
    ("mac of nothing", guest(nic().replace(f" address='{M1}'", "")), ("<mac>", "has no address")),
    ("two macs", guest(nic(f"<mac address='{M1}'/>")), ("<mac>", "twice")),
    ("unknown element", guest(ours="<vnet:nic/>"), ("<vnet:nic>", "<vnet:domain>", "it takes interface")),
    ("vnet:interface without a MAC", guest(ours="<vnet:interface/>"), ("<vnet:interface>", "has no mac")),
    ("vnet:interface of a zero MAC", guest(ours="<vnet:interface mac='00:00:00:00:00:00'/>"), ("<vnet:interface> mac", "unicast")),
    ("vnet:interface twice", guest(ours=f"<vnet:interface mac='{M1}'/>" * 2), ("<vnet:interface>", M1, "once")),
    ("unknown attribute", guest(ours=f"<vnet:interface mac='{M1}' ip='192.0.2.1'/>"), ("<vnet:interface>", "'ip'", "it takes mac")),
    (
        "unknown guard",
        guest(ours=f"<vnet:interface mac='{M1}'><vnet:policy guard='off'/></vnet:interface>"),
        ("<vnet:policy> guard", "'off'"),
    ),
    (
        "isolated in a NIC",
        guest(ours=f"<vnet:interface mac='{M1}'><vnet:policy isolated='yes'/></vnet:interface>"),
        ("<vnet:policy>", "takes no isolated inside <vnet:interface>", "<vnet:portgroup>"),
    ),
    (
        "host in a NIC",
        guest(ours=f"<vnet:interface mac='{M1}'><vnet:policy host='no'/></vnet:interface>"),
        ("<vnet:policy>", "takes no host inside <vnet:interface>", "<vnet:network>"),
    ),
    (
        "an address twice",
        guest(ours=f"<vnet:interface mac='{M1}'><vnet:address address='10.0.0.1'/><vnet:address address='10.0.0.1/32'/></vnet:interface>"),
        ("<vnet:address>", "twice", "10.0.0.1;", "once"),
    ),
    (
        "vnet:binding in a guest",
        guest(ours=f"<vnet:interface mac='{M1}'>{bound(M1, '10.0.0.1')}</vnet:interface>"),
        ("<vnet:binding>", "<vnet:interface>", "it takes policy, qos, address"),
    ),
    (
        "vnet:interface outside vnet:domain",
        guest(around=f"<metadata><v:interface xmlns:v='{DOMAIN_NS}' mac='{M1}'/></metadata>"),
        ("<vnet:interface>", "<metadata>", "<vnet:domain xmlns:vnet='urn:vnetd:domain:1'>"),
    ),
    (
        "vnet:interface inside a NIC",
        guest(nic(f"<v:interface xmlns:v='{DOMAIN_NS}'/>")),
        ("<vnet:interface>", "<interface>", "in <metadata>"),
    ),
    (
        "the network's namespace in a guest",
        guest(around=f"<metadata><v:domain xmlns:v='{NETWORK_NS}'/></metadata>"),
        ("<vnet:domain>", "urn:vnetd:domain:1"),
    ),
]

TAPS: list[tuple[str, bytes, tuple[str, ...]]] = [
    ("nowhere", tap(source=""), ("<interface>", "<source network=")),
    ("another tap", tap("<target dev='tap1'/>"), ("<target>", "tap0", "leave <target> out")),
    ("another MAC", ours_in_tap(f"mac='{M1}'"), ("<vnet:interface>", M1, "the same address or none")),
    ("zero MAC in vnet:interface", ours_in_tap("mac='00:00:00:00:00:00'"), ("<vnet:interface> mac", "unicast")),
    ("unknown attribute", ours_in_tap("guard='none'"), ("<vnet:interface>", "'guard'", "it takes mac")),
    ("unknown element", ours_in_tap(inside="<vnet:rate/>"), ("<vnet:rate>", "<vnet:interface>", "it takes policy")),
    ("unknown guard", ours_in_tap(inside="<vnet:policy guard='off'/>"), ("<vnet:policy> guard", "'off'")),
    ("isolated", ours_in_tap(inside="<vnet:policy isolated='no'/>"), ("<vnet:policy>", "the other hosts must know it", "<vnet:portgroup>")),
    ("host", ours_in_tap(inside="<vnet:policy host='yes'/>"), ("<vnet:policy>", "the policy of <vnet:network>")),
    ("no address", ours_in_tap(inside="<vnet:address/>"), ("<vnet:address>", "has no address")),
    (
        "address with more",
        ours_in_tap(inside="<vnet:address address='10.0.0.1' mac='a'/>"),
        ("<vnet:address>", "'mac'", "it takes address"),
    ),
    ("text in an address", ours_in_tap(inside="<vnet:address address='10.0.0.1'>x</vnet:address>"), ("<vnet:address>", "takes no text")),
    (
        "257 addresses",
        ours_in_tap(inside="".join(f"<vnet:address address='10.0.{n >> 8}.{n & 255}'/>" for n in range(257))),
        ("<vnet:interface>", "257", "256"),
    ),
    ("vnet:policy alone", tap(f"<v:policy xmlns:v='{DOMAIN_NS}'/>"), ("<vnet:policy>", "write <vnet:interface", "in <interface>")),
]


def hook(network_xml: bytes, port: str = "") -> bytes:
    return b"<hookData>" + network_xml.replace(b"<metadata>", f"<uuid>{UUID}</uuid><metadata>".encode()) + port.encode() + b"</hookData>"


HOOKS: list[tuple[str, bytes, tuple[str, ...]]] = [
    ("no network", b"<hookData/>", ("<hookData>", "has no <network>")),
    ("two networks", hook(network() * 2), ("<network>", "twice")),
    ("a network without a uuid", b"<hookData>" + network() + b"</hookData>", ("<network> uuid",)),
    ("a bad network", hook(network("<vnet:tunnel/>")), ("<vnet:tunnel>",)),
    ("a port without a uuid", hook(network(), f"<networkport><mac address='{M1}'/></networkport>"), ("<networkport> uuid",)),
    (
        "a port's owner",
        hook(network(), f"<networkport><uuid>{UUID}</uuid><owner><name>$(id)/</name></owner></networkport>"),
        ("<networkport> owner", "'$(id)/'"),
    ),
]


def rows() -> list[Row]:
    table = [(name, reader, data, words) for name, data, words in TEXTS for reader in READERS]
    for cases, reader in ((GUESTS, as_guest), (TAPS, as_tap), (HOOKS, as_hook)):
        table += [(name, reader, data, words) for name, data, words in cases]
    table += [(f"MAC {text}", as_tap, mac(text), ("<mac> address", "52:54:00:12:34:56")) for text in MACS]
    table += [(f"target {text}", as_guest, guest(nic(f"<target dev='{text}'/>")), ("<target> dev", "1 to 15")) for text in TAP_NAMES]
    return table


TABLE = rows()


@pytest.mark.parametrize(("reader", "data", "words"), [row[1:] for row in TABLE], ids=[f"{row[1].__name__} {row[0]}" for row in TABLE])
def test_refused(reader, data, words):
    assert_refused(reader, data, words)


def test_what_the_table_changes_is_good_by_itself():
    """Otherwise a case could be refused for what it has in common with all others."""
    assert refusal(as_network, network()) is None
    assert refusal(as_tap, tap()) is None
    assert refusal(as_tap, mac(M1)) is None
    assert refusal(as_tap, ours_in_tap(inside="<vnet:policy guard='none'/>")) is None
    assert refusal(as_tap, ours_in_tap(inside="".join(f"<vnet:address address='10.0.0.{n}'/>" for n in range(256)))) is None
    assert refusal(as_guest, guest(nic("<target dev='vnet0'/><mtu size='1500'/>"), ours=f"<vnet:interface mac='{M1}'/>")) is None
    assert refusal(as_hook, hook(network(), f"<networkport><uuid>{UUID}</uuid></networkport>")) is None


def test_what_looks_odd_and_is_allowed():
    assert refusal(as_network, b"\xef\xbb\xbf" + network()) is None
    assert refusal(as_network, declared("utf-8")) is None
    assert refusal(as_network, network(name="<name> zürich $(id) 日本 </name>")) is None
    cdata = f"<!-- a < b {'x' * 100_000} --><description><![CDATA[<{'x' * 100_000}]]></description>"
    assert refusal(as_network, network(rest=cdata)) is None
    assert refusal(as_guest, guest(nic("<target dev='a.b-c_d'/>"), name="$(id)")) is None
