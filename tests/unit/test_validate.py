"""``vnetctl validate``: what it says of good and bad files, alone and together, and its exit status."""

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from vnetd.validate import validate
from vnetd.vnetctl import main
from vnetd.xmlread import DOMAIN_NS, NETWORK_NS

XML = Path(__file__).resolve().parents[2] / "xml"
BLUE, VM1, TAP0 = (str(XML / name) for name in ("overlay-gre.xml", "domain-portgroup.xml", "taps/tap0.xml"))


@pytest.fixture
def write(tmp_path):
    """A function that writes a file and returns its path."""

    def put(name: str, text: str | bytes) -> str:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return put


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(main, ["validate", *arguments])
    # Anything but an exit status would be a traceback on the user's screen.
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    assert "Traceback" not in result.output
    return result


def guest(*nics: str, ours: str = "") -> str:
    metadata = f"<metadata><v:domain xmlns:v='{DOMAIN_NS}'>{ours}</v:domain></metadata>" if ours else ""
    return f"<domain><name>vm9</name>{metadata}<devices>{''.join(nics)}</devices></domain>"


def nic(portgroup: str, mac: str = "52:54:00:00:00:09") -> str:
    return f"<interface type='network'><mac address='{mac}'/><source network='blue' portgroup='{portgroup}'/></interface>"


def test_good_files():
    result = run(BLUE, VM1, TAP0)
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        f"{BLUE}: network blue: good",
        f"{VM1}: domain vm1: good",
        f"{TAP0}: tap tap0: good",
    ]


def test_good_files_as_json():
    result = run("--json", BLUE, VM1)
    assert result.exit_code == 0
    assert json.loads(result.output) == [
        {"file": BLUE, "what": "network blue", "error": None},
        {"file": VM1, "what": "domain vm1", "error": None},
    ]


BAD = {
    "empty": (b"", "the XML is empty"),
    "cut off": (b"<network><name>", "not well-formed"),
    "not UTF-8": (b"<network>\xff</network>", "not UTF-8"),
    "over 4 MiB": (b" " * 5 * 1024 * 1024 + b"<network/>", "more than 4194304 bytes"),
    "a DOCTYPE": (b"<!DOCTYPE network><network/>", "DOCTYPE"),
    "another root": (b"<pool/>", "<pool>; write <network> or <domain> or <interface>"),
    "a prefixed root": (b"<x:pool xmlns:x='urn:x'><domain/></x:pool>", "the root element is"),
    "many beginnings of comments": (b"<!--" * 1_000_000, "not well-formed"),
    "not vnetd's": (b"<network><name>default</name></network>", "<vnet:network xmlns:vnet='urn:vnetd:network:1'/>"),
    "a guest without a name": (b"<domain/>", "<domain> name"),
    "a tap that belongs nowhere": (b"<interface/>", "<interface>: does not say where the tap belongs"),
}


@pytest.mark.parametrize(("data", "words"), BAD.values(), ids=BAD)
def test_a_bad_file_is_one_line_and_status_2(write, data, words):
    path = write("tap9.xml", data)
    result = run(path)
    assert result.exit_code == 2
    assert len(result.output.splitlines()) == 1
    assert result.output.startswith(f"{path}: ")
    assert words in result.output


def test_a_bad_file_as_json(write):
    path = write("a.xml", "<pool/>")
    result = run("--json", path, BLUE)
    assert result.exit_code == 2
    rows = json.loads(result.output)
    assert [(row["file"], row["what"]) for row in rows] == [(path, ""), (BLUE, "network blue")]
    assert rows[0]["error"]
    assert rows[1]["error"] is None


def test_a_bad_file_does_not_hide_a_good_one(write):
    path = write("a.xml", "<pool/>")
    result = run(path, BLUE)
    assert result.exit_code == 2
    assert f"{BLUE}: network blue: good" in result.output


def test_every_bad_nic_has_a_line(write):
    path = write("a.xml", guest(nic("vlan-10", "00:00:00:00:00:00"), nic("vlan-10"), nic("a/b", "52:54:00:00:00:0a")))
    result = run(path)
    assert result.exit_code == 2
    assert ["<mac> address" in line or "<source> portgroup" in line for line in result.output.splitlines()] == [True, True]


def test_what_cannot_be_read(tmp_path):
    for path, words in ((tmp_path / "none.xml", "No such file"), (tmp_path, "Is a directory")):
        result = run(str(path))
        assert result.exit_code == 2
        assert result.output == f"{path}: cannot be read: {words}{' or directory' if 'such' in words else ''}\n"


def test_no_files_is_bad_usage():
    result = run()
    assert result.exit_code == 2
    assert "Missing argument" in result.output


def test_comments_of_any_length_come_before_the_root(write):
    text = f"<?xml version='1.0'?>\n<!-- <network> {'x' * 100_000} -->\n<?x <interface>?>{guest(nic('vlan-10'))}"
    assert run(write("a.xml", text)).output.endswith("domain vm9: good\n")


def test_the_taps_name_is_the_files(write):
    tap = "<interface><source network='blue'/></interface>"
    assert run(write("vm9-0.xml", tap)).output.endswith("tap vm9-0: good\n")
    result = run(write("0123456789abcdef.xml", tap))
    assert result.exit_code == 2
    assert "the file's name, which is the tap's: '0123456789abcdef' is no interface name" in result.output
    assert run(write("--help.xml", tap)).exit_code == 2


# Files held against each other.


def test_a_portgroup_that_the_network_does_not_have(write):
    path = write("a.xml", guest(nic("vlan-30")))
    assert run(path).exit_code == 0
    for order in ((path, BLUE), (BLUE, path)):
        result = run(*order)
        assert result.exit_code == 2
        assert sorted(result.output.splitlines()) == sorted(
            [
                f"{BLUE}: network blue: good",
                f"{path}: <source portgroup='vlan-30'>: network blue has no such portgroup; it has vlan-10, vlan-20, vlan-all",
            ]
        )


def test_a_taps_portgroup_is_held_against_the_network_too(write):
    path = write("tap9.xml", "<interface><source network='blue' portgroup='vlan-30'/></interface>")
    assert run(path, BLUE).exit_code == 2


def test_networks_that_are_not_given_are_not_missed(write):
    path = write("a.xml", guest(nic("vlan-30").replace("blue", "green")))
    assert run(path, BLUE).exit_code == 0


# Networks: what vnetd serves of one another is what it says itself.


def net(name: str, ours: str = "", bridge: str = "") -> str:
    return (
        f"<network><name>{name}</name><metadata><v:network xmlns:v='{NETWORK_NS}'>{ours}</v:network></metadata>"
        f"<forward mode='bridge'/><bridge name='{bridge or f'br-{name}'}'/><virtualport type='openvswitch'/></network>"
    )


def mesh(kind: str, segment: int, *addresses: str) -> str:
    peers = "".join(f"<v:peer name='{address}' address='{address}'/>" for address in addresses)
    return f"<v:overlay type='{kind}' segment='{segment}'>{peers}</v:overlay>"


def uplink(dev: str) -> str:
    return f"<v:uplink dev='{dev}'/>"


def patches(*bridges: str) -> str:
    return "".join(f"<v:patch bridge='{bridge}'/>" for bridge in bridges)


ISOLATED = "<v:policy isolated='yes'/>"
BOND = "<v:uplink bond='bond0'><v:nic dev='eth1'/><v:nic dev='eth2'/></v:uplink>"
NOT_TOGETHER = {
    "one bridge": ({"a": net("a"), "b": net("b", bridge="br-a")}, "b", "its bridge br-a is network a's already"),
    "one NIC": (
        {"a": net("a", uplink("eth1")), "b": net("b", uplink("eth1"))},
        "b",
        "its uplink eth1 is an uplink of bridge br-a already; write another NIC",
    ),
    "a NIC of a bond": ({"a": net("a", BOND), "b": net("b", uplink("eth2"))}, "b", "its uplink eth2 is an uplink of bridge br-a already"),
    "one bond": (
        {"a": net("a", BOND), "b": net("b", BOND.replace("eth1", "eth3").replace("eth2", "eth4"))},
        "b",
        "its bond's name bond0 is that of a port of bridge",
    ),
    "one segment": (
        {"a": net("a", mesh("gre", 7, "192.0.2.1", "192.0.2.2")), "b": net("b", mesh("gre", 7, "192.0.2.3", "192.0.2.4"))},
        "b",
        "its gre segment 7 is network a's already; write another segment",
    ),
    "the segment of isolated ports": (
        {"a": net("a", mesh("vxlan", 7, "192.0.2.1", "192.0.2.2") + ISOLATED), "b": net("b", mesh("vxlan", 8388615, "192.0.2.1"))},
        "b",
        "its vxlan segment 8388615 is network a's already",
    ),
    "a patch to two uplinks": (
        {"a": net("a", uplink("eth1")), "b": net("b", uplink("eth2")), "c": net("c", patches("br-a", "br-b"))},
        "c",
        "its patch to br-b would give what it joins (br-a, br-b, br-c) more than one way out",
    ),
    "two uplinks at the ends of a chain": (
        {
            "a": net("a", uplink("eth1")),
            "b": net("b", patches("br-a")),
            "c": net("c", patches("br-b", "br-d")),
            "d": net("d", mesh("gre", 7, "192.0.2.1", "192.0.2.2")),
        },
        "c",
        "more than one way out: uplink eth1 of br-a, overlay gre 7 of br-d",
    ),
    "a circle": (
        {"a": net("a", patches("br-b")), "b": net("b", patches("br-c")), "c": net("c", patches("br-a"))},
        "c",
        "its patch to br-a would close a circle",
    ),
    "the bridge of the tunnels": ({"a": net("a", bridge="br-tun")}, "a", "br-tun is the bridge of the tunnels"),
}


@pytest.mark.parametrize("case", NOT_TOGETHER)
def test_networks_that_vnetd_does_not_serve_together(faults, case):
    texts, whose, words = NOT_TOGETHER[case]
    for order in (texts, dict(reversed(texts.items()))):
        ((file, text),) = faults(**order)
        assert (file, text.partition(": ")[0]) == (whose, f"<network> {whose}")
        assert words in text


@pytest.mark.parametrize(
    "texts",
    [
        {"a": net("a", uplink("eth1")), "b": net("b", patches("br-a")), "c": net("c", patches("br-a"))},
        # Bridges that are not given may be anything, and hosts that are not known have any NIC.
        {"a": net("a", patches("br0", "br1")), "b": net("b", uplink("enp7s0"))},
        {"a": net("a", mesh("gre", 7, "192.0.2.1")), "b": net("b", mesh("vxlan", 7, "192.0.2.1"))},
        {"a": net("a", mesh("gre", 7, "192.0.2.1")), "b": net("b", mesh("gre", 8, "192.0.2.1"))},
        {"a": net("a", patches("br-b")), "b": net("b", patches("br-a"))},
        # One network, in two files.
        {"a": net("a", uplink("eth1")), "b": net("a", uplink("eth1"))},
    ],
)
def test_networks_that_vnetd_serves_together(faults, texts):
    assert faults(**texts) == []


def test_a_guest_that_vnetd_refuses_by_its_vlans(write):
    tunnel = "<portgroup name='q'><vlan><tag id='20'/></vlan></portgroup></network>"
    blue = net("blue", "<v:portgroup name='q'><v:vlan mode='dot1q-tunnel'/></v:portgroup>")[: -len("</network>")] + tunnel
    trunk = nic("q").replace("</interface>", "<vlan trunk='yes'><tag id='1'/><tag id='2'/></vlan></interface>")
    files = write("blue.xml", blue), write("vm.xml", guest(trunk))
    result = run(*files)
    assert result.exit_code == 2
    assert result.output.splitlines() == [
        f"{files[0]}: network blue: good",
        f"{files[1]}: <interface>: portgroup q is a dot1q-tunnel and the port trunk 1,2; give it one plain <tag>, its service VLAN",
    ]


# Addresses: each NIC of a network has its own.

M1, M2 = "52:54:00:00:00:a1", "52:54:00:00:00:a2"


def owner(mac: str, *addresses: str, source: str = "network='gold'") -> str:
    """A guest with one NIC that has these addresses."""
    return guest(
        f"<interface type='network'><mac address='{mac}'/><source {source}/></interface>",
        ours=f"<v:interface mac='{mac}'>{own(*addresses)}</v:interface>",
    )


def own(*addresses: str) -> str:
    return "".join(f"<v:address address='{address}'/>" for address in addresses)


def owning_tap(address: str, mac: str = "") -> str:
    known = f"<mac address='{mac}'/>" if mac else ""
    ours = f"<v:interface xmlns:v='{DOMAIN_NS}'>{own(address)}</v:interface>"
    return f"<interface type='network'>{known}<source network='gold'/>{ours}</interface>"


def gold(*bindings: tuple[str, str]) -> str:
    """The network gold on br-gold, with these MACs' addresses."""
    lines = "".join(f"<v:binding mac='{mac}' address='{address}'/>" for mac, address in bindings)
    return (
        f"<network><name>gold</name><metadata><v:network xmlns:v='{NETWORK_NS}'>{lines}</v:network></metadata>"
        "<forward mode='bridge'/><bridge name='br-gold'/><virtualport type='openvswitch'/></network>"
    )


@pytest.fixture
def faults(tmp_path, monkeypatch):
    """A function that writes files, validates them in this order, and returns (file, fault)s."""
    monkeypatch.chdir(tmp_path)

    def check(**files: str) -> list[tuple[str, str]]:
        paths = [Path(f"{name}.xml") for name in files]
        for path, text in zip(paths, files.values(), strict=True):
            path.write_text(text)
        rows = validate(paths)
        # A file with a fault is not called good beside it.
        assert {row[0] for row in rows} == set(paths)
        assert len([row for row in rows if row[2] is None]) == len(paths) - len({row[0] for row in rows if row[2] is not None})
        return [(path.stem, text) for path, _, text in rows if text is not None]

    return check


def test_an_address_of_two_guests_is_a_fault_of_the_later_file(faults):
    one, two = owner(M1, "10.0.0.1"), owner(M2, "10.0.0.1")
    words = f"<vnet:address address='10.0.0.1'>: {M1} has 10.0.0.1 already, in one.xml; give each NIC of network gold its own"
    assert faults(one=one, two=two) == [("two", words)]
    assert faults(two=two, one=one) == [("one", words.replace(M1, M2).replace("one.xml", "two.xml"))]
    assert faults(one=one, gold=gold(), two=two) == [("two", words)]


@pytest.mark.parametrize("order", [1, -1])
def test_a_prefix_that_holds_anothers_address(faults, order):
    files = {"one": owner(M1, "10.0.0.0/24", "10.0.0.128/25"), "two": owner(M2, "10.0.0.1", "10.0.0.200", "2001:db8::1")}
    found = faults(**dict(list(files.items())[::order]))
    assert {name for name, _ in found} == {"two" if order == 1 else "one"}
    assert len(found) == 2


@pytest.mark.parametrize(
    "other",
    [
        owner(M2, "10.0.1.1", "2001:db8::1"),
        owner(M2, "10.0.0.1", source="network='blue'"),
        owner(M2, "10.0.0.1", source="bridge='br-blue'"),
        # The same NIC, in another copy of its guest's file.
        owner(M1, "10.0.0.1"),
        owning_tap("10.0.0.1", M1),
        gold((M1, "10.0.0.1"), (M2, "10.0.0.2")),
        gold((M1, "10.0.0.0/24")),
    ],
)
def test_addresses_that_are_nobody_elses(faults, other):
    assert faults(one=owner(M1, "10.0.0.1"), tap9=other) == []
    assert faults(tap9=other, one=owner(M1, "10.0.0.1")) == []


@pytest.mark.parametrize("source", ["network='gold'", "bridge='br-gold'", "network='gold' bridge='br-gold'"])
def test_an_address_that_the_network_binds_to_another_mac(faults, source):
    network, one = gold((M2, "10.0.0.0/24")), owner(M1, "10.0.0.1", source=source)
    assert faults(gold=network, one=one) == [
        ("one", f"<vnet:address address='10.0.0.1'>: {M2} has 10.0.0.0/24 already, in gold.xml; give each NIC of network gold its own")
    ]
    assert faults(one=one, gold=network) == [
        (
            "gold",
            f"<vnet:binding mac='{M2}' address='10.0.0.0/24'>: "
            f"{M1} has 10.0.0.1 already, in one.xml; give each NIC of network gold its own",
        )
    ]


def test_two_nics_of_one_guest(faults):
    nics = (f"<interface type='network'><mac address='{mac}'/><source network='gold'/></interface>" for mac in (M1, M2))
    ours = "".join(f"<v:interface mac='{mac}'>{own('10.0.0.1')}</v:interface>" for mac in (M1, M2))
    assert [name for name, _ in faults(one=guest(*nics, ours=ours))] == ["one"]


def test_taps_have_addresses_too(faults):
    assert [name for name, _ in faults(one=owner(M1, "10.0.0.1"), tap9=owning_tap("10.0.0.1"))] == ["tap9"]
    assert [name for name, _ in faults(tap8=owning_tap("10.0.0.1"), tap9=owning_tap("10.0.0.1", M1))] == ["tap9"]
    assert "tap tap8 has 10.0.0.1" in faults(tap8=owning_tap("10.0.0.1"), tap9=owning_tap("10.0.0.1"))[0][1]
    # Nothing says the MAC of this one, so the binding may be for it.
    assert faults(gold=gold((M1, "10.0.0.1")), tap9=owning_tap("10.0.0.1")) == []


def test_a_tap_whose_mac_stands_in_its_guests_file(faults):
    ethernet = f"<interface type='ethernet'><mac address='{M1}'/><script path='/etc/vnetd/ovs-ifup'/><target dev='tap9'/></interface>"
    files = {"vm": guest(ethernet), "tap9": owning_tap("10.0.0.1")}
    assert faults(**files, gold=gold((M1, "10.0.0.1"))) == []
    found = faults(gold=gold((M2, "10.0.0.1")), **files)
    assert [name for name, _ in found] == ["tap9"]


def test_many_claims_are_held_against_each_other_in_time(faults):
    addresses = [f"10.{number >> 8}.{number & 255}.1" for number in range(20_000)]
    bindings = [(f"52:54:01:00:{number >> 8:02x}:{number & 255:02x}", address) for number, address in enumerate(addresses)]
    began = time.process_time()
    found = faults(gold=gold(*bindings), one=owner(M1, *addresses[:256]))
    assert time.process_time() - began < 5
    assert len(found) == 256


def test_the_rows_are_in_the_order_of_the_files():
    paths = [Path(TAP0), Path(BLUE)]
    assert [row[0] for row in validate(paths)] == paths
