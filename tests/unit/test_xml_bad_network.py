"""Bad networks: vnetd's element and what stands around it, refused as test_xml_bad.py says."""

import pytest
from badxml import M1, M2, as_network, as_tap, assert_refused, bound, network, ours_in_tap, refusal

from vnetd.xmlread import DOMAIN_NS, NETWORK_NS


def overlay(attributes: str = "type='gre' segment='1'", peers: str = "<vnet:peer name='a' address='192.0.2.1'/>") -> bytes:
    return network(f"<vnet:overlay {attributes}>{peers}</vnet:overlay>")


def peer(address: str) -> bytes:
    return overlay(peers=f"<vnet:peer name='a' address='{address}'/>")


def vlan(number: str) -> bytes:
    return network(rest=f"<portgroup name='a'><vlan><tag id='{number}'/></vlan></portgroup>")


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
    (
        "unknown element",
        network("<vnet:tunnel/>"),
        ("<vnet:tunnel>", "<vnet:network>", "overlay, uplink, patch, policy, qos, aggregate, portgroup, binding"),
    ),
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
        "513 peers",
        overlay(peers="".join(f"<vnet:peer name='{n}' address='10.0.{n >> 8}.{n & 255}'/>" for n in range(513))),
        ("<vnet:overlay>", "513", "512"),
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
    ("::ffff:224.0.0.1", "unicast"),
    ("::ffff:255.255.255.255", "unicast"),
    ("::ffff:0:0/96", "unicast"),
    ("::fffe:0:0/95", "reaches into ::ffff:0:0/96"),
]

PACKETS = ["", "0", "-1", "01", "1.5", "1e3", "1000001", "None", "unlimited", " 1", "１"]

ADDRESSES = [
    "",
    "hv_1",
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


def rows() -> list[tuple[object, ...]]:
    table = [(name, as_network, data, words) for name, data, words in NETWORKS]
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
    return table


TABLE = rows()


@pytest.mark.parametrize(("reader", "data", "words"), [row[1:] for row in TABLE], ids=[f"{row[1].__name__} {row[0]}" for row in TABLE])
def test_refused(reader, data, words):
    assert_refused(reader, data, words)


def test_what_the_table_changes_is_good_by_itself():
    """Otherwise a case could be refused for what it has in common with all others."""
    assert refusal(as_network, overlay()) is None
    assert refusal(as_network, vlan("10")) is None
    assert refusal(as_network, peer("2001:db8::1")) is None
    assert refusal(as_network, network("<vnet:policy isolated='yes' host='yes'/>" + bound(M1, "10.0.0.1") + bound(M2, "10.0.0.2"))) is None
    assert refusal(as_network, network("".join(bound(M1, f"10.0.0.{n}") for n in range(256)))) is None
    assert refusal(as_tap, ours_in_tap(inside="<vnet:policy flood='1' neighbour='none'/><vnet:address address='10.0.0.1'/>")) is None
