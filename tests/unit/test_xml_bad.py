"""Bad input, class by class: refused with one plain line that names the element, in under a second, and never otherwise."""

import time
from collections.abc import Callable

import pytest

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

MIB = 1024 * 1024
UUID = "b41957c4-dfcc-4123-add7-17673e91dea0"
M1, M2 = "52:54:00:00:00:01", "52:54:00:00:00:02"

PARTS = {
    "name": "<name>blue</name>",
    "forward": "<forward mode='bridge'/>",
    "bridge": "<bridge name='br-blue'/>",
    "virtualport": "<virtualport type='openvswitch'/>",
}


def network(ours: str = "", rest: str = "", **parts: str) -> bytes:
    """A good network but for ``ours`` in vnetd's element, ``rest`` at the end and ``parts`` instead of the usual ones."""
    elements = "".join((PARTS | parts).values())
    metadata = f"<metadata><vnet:network xmlns:vnet='{NETWORK_NS}'>{ours}</vnet:network></metadata>"
    return f"<network>{elements}{metadata}{rest}</network>".encode()


def overlay(attributes: str = "type='gre' segment='1'", peers: str = "<vnet:peer name='a' address='192.0.2.1'/>") -> bytes:
    return network(f"<vnet:overlay {attributes}>{peers}</vnet:overlay>")


def peer(address: str) -> bytes:
    return overlay(peers=f"<vnet:peer name='a' address='{address}'/>")


def vlan(number: str) -> bytes:
    return network(rest=f"<portgroup name='a'><vlan><tag id='{number}'/></vlan></portgroup>")


def tap(rest: str = "", source: str = "<source network='blue'/>") -> bytes:
    return f"<interface type='network'>{source}{rest}</interface>".encode()


def bound(mac: str, address: str) -> str:
    return f"<vnet:binding mac='{mac}' address='{address}'/>"


def mac(address: str) -> bytes:
    return tap(f"<mac address='{address}'/>")


def ours_in_tap(attributes: str = "", inside: str = "") -> bytes:
    return tap(f"<vnet:interface xmlns:vnet='{DOMAIN_NS}' {attributes}>{inside}</vnet:interface>")


def guest(*nics: str, ours: str = "", name: str = "vm1", around: str = "") -> bytes:
    metadata = f"<metadata><vnet:domain xmlns:vnet='{DOMAIN_NS}'>{ours}</vnet:domain></metadata>" if ours else ""
    return f"<domain><name>{name}</name>{metadata}{around}<devices>{''.join(nics)}</devices></domain>".encode()


def nic(rest: str = "", source: str = "network='blue'", address: str = M1) -> str:
    return f"<interface type='network'><mac address='{address}'/><source {source}/>{rest}</interface>"


def declared(encoding: str) -> bytes:
    return f"<?xml version='1.0' encoding='{encoding}'?>".encode() + network()


def doctype(inside: str = "") -> bytes:
    return b"<!DOCTYPE network" + inside.encode() + b">" + network()


def attributes(count: int, value: str = "") -> str:
    return " ".join(f"a{number}='{value}'" for number in range(count))


def as_network(data: bytes) -> None:
    read_network(data)


def as_guest(data: bytes) -> None:
    """As a hook does it when the NIC's network is vnetd's: a fault of a NIC refuses the guest."""
    for fault in read_domain(data).faults:
        raise fault.error


def as_tap(data: bytes) -> None:
    read_interface(data, IfName("tap0"))


def as_hook(data: bytes) -> None:
    hook = read_network_hook(data)
    read_network(hook.network)
    if hook.port is not None:
        read_network_port(hook.port)


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

NETWORKS: list[tuple[str, bytes, tuple[str, ...]]] = [
    ("not vnetd's", b"<network><name>a</name></network>", ("<network>", "<vnet:network xmlns:vnet='urn:vnetd:network:1'/>")),
    ("two metadata", network(rest="<metadata/>"), ("<metadata>", "twice")),
    (
        "vnet:network twice",
        network().replace(b"</metadata>", f"<v:network xmlns:v='{NETWORK_NS}'/></metadata>".encode()),
        ("<vnet:network>", "twice"),
    ),
    ("a slip in vnet:network", network().replace(b"vnet:network", b"vnet:netwrok"), ("<vnet:netwrok>", "<metadata>", "<vnet:network")),
    ("vnet:network outside metadata", network(rest=f"<v:network xmlns:v='{NETWORK_NS}'/>"), ("<vnet:network>", "in <metadata>")),
    (
        "vnet:policy inside libvirt's portgroup",
        network(rest=f"<portgroup name='a'><v:policy xmlns:v='{NETWORK_NS}'/></portgroup>"),
        ("<vnet:policy>", "<portgroup>"),
    ),
    ("no bridge mode", network(forward="<forward mode='nat'/>"), ("<network>", "<forward mode='bridge'/>")),
    ("no forward", network(forward=""), ("<network>", "<forward mode='bridge'/>")),
    ("no Open vSwitch", network(virtualport=""), ("<network>", "<virtualport type='openvswitch'/>")),
    ("no bridge", network(bridge=""), ("<network>", "<bridge name=")),
    ("bridge without a name", network(bridge="<bridge/>"), ("<bridge>", "has no name")),
    ("bridge b0;id", network(bridge="<bridge name='b0;id'/>"), ("<bridge> name", "'b0;id'", "write 1 to 15")),
    ("bridge --help", network(bridge="<bridge name='--help'/>"), ("<bridge> name", "'--help'")),
    ("bridge ../../x", network(bridge="<bridge name='../../x'/>"), ("<bridge> name", "'../../x'")),
    ("bridge of 16 bytes", network(bridge="<bridge name='br-0123456789abc'/>"), ("<bridge> name", "1 to 15")),
    ("bridge with a line end", network(bridge="<bridge name='br0&#10;'/>"), ("<bridge> name", r"'br0\n'")),
    ("bridge all", network(bridge="<bridge name='all'/>"), ("<bridge> name", "'all'", "another name")),
    ("bridge empty", network(bridge="<bridge name=''/>"), ("<bridge> name", "''")),
    ("no name", network(name=""), ("<network> name", "''")),
    ("name with a slash", network(name="<name>a/b</name>"), ("<network> name", "'a/b'")),
    ("name with a line end", network(name="<name>a\nb</name>"), ("<network> name", r"'a\nb'")),
    ("name with another line end", network(name="<name>a\u2028b\x85</name>"), ("<network> name", r"a\u2028b\x85")),
    ("name of 256", network(name=f"<name>{'a' * 256}</name>"), ("<network> name", "1 to 255")),
    ("uuid", network(rest="<uuid>0x1957c4dfcc4123add717673e91dea0</uuid>"), ("<network> uuid", "no UUID")),
    ("unknown element", network("<vnet:tunnel/>"), ("<vnet:tunnel>", "<vnet:network>", "overlay, uplink, policy, portgroup")),
    ("long unknown element", network(f"<vnet:{'é' * 10_000}/>"), ("<vnet:network>",)),
    ("unprefixed element", network("<uplink dev='eth1'/>"), ("<uplink>", "write vnet:uplink")),
    ("long unprefixed element", network(f"<{'x' * 40_000}/>"), ("write vnet:xxx",)),
    ("vnet:interface in a network", network(f"<d:interface xmlns:d='{DOMAIN_NS}'/>"), ("<vnet:interface>", "does not belong")),
    ("unknown attribute", network("<vnet:uplink dev='eth1' mtu='9000'/>"), ("<vnet:uplink>", "'mtu'", "it takes dev, force")),
    ("attribute on vnet:network", network().replace(b"<vnet:network ", b"<vnet:network id='1' "), ("<vnet:network>", "'id'", "none")),
    ("prefixed attribute", network("<vnet:uplink vnet:dev='eth1'/>"), ("<vnet:uplink>", "write dev without a prefix")),
    ("long prefixed attribute", network(f"<vnet:uplink vnet:{'x' * 40_000}='1'/>"), ("<vnet:uplink>", "without a prefix")),
    (
        "attribute of vnetd's other namespace",
        network(f"<vnet:uplink dev='eth1' d:dev='eth2' xmlns:d='{DOMAIN_NS}'/>"),
        ("<vnet:uplink>", "write dev without a prefix"),
    ),
    ("text", network("strict"), ("<vnet:network>", "takes no text")),
    ("a blank of another script", network("\u3000"), ("<vnet:network>", "takes no text")),
    ("unknown guard", network("<vnet:policy guard='strong'/>"), ("<vnet:policy> guard", "'strong'", "'strict' or 'mac' or 'none'")),
    ("empty guard", network("<vnet:policy guard=''/>"), ("<vnet:policy> guard", "''")),
    ("guard with blanks", network("<vnet:policy guard=' mac '/>"), ("<vnet:policy> guard", "' mac '")),
    ("policy twice", network("<vnet:policy/><vnet:policy/>"), ("<vnet:policy>", "twice")),
    ("isolated", network("<vnet:policy isolated='true'/>"), ("<vnet:policy> isolated", "'true'", "'yes' nor 'no'")),
    ("host", network("<vnet:policy host='1'/>"), ("<vnet:policy> host", "'1'", "'yes' nor 'no'")),
    ("unknown rule", network("<vnet:policy mac='yes'/>"), ("<vnet:policy>", "'mac'", "guard, flood, neighbour, isolated, host")),
    (
        "host in a portgroup",
        network("<vnet:portgroup name='a'><vnet:policy host='yes'/></vnet:portgroup>", "<portgroup name='a'/>"),
        ("<vnet:policy>", "takes no host inside <vnet:portgroup>", "the policy of <vnet:network>"),
    ),
    ("binding without a MAC", network("<vnet:binding address='10.0.0.1'/>"), ("<vnet:binding>", "has no mac")),
    ("binding without an address", network(f"<vnet:binding mac='{M1}'/>"), ("<vnet:binding>", "has no address")),
    ("binding of a zero MAC", network("<vnet:binding mac='00:00:00:00:00:00' address='10.0.0.1'/>"), ("<vnet:binding> mac", "unicast")),
    ("binding with more", network(bound(M1, "10.0.0.1").replace("/>", " vlan='1'/>")), ("<vnet:binding>", "'vlan'", "mac, address")),
    ("something in a binding", network(bound(M1, "10.0.0.1").replace("/>", "><vnet:x/></vnet:binding>")), ("<vnet:x>", "<vnet:binding>")),
    (
        "a binding twice",
        network(bound(M1, "2001:db8::1") + bound(M1.upper(), "2001:DB8:0::1/128")),
        ("<vnet:binding>", "twice", f"{M1} and 2001:db8::1", "once"),
    ),
    (
        "an address of two MACs",
        network(bound(M2, "10.0.0.1") + bound(M1, "10.0.0.1")),
        ("<vnet:binding>", f"10.0.0.1 to {M1}", f"10.0.0.1 to {M2}", "one MAC only"),
    ),
    (
        "an address in a prefix of another MAC, and one of its own before it",
        network(bound(M1, "10.0.0.0/24") + bound(M1, "10.0.0.64/26") + bound(M1, "10.0.0.9") + bound(M2, "10.0.0.200")),
        (f"10.0.0.200 to {M2}", f"10.0.0.0/24 to {M1}"),
    ),
    (
        "257 addresses of one MAC",
        network("".join(bound(M1, f"10.0.{n >> 8}.{n & 255}") for n in range(257))),
        ("<vnet:binding>", "256", M1, "prefixes"),
    ),
    ("65537 bindings", network(bound(M1, "1.1.1.1") * 65537), ("<vnet:network>", "65537", "65536")),
    ("uplink without a NIC", network("<vnet:uplink/>"), ("<vnet:uplink>", "has no dev")),
    ("uplink twice", network("<vnet:uplink dev='a'/><vnet:uplink dev='b'/>"), ("<vnet:uplink>", "twice")),
    ("uplink a;reboot", network("<vnet:uplink dev='a;reboot'/>"), ("<vnet:uplink> dev", "'a;reboot'")),
    ("uplink --help", network("<vnet:uplink dev='--help'/>"), ("<vnet:uplink> dev", "'--help'")),
    ("uplink lo", network("<vnet:uplink dev='lo'/>"), ("<vnet:uplink> dev", "'lo'")),
    ("force", network("<vnet:uplink dev='eth1' force='true'/>"), ("<vnet:uplink> force", "'true'", "'yes' nor 'no'")),
    ("portgroup of no name", network("<vnet:portgroup/>"), ("<vnet:portgroup>", "has no name")),
    ("portgroup of nobody", network("<vnet:portgroup name='a'/>"), ("<vnet:portgroup name='a'>", "<portgroup>")),
    ("vnet:portgroup twice", network("<vnet:portgroup name='a'/>" * 2, "<portgroup name='a'/>"), ("<vnet:portgroup>", "'a'", "once")),
    ("portgroup twice", network(rest="<portgroup name='a'/>" * 2), ("<portgroup>", "'a'", "once")),
    ("portgroup's name", network(rest="<portgroup name='a/b'/>"), ("<portgroup> name", "'a/b'")),
    ("two defaults", network(rest="<portgroup name='a' default='yes'/><portgroup name='b' default='yes'/>"), ("two default", "on one")),
    ("default", network(rest="<portgroup name='a' default='1'/>"), ("<portgroup> default", "'1'")),
    ("overlay without a type", overlay("segment='1'"), ("<vnet:overlay>", "has no type")),
    ("overlay of stt", overlay("type='stt' segment='1'"), ("<vnet:overlay> type", "'stt'", "'gre' or 'vxlan' or 'geneve'")),
    ("overlay of GRE", overlay("type='GRE' segment='1'"), ("<vnet:overlay> type", "'GRE'")),
    ("overlay without a segment", overlay("type='gre'"), ("<vnet:overlay>", "has no segment")),
    ("segment 2^24", overlay("type='vxlan' segment='16777216'"), ("<vnet:overlay> segment", "0 to 16777215")),
    ("segment 2^32", overlay("type='gre' segment='4294967296'"), ("<vnet:overlay> segment", "0 to 4294967295")),
    ("segment 0x64", overlay("type='gre' segment='0x64'"), ("<vnet:overlay> segment", "'0x64'")),
    ("segment of 5000 digits", overlay(f"type='gre' segment='{'9' * 5000}'"), ("<vnet:overlay> segment",)),
    ("no peers", overlay(peers=""), ("<vnet:overlay>", "<vnet:peer name=")),
    ("peer without a name", overlay(peers="<vnet:peer address='192.0.2.1'/>"), ("<vnet:peer>", "has no name")),
    ("peer without an address", overlay(peers="<vnet:peer name='a'/>"), ("<vnet:peer>", "has no address")),
    (
        "a peer's name twice",
        overlay(peers="<vnet:peer name='a' address='192.0.2.1'/><vnet:peer name='a' address='192.0.2.2'/>"),
        ("<vnet:peer>", "'a'", "once"),
    ),
    (
        "a peer's address twice",
        overlay(peers="<vnet:peer name='a' address='2001:db8::1'/><vnet:peer name='b' address='2001:DB8:0::1'/>"),
        ("<vnet:peer>", "2001:db8::1", "'a'", "once"),
    ),
    (
        "both kinds of peers",
        overlay(peers="<vnet:peer name='a' address='192.0.2.1'/><vnet:peer name='b' address='2001:db8::1'/>"),
        ("<vnet:overlay>", "IPv4 and IPv6"),
    ),
    (
        "4097 peers",
        overlay(peers="".join(f"<vnet:peer name='{n}' address='10.0.{n >> 8}.{n & 255}'/>" for n in range(4097))),
        ("<vnet:overlay>", "4097", "4096"),
    ),
    (
        "something in a peer",
        overlay(peers="<vnet:peer name='a' address='192.0.2.1'><vnet:policy/></vnet:peer>"),
        ("<vnet:policy>", "<vnet:peer>"),
    ),
    ("many tags", network(rest=f"<vlan>{'''<tag id='1'/>''' * 90_000}</vlan>"), ("<vlan>", "VLAN 1 twice")),
]

PREFIXES: list[tuple[str, str]] = [
    ("", "no IP address"),
    ("10.0.0", "no IP address"),
    ("10.0.0.01", "no IP address"),
    ("10.0.0.0.", "no IP address"),
    ("/24", "no IP address"),
    ("10.0.0.1 ", "no IP address"),
    ("10.0.0.1-10.0.0.9", "no IP address"),
    ("10.0.0.0/", "write one from 1 to 32"),
    ("10.0.0.0/33", "write one from 1 to 32"),
    ("10.0.0.0/024", "write one from 1 to 32"),
    ("10.0.0.0/+24", "write one from 1 to 32"),
    ("10.0.0.0/２４", "write one from 1 to 32"),
    ("10.0.0.0/24/24", "write one from 1 to 32"),
    ("10.0.0.0/255.255.255.0", "write one from 1 to 32"),
    (f"10.0.0.0/{'9' * 5000}", "write one from 1 to 32"),
    ("2001:db8::/129", "write one from 1 to 128"),
    ("0.0.0.0/0", "write guard='mac'"),
    ("::/0", "write guard='mac'"),
    ("10.0.0.5/24", "write 10.0.0.0/24 for the prefix or 10.0.0.5 for the address"),
    ("2001:db8::5/64", "write 2001:db8::/64 for the prefix or 2001:db8::5 for the address"),
    ("0.0.0.0", "unicast"),
    ("0.0.0.1", "unspecified (0.0.0.0/8)"),
    ("127.0.0.1", "loopback (127.0.0.0/8)"),
    ("127.0.0.0/8", "loopback"),
    ("224.0.0.1", "unicast"),
    ("239.0.0.0/8", "unicast"),
    ("255.255.255.255", "unicast"),
    ("64.0.0.0/2", "reaches into 127.0.0.0/8"),
    ("128.0.0.0/1", "reaches into 224.0.0.0/4"),
    ("240.0.0.0/4", "reaches into 255.255.255.255/32"),
    ("::", "unicast"),
    ("::1", "loopback"),
    ("::1/64", "reaches into ::/128"),
    ("::5/64", "reaches into ::/128"),
    ("ff02::1", "unicast"),
    ("e000::/3", "reaches into ff00::/8"),
    ("fe80::1%eth0", "without a zone"),
    ("fe80::%eth0/64", "without a zone"),
    ("::ffff:10.0.0.1", "write 10.0.0.1"),
    ("::ffff:10.0.0.0/120", "write 10.0.0.0"),
    ("::fffe:0:0/95", "reaches into ::ffff:0:0/96"),
]

PACKETS = ["", "0", "-1", "01", "1.5", "1e3", "1000001", "None", "unlimited", " 1", "１"]

ADDRESSES = [
    "",
    "hv1",
    "192.0.2",
    "192.0.2.011",
    "192.0.2.256",
    "192.0.2.1/24",
    "192.0.2.1 ",
    "192.0.2.１",
    "3221225985",
    "0xc0000201",
    "0.0.0.0",
    "224.0.0.1",
    "255.255.255.255",
    "2001:db8::1/64",
    "2001:db8::1::2",
    "2001:db8::12345",
    "fe80::1%eth0",
    "[2001:db8::1]",
    "::",
    "ff02::1",
    "::ffff:192.0.2.1",
    "0:0:0:0:0:ffff:c000:201",
]

NUMBERS = ["", "0", "4095", "010", "-1", "+1", "1e1", "1.0", " 1", "1 ", "0x10", "１０", "٤", "1_0", "9" * 5000]

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
        ("<vnet:binding>", "<vnet:interface>", "it takes policy, address"),
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
    for cases, reader in ((NETWORKS, as_network), (GUESTS, as_guest), (TAPS, as_tap), (HOOKS, as_hook)):
        table += [(name, reader, data, words) for name, data, words in cases]
    table += [(f"address {text[:20]}", as_network, peer(text), ("<vnet:peer> address",)) for text in ADDRESSES]
    table += [(f"binding {text[:20]}", as_network, network(bound(M1, text)), ("<vnet:binding> address", words)) for text, words in PREFIXES]
    table += [
        (f"own address {text[:20]}", as_tap, ours_in_tap(inside=f"<vnet:address address='{text}'/>"), ("<vnet:address> address", words))
        for text, words in PREFIXES
    ]
    for name in ("flood", "neighbour"):
        words = (f"<vnet:policy> {name}", "1 to 1000000", "packets/s", "'none'")
        table += [(f"{name} {text}", as_network, network(f"<vnet:policy {name}='{text}'/>"), words) for text in PACKETS]
        table += [(f"{name} {text}", as_tap, ours_in_tap(inside=f"<vnet:policy {name}='{text}'/>"), words) for text in PACKETS]
    table += [(f"VLAN {text[:20]}", as_network, vlan(text), ("<tag> id", "1 to 4094")) for text in NUMBERS]
    table += [(f"MAC {text}", as_tap, mac(text), ("<mac> address", "52:54:00:12:34:56")) for text in MACS]
    table += [(f"target {text}", as_guest, guest(nic(f"<target dev='{text}'/>")), ("<target> dev", "1 to 15")) for text in TAP_NAMES]
    return table


TABLE = rows()


@pytest.mark.parametrize(("reader", "data", "words"), [row[1:] for row in TABLE], ids=[f"{row[1].__name__} {row[0]}" for row in TABLE])
def test_refused(reader, data, words):
    began = time.process_time()
    with pytest.raises(InputError) as caught:
        reader(data)
    took = time.process_time() - began
    message = str(caught.value)
    assert [word for word in words if word not in message] == [], message
    assert len(message.splitlines()) == 1
    assert len(message) < 500
    assert took < 1


def test_what_the_table_changes_is_good_by_itself():
    """Otherwise a case could be refused for what it has in common with all others."""
    as_network(network())
    as_network(overlay())
    as_network(vlan("10"))
    as_network(peer("2001:db8::1"))
    as_tap(tap())
    as_tap(mac(M1))
    as_tap(ours_in_tap(inside="<vnet:policy guard='none'/>"))
    as_tap(ours_in_tap(inside="<vnet:policy flood='1' neighbour='none'/><vnet:address address='10.0.0.1'/>"))
    as_tap(ours_in_tap(inside="".join(f"<vnet:address address='10.0.0.{n}'/>" for n in range(256))))
    as_network(network("<vnet:policy isolated='yes' host='yes'/>" + bound(M1, "10.0.0.1") + bound(M2, "10.0.0.2")))
    as_network(network("".join(bound(M1, f"10.0.0.{n}") for n in range(256))))
    as_guest(guest(nic("<target dev='vnet0'/><mtu size='1500'/>"), ours=f"<vnet:interface mac='{M1}'/>"))
    as_hook(hook(network(), f"<networkport><uuid>{UUID}</uuid></networkport>"))


def test_what_looks_odd_and_is_allowed():
    as_network(b"\xef\xbb\xbf" + network())
    as_network(declared("utf-8"))
    as_network(network(name="<name> zürich $(id) 日本 </name>"))
    as_network(network(rest=f"<!-- a < b {'x' * 100_000} --><description><![CDATA[<{'x' * 100_000}]]></description>"))
    as_guest(guest(nic("<target dev='a.b-c_d'/>"), name="$(id)"))
