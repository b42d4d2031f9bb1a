"""``vnetctl lint`` of files: each trap where it is, silence where it is not, and what it says to do that helps."""

from __future__ import annotations

import json
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from vnetd.lint import Lint, as_measured
from vnetd.model.state import Learned
from vnetd.validate import read, texts_of
from vnetd.vnetctl import main
from vnetd.xmlread import DOMAIN_NS, NETWORK_NS

XML = Path(__file__).resolve().parents[2] / "xml"
EXAMPLES = sorted(XML.rglob("*.xml"))
PORT_TYPE = "<virtualport type='openvswitch'/>"
PEERS = "<v:peer name='hv1' address='192.0.2.11'/><v:peer name='hv2' address='192.0.2.12'/>"
PEERS6 = "<v:peer name='hv1' address='2001:db8::11'/><v:peer name='hv2' address='2001:db8::12'/>"


def network(inner: str = "", ours: str = "", port_type: str = PORT_TYPE) -> str:
    return f"""<network>
  <name>blue</name>
  <metadata><v:network xmlns:v='{NETWORK_NS}'>{ours}</v:network></metadata>
  <forward mode='bridge'/>
  <bridge name='br-blue'/>
  {port_type}
  {inner}
</network>"""


def overlay(kind: str, peers: str = PEERS) -> str:
    return f"<v:overlay type='{kind}' segment='7'>{peers}</v:overlay>"


def interface(inner: str, kind: str = "network", mac: str = "52:54:00:00:00:01", source: str = "network='blue'") -> str:
    return f"<interface type='{kind}'><mac address='{mac}'/><source {source}/>{inner}</interface>"


def guest(*nics: str, name: str = "vm1", ours: str = "") -> str:
    metadata = f"<metadata><v:domain xmlns:v='{DOMAIN_NS}'>{ours}</v:domain></metadata>" if ours else ""
    inside = "\n".join(nics)
    return f"<domain>\n<name>{name}</name>{metadata}\n<devices>\n{inside}\n</devices></domain>"


def tap(inner: str) -> str:
    return f"<interface type='network'><source network='blue'/>{inner}</interface>"


class Desk:
    """Files, and what lint says of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def run(self, *texts: str, options: tuple[str, ...] = (), command: str = "lint") -> Result:
        """Of these texts, as files called 0.xml, 1.xml and so on."""
        paths = [self.put(f"{number}.xml", text) for number, text in enumerate(texts)]
        result = CliRunner().invoke(main, [command, *options, *paths])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        return result

    def only(self, *texts: str, options: tuple[str, ...] = ()) -> str:
        """The one finding of these texts, which keep nobody from reading them."""
        return self._only(1, self.run(*texts, options=options))

    def error(self, *texts: str) -> str:
        """The one finding of these texts, of which vnetd serves not all."""
        assert self.run(*texts, command="validate").exit_code == 2
        return self._only(2, self.run(*texts))

    def _only(self, status: int, result: Result) -> str:
        assert result.exit_code == status, result.output
        (line,) = result.output.splitlines()
        return line.removeprefix(f"{self.folder}/")

    def silent(self, *texts: str, options: tuple[str, ...] = ()) -> None:
        result = self.run(*texts, options=options)
        assert (result.output, result.exit_code) == ("", 0)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


NIC_TRAPS = {
    "inbound without peak": (
        "<bandwidth><inbound average='100'/></bandwidth>",
        "<bandwidth><inbound average='100' peak='100'/></bandwidth>",
        "<inbound>: has an average and no peak",
        "write peak='100'",
    ),
    "peak on outbound": (
        "<bandwidth><outbound average='100' peak='200'/></bandwidth>",
        "<bandwidth><outbound average='100'/></bandwidth>",
        "<outbound>: has a peak, which nobody heeds",
        "leave it out",
    ),
    "floor": (
        "<bandwidth><inbound average='100' peak='100' floor='50'/></bandwidth>",
        "<bandwidth><inbound average='100' peak='100'/></bandwidth>",
        "<inbound>: has a floor, which libvirt refuses",
        "write average and peak",
    ),
    "a floor alone": ("<bandwidth><inbound floor='50'/></bandwidth>", "", "<inbound>: has a floor", "write average and peak"),
    "a peak alone": (
        "<bandwidth><inbound peak='200'/></bandwidth>",
        "<bandwidth><inbound average='200' peak='200'/></bandwidth>",
        "<inbound>: has peak and no average, so that libvirt refuses it",
        "write average='…' in it",
    ),
    "a burst alone": (
        "<bandwidth><outbound burst='200'/></bandwidth>",
        "<bandwidth><outbound average='1' burst='200'/></bandwidth>",
        "<outbound>: has burst and no average, so that libvirt refuses it",
        "write average='…' in it",
    ),
    "a limit without a number": (
        "<bandwidth><outbound/></bandwidth>",
        "<bandwidth/>",
        "<outbound>: has no average, so that libvirt refuses it",
        "write average='…' in it",
    ),
    "a slip in a limit": (
        "<bandwidth><outbound avrage='100'/></bandwidth>",
        "<bandwidth><outbound average='100'/></bandwidth>",
        "<outbound>: has an attribute 'avrage', which libvirt does not know and drops",
        "write average or burst",
    ),
    "another slip in a limit": (
        "<bandwidth><inbound average='100' peak='100' brust='5'/></bandwidth>",
        "<bandwidth><inbound average='100' peak='100' burst='5'/></bandwidth>",
        "<inbound>: has an attribute 'brust', which libvirt does not know and drops",
        "write average, peak or burst",
    ),
    "a limit in the wrong element": (
        "<bandwidth average='100'/>",
        "<bandwidth xmlns:a='urn:a' a:b='c'/>",
        "<bandwidth>: has an attribute 'average', which libvirt does not know and drops",
        "write average='…' in its <inbound> or <outbound>",
    ),
    "a slip in bandwidth": (
        "<bandwidth><inbund average='100'/></bandwidth>",
        "<bandwidth><x xmlns='urn:x'/></bandwidth>",
        "<inbund>: stands in <bandwidth>, where libvirt does not know it and drops it",
        "write <inbound> or <outbound>",
    ),
    "a child of a limit": (
        "<bandwidth><outbound average='100'><burst/></outbound></bandwidth>",
        "<bandwidth><outbound average='100'/></bandwidth>",
        "<burst>: stands in <outbound>, where libvirt does not know it and drops it",
        "leave it out",
    ),
    "a slip in a VLAN": (
        "<vlan trnk='yes'><tag id='1'/></vlan>",
        "<vlan trunk='yes'><tag id='1'/></vlan>",
        "<vlan>: has an attribute 'trnk', which libvirt does not know and drops",
        "write trunk='yes' for a trunk",
    ),
    "a slip in a tag's name": (
        "<vlan><tag id='1'/><tga id='2'/></vlan>",
        "<vlan><tag id='1'/></vlan>",
        "<tga>: stands in <vlan>, where libvirt does not know it and drops it",
        "write <tag id='…'/>",
    ),
    "a slip in a tag": (
        "<vlan trunk='yes'><tag id='1' nativemode='tagged'/><tag id='2'/></vlan>",
        "<vlan trunk='yes'><tag id='1' nativeMode='tagged'/><tag id='2'/></vlan>",
        "<tag>: has an attribute 'nativemode', which libvirt does not know and drops",
        "write id and nativeMode",
    ),
    "several tags": (
        "<vlan><tag id='1'/><tag id='2'/></vlan>",
        "<vlan trunk='yes'><tag id='1'/><tag id='2'/></vlan>",
        "<vlan>: has 2 tags",
        "write trunk='yes'",
    ),
    "a native VLAN alone": (
        "<vlan trunk='yes'><tag id='9' nativeMode='untagged'/></vlan>",
        "<vlan trunk='yes'><tag id='9' nativeMode='untagged'/><tag id='10'/></vlan>",
        "<vlan>: has VLAN 9 as its native one and no other",
        "write <vlan><tag id='9'/></vlan>",
    ),
    "a filter": (
        "<filterref filter='clean-traffic'/>",
        "",
        "<filterref>: libvirt starts no guest with it",
        "<vnet:policy guard='strict'/>",
    ),
    "an isolated port": (
        "<port isolated='yes'/>",
        "<port isolated='no'/>",
        "<port>: has isolated='yes', which libvirt refuses",
        "write <vnet:policy isolated='yes'/> in the network's <vnet:portgroup>",
    ),
    "another port type": (
        "<virtualport type='802.1Qbh'/>",
        PORT_TYPE,
        "<virtualport>: has type='802.1Qbh'",
        "write type='openvswitch'",
    ),
}


@pytest.mark.parametrize("trap", NIC_TRAPS)
@pytest.mark.parametrize("with_network", [True, False], ids=["with its network", "alone"])
def test_a_trap_of_a_nic_and_the_same_nic_without_it(desk: Desk, trap: str, with_network: bool) -> None:
    wrong, right, fault, instead = NIC_TRAPS[trap]
    networks = (network(),) if with_network else ()
    line = desk.only(guest(interface(wrong)), *networks)
    assert line.startswith(f"0.xml:4: {fault}")
    assert instead in line.partition(": ")[2].partition(": ")[2]
    desk.silent(guest(interface(right)), *networks)


@pytest.mark.parametrize("trap", [name for name in NIC_TRAPS if name not in ("a filter", "an isolated port", "another port type")])
def test_a_portgroup_has_the_same_traps_and_so_has_a_taps_file(desk: Desk, trap: str) -> None:
    wrong, right, fault, instead = NIC_TRAPS[trap]
    line = desk.only(network(f"<portgroup name='g'>{wrong}</portgroup>"))
    assert line.startswith(f"0.xml:7: {fault}")
    assert instead in line
    assert fault in desk.only(tap(wrong))
    desk.silent(network(f"<portgroup name='g'>{right}</portgroup>"))
    desk.silent(tap(right))


NETWORK_TRAPS = {
    "mtu": ("<mtu size='1400'/>", "<mtu>: libvirt defines no bridge-mode network with it", "in each guest's <interface>"),
    "ip": ("<ip address='10.0.0.1' prefix='24'/>", "<ip>: libvirt defines no bridge-mode network with it", "remove it"),
    "dns": ("<dns/>", "<dns>: libvirt defines no bridge-mode network with it", "remove it"),
    "bandwidth": (
        "<bandwidth><inbound average='100'/></bandwidth>",
        "<bandwidth>: libvirt limits the bridge's own device by it",
        "<vnet:aggregate>",
    ),
    "isolated": (
        "<port isolated='yes'/>",
        "<port>: has isolated='yes', with which libvirt starts no guest",
        "<vnet:policy isolated='yes'/>",
    ),
    "an MTU in a portgroup": (
        "<portgroup name='g'><mtu size='1400'/></portgroup>",
        "<mtu>: stands in a <portgroup>, where libvirt drops it",
        "write it in the <interface>",
    ),
}


@pytest.mark.parametrize("trap", NETWORK_TRAPS)
def test_a_trap_of_a_network(desk: Desk, trap: str) -> None:
    wrong, fault, instead = NETWORK_TRAPS[trap]
    line = desk.only(network(wrong))
    assert line.startswith(f"0.xml:7: {fault}")
    assert instead in line


def test_a_network_without_traps(desk: Desk) -> None:
    group = "<portgroup name='g'><bandwidth><inbound average='1' peak='1'/><outbound average='1'/></bandwidth></portgroup>"
    desk.silent(network(f"<vlan><tag id='5'/></vlan>{group}<port isolated='no'/>"))


# What vnetd's readers refuse: their own sentence, and the rest all the same.


REFUSED = {
    "the same VLAN twice": (network("<vlan><tag id='10'/><tag id='10'/></vlan>"), "names VLAN 10 twice; write it once"),
    "no port type": (network(port_type=""), "has no Open vSwitch port type; write <virtualport type='openvswitch'/>"),
    "two uplinks": (network(ours="<v:uplink dev='eth1'/><v:uplink dev='eth2'/>"), "write one bond of both"),
    "dscp and trust": (network("<portgroup name='g'/>", ours="<v:qos dscp='46' trust='yes'/>"), "write one"),
    "a trunk in a tunnel": (
        network(
            "<portgroup name='g'><vlan trunk='yes'><tag id='1'/><tag id='2'/></vlan></portgroup>",
            ours="<v:portgroup name='g'><v:vlan mode='dot1q-tunnel'/></v:portgroup>",
        ),
        "a trunk, not one service VLAN",
    ),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_cannot_be_read_is_said_beside_the_traps(desk: Desk, fault: str) -> None:
    text, words = REFUSED[fault]
    result = desk.run(text.replace("</network>\n", "").replace("<forward mode='bridge'/>", "<forward mode='bridge'/><mtu size='1'/>"))
    assert result.exit_code == 2
    assert any(words in line for line in result.output.splitlines()), result.output
    assert any("<mtu>: libvirt defines no" in line for line in result.output.splitlines()), result.output
    assert all(line.startswith(f"{desk.folder}/0.xml:") for line in result.output.splitlines())


@pytest.mark.parametrize("number", ["0", "-5", "", "1.5", "9" * 5000])
@pytest.mark.parametrize(
    "wrong",
    [
        "<bandwidth><inbound average='{}'/></bandwidth>",
        "<bandwidth><inbound average='{}' floor='1' x='y'/></bandwidth>",
        "<bandwidth><outbound average='{}' peak='5'/></bandwidth>",
        "<vlan trunk='yes'><tag id='{}' nativeMode='tagged'/></vlan>",
        "<vlan><tag id='{}'/><tag id='5'/></vlan>",
    ],
)
def test_no_advice_is_given_that_would_be_refused(desk: Desk, wrong: str, number: str) -> None:
    """To write peak='0', say, since that is the average."""
    result = desk.run(guest(interface(wrong.format(number))))
    assert result.exit_code == 2
    (line,) = result.output.splitlines()
    assert "is not a number from 1 to" in line
    assert "; write" not in line


def test_one_direction_that_is_refused_hides_no_trap_of_the_other(desk: Desk) -> None:
    result = desk.run(guest(interface("<bandwidth><inbound average='0'/><outbound average='5' peak='5'/></bandwidth>")))
    assert ["is not a number" in line or "<outbound>: has a peak" in line for line in result.output.splitlines()] == [True, True]


def test_a_file_that_is_not_there_stops_no_other(desk: Desk) -> None:
    good = desk.put("good.xml", guest(interface(NIC_TRAPS["floor"][0])))
    result = CliRunner().invoke(main, ["lint", str(desk.folder / "none.xml"), good])
    assert result.exit_code == 2
    assert [line.partition(": ")[2][:14] for line in result.output.splitlines()] == ["cannot be read", "<inbound>: has"]


def test_as_json(desk: Desk) -> None:
    result = desk.run(guest(interface("<filterref filter='x'/>"), interface("<vlan/>")), options=("--json",))
    assert result.exit_code == 2
    found = json.loads(result.output)
    assert [(one["line"], one["element"], one["error"]) for one in found] == [(4, "<filterref>", False), (5, "<vlan>", True)]
    assert {one["where"] for one in found} == {f"{desk.folder}/0.xml"}
    assert desk.run(network(), options=("--json",)).output == "[]\n"


@pytest.mark.parametrize("command", ["lint", "validate", "--help"])
def test_what_cannot_be_written_is_one_sentence(desk: Desk, command: str) -> None:
    code = "from vnetd.vnetctl import main; main()"
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        arguments = [sys.executable, "-c", code, command, desk.put("0.xml", tap(NIC_TRAPS["floor"][0]))]
        done = subprocess.run(arguments, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.stderr, done.returncode) == ("vnetctl: what there is to say cannot be written: No space left on device\n", 1)


# Whose NICs they are.


def test_a_nic_on_a_network_of_somebody_elses_has_no_traps(desk: Desk) -> None:
    """On a bridge of the kernel's own, a filter and a missing port type are as they should be."""
    linux = interface("<filterref filter='clean-traffic'/><port isolated='yes'/>", "bridge", source="bridge='br0'")
    desk.silent(guest(linux), network())
    user = "<interface type='user'><bandwidth><inbound average='1'/></bandwidth></interface>"
    direct = interface("<bandwidth><inbound average='1'/></bandwidth>", "direct", source="dev='eth0'")
    desk.silent(guest(user, direct), network())


def test_a_nic_on_vnetds_bridge_needs_a_port_type(desk: Desk) -> None:
    line = desk.only(network(), guest(interface("", "bridge", source="bridge='br-blue'")))
    assert line.startswith("1.xml:4: <interface>: is on a bridge of Open vSwitch and does not say so")
    assert "write <virtualport type='openvswitch'/> in it" in line
    desk.silent(network(), guest(interface(PORT_TYPE, "bridge", source="bridge='br-blue'")))
    ours = "<v:interface mac='52:54:00:00:00:01'/>"
    assert "does not say so" in desk.only(guest(interface("", "bridge", source="bridge='br-blue'"), ours=ours))


# MTUs.


@pytest.mark.parametrize(
    ("kind", "peers", "vlan", "fits"),
    [
        ("gre", PEERS, "", 1458),
        ("gre", PEERS6, "", 1438),
        ("vxlan", PEERS, "", 1450),
        ("vxlan", PEERS6, "", 1430),
        ("geneve", PEERS, "", 1450),
        ("geneve", PEERS6, "", 1430),
        ("gre", PEERS, "<vlan><tag id='10'/></vlan>", 1454),
        ("gre", PEERS, "<vlan trunk='yes'><tag id='10'/><tag id='20'/></vlan>", 1454),
        ("vxlan", PEERS6, "<vlan trunk='yes'><tag id='10' nativeMode='untagged'/><tag id='20'/></vlan>", 1426),
    ],
)
def test_an_mtu_that_the_overlay_does_not_carry(desk: Desk, kind: str, peers: str, vlan: str, fits: int) -> None:
    blue = network(ours=overlay(kind, peers))
    line = desk.only(blue, guest(interface(f"{vlan}<mtu size='{fits + 1}'/>")))
    assert line.startswith(
        f"1.xml:4: <mtu>: has size='{fits + 1}', which is larger than {fits}, which is what network blue carries ({kind}"
    )
    assert line.endswith(f"write <mtu size='{fits}'/>")
    desk.silent(blue, guest(interface(f"{vlan}<mtu size='{fits}'/>")))
    without = desk.only(blue, guest(interface(vlan)))
    assert without.startswith("1.xml:4: <interface>: has no <mtu>, so it is 1500")
    assert without.endswith(f"write <mtu size='{fits}'/> in it")


def test_where_the_underlay_may_fragment_any_mtu_will_do(desk: Desk) -> None:
    desk.silent(network(ours=overlay("gre").replace("segment", "df='no' segment")), guest(interface("<mtu size='9000'/>")))


def test_the_worst_measured_path_to_a_peer_counts(desk: Desk) -> None:
    """Peers of other networks have paths of their own, and a name's address is looked up in what is known of names."""
    far = "<v:peer name='hv3' address='far.example'/>"
    texts = texts_of(
        [Path(desk.put("blue.xml", network(ours=overlay("gre", PEERS + far)))), Path(desk.put("vm.xml", guest(interface(""))))]
    )
    reading = read(texts)
    paths = {ip_address("192.0.2.12"): 1500, ip_address("192.0.2.13"): 1400, ip_address("192.0.2.99"): 1000}
    learned = Learned(paths, {"far.example": (ip_address("192.0.2.13"),)})
    (finding,) = Lint(texts, reading, as_measured(reading, learned)).findings()
    assert "larger than 1358, which is what network blue carries (gre over IPv4, over a path of 1400 to hv3)" in finding.text
    assert as_measured(reading, Learned())("blue").mtu == 1500
    assert as_measured(reading, learned)("green").mtu == 1500


def test_the_underlays_mtu_may_be_said(desk: Desk) -> None:
    blue = network(ours=overlay("gre"))
    desk.silent(blue, guest(interface("")), options=("--underlay-mtu", "1542"))
    assert desk.only(blue, guest(interface("")), options=("--underlay-mtu", "1541")).endswith("write <mtu size='1499'/> in it")
    jumbo = desk.only(blue, guest(interface("<mtu size='9000'/>")), options=("--underlay-mtu", "9000"))
    assert jumbo.endswith("write <mtu size='8958'/>")
    assert desk.run(blue, options=("--underlay-mtu", "0")).exit_code == 2


def test_the_tags_of_a_portgroup_take_their_room_and_two_take_twice_as_much(desk: Desk) -> None:
    groups = "<portgroup name='a'><vlan><tag id='10'/></vlan></portgroup><portgroup name='q'><vlan><tag id='20'/></vlan></portgroup>"
    blue = network(groups, ours=overlay("gre") + "<v:portgroup name='q'><v:vlan mode='dot1q-tunnel'/></v:portgroup>")
    for group, fits in (("a", 1454), ("q", 1450)):
        source = f"network='blue' portgroup='{group}'"
        assert f"write <mtu size='{fits}'/>" in desk.only(blue, guest(interface("", source=source)))
        desk.silent(blue, guest(interface(f"<mtu size='{fits}'/>", source=source)))


def joined(name: str, *patches: str, ours: str = "") -> str:
    """A network on br-NAME, with patches to these bridges."""
    inside = ours + "".join(f"<v:patch bridge='{bridge}'/>" for bridge in patches)
    return network(ours=inside).replace("<name>blue<", f"<name>{name}<").replace("'br-blue'/>\n  <virt", f"'br-{name}'/>\n  <virt")


def test_an_overlay_behind_patches_carries_no_more(desk: Desk) -> None:
    """The MTU was only held against the overlay of the NIC's own network."""
    far = joined("far", ours=overlay("gre"))
    middle = joined("middle", "br-far")
    for networks in ((joined("blue", "br-middle"), middle, far), (joined("blue"), joined("middle", "br-far", "br-blue"), far)):
        line = desk.only(*networks, guest(interface("<mtu size='1459'/>")))
        assert line.startswith(
            "3.xml:4: <mtu>: has size='1459', which is larger than 1458, which is what network far, "
            "to which patches lead from network blue, carries (gre over IPv4, over an underlay whose MTU is 1500); write <mtu size='1458'/>"
        )
        desk.silent(*networks, guest(interface("<mtu size='1458'/>")))
    desk.silent(joined("blue", "br0"), far, guest(interface("")))


def test_of_several_overlays_the_smallest_counts(desk: Desk) -> None:
    far, near = joined("far", ours=overlay("gre")), joined("near", ours=overlay("geneve", PEERS6))
    result = desk.run(joined("blue", "br-far", "br-near"), far, near, guest(interface("")))
    assert "write <mtu size='1430'/> in it" in result.output


def test_without_an_overlay_any_mtu_will_do(desk: Desk) -> None:
    desk.silent(network(ours="<v:uplink dev='eth1'/>"), guest(interface("<mtu size='9000'/>")))


def test_a_guest_whose_script_wires_it_needs_the_mtu_too(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    scripted = "<interface type='ethernet'><mac address='52:54:00:00:00:04'/><script path='/x'/><target dev='tap9'/>{}</interface>"
    paths = [
        desk.put("blue.xml", network(ours=overlay("gre"))),
        desk.put("tap9.xml", tap("<mtu size='1458'/>")),
        desk.put("vm.xml", guest(scripted.format(""))),
    ]
    result = CliRunner().invoke(main, ["lint", *paths])
    assert result.output.startswith(f"{tmp_path}/vm.xml:4: <interface>: has no <mtu>")
    desk.put("vm.xml", guest(scripted.format("<mtu size='1458'/>")))
    assert CliRunner().invoke(main, ["lint", *paths]).output == ""


# Files held against each other.


def test_one_mac_on_two_guests(desk: Desk) -> None:
    line = desk.only(network(), guest(interface("")), guest(interface(""), name="vm2"))
    assert line.startswith("2.xml:4: <interface>: has 52:54:00:00:00:01, which vm1 (")
    assert "already on network blue; give each NIC its own <mac address='…'/>" in line
    # The network need not be at hand, and one may say its bridge.
    assert "which vm1" in desk.only(guest(interface("")), guest(interface(""), name="vm2"))
    by_bridge = interface(PORT_TYPE, "bridge", source="bridge='br-blue'")
    assert "which vm1" in desk.only(network(), guest(interface("")), guest(by_bridge, name="vm2"))


def test_one_mac_is_no_fault_elsewhere(desk: Desk) -> None:
    desk.silent(guest(interface("")), guest(interface("", source="network='red'"), name="vm2"))
    ten, twenty, both = (
        f"<vlan trunk='yes'>{tags}</vlan>" for tags in ("<tag id='10'/>", "<tag id='20'/>", "<tag id='10'/><tag id='20'/>")
    )
    desk.silent(network(), guest(interface(ten)), guest(interface(twenty), name="vm2"))
    assert "which vm1" in desk.only(network(), guest(interface(ten)), guest(interface(both), name="vm2"))


def test_the_same_guest_twice_is_no_rival_of_its_own(desk: Desk) -> None:
    desk.silent(guest(interface("")), guest(interface("")))


def test_one_mac_on_two_nics_of_a_guest(desk: Desk) -> None:
    """One names the network and the other its bridge, so that the guest's own file does not show it."""
    by_bridge = interface(PORT_TYPE, "bridge", source="bridge='br-blue'")
    line = desk.only(network(), guest(interface(""), by_bridge))
    assert line.startswith("1.xml:5: <interface>: has 52:54:00:00:00:01, which another NIC of vm1 has already on network blue")
    desk.silent(network(), guest(interface(""), by_bridge.replace("00:01", "00:02")))
    desk.silent(guest(interface(""), by_bridge))


SCRIPTED = "<interface type='ethernet'><mac address='52:54:00:00:00:01'/><script path='/x'/><target dev='{}'/></interface>"


def test_one_mac_on_a_guest_whose_script_wires_it(desk: Desk) -> None:
    """It was not held against any other."""
    paths = [desk.put("blue.xml", network()), desk.put("tap9.xml", tap("<mac address='52:54:00:00:00:01'/>"))]
    paths += [desk.put("vm.xml", guest(SCRIPTED.format("tap9")))]
    result = CliRunner().invoke(main, ["lint", *paths])
    assert (result.output, result.exit_code) == ("", 0)
    paths += [desk.put("other.xml", guest(interface(""), name="vm2"))]
    result = CliRunner().invoke(main, ["lint", *paths])
    assert "other.xml:4: <interface>: has 52:54:00:00:00:01, which" in result.output
    desk.put("tap9.xml", tap(""))
    assert "which vm1 (" in CliRunner().invoke(main, ["lint", *paths]).output


def test_what_is_said_of_a_nic_that_the_guest_does_not_have(desk: Desk) -> None:
    slip = "<v:interface mac='52:54:00:00:00:10'/>"
    line = desk.only(guest(interface(""), ours=slip))
    assert line.startswith("0.xml:2: <vnet:interface>: is for 52:54:00:00:00:10, which no <interface> of the guest has as its <mac ")
    assert "write the MAC of one that it has" in line
    upper = "<v:interface mac='52:54:00:00:00:AB'/>"
    desk.silent(guest(interface("", mac="52:54:00:00:00:ab"), ours=upper))
    desk.silent(guest(interface("", mac="52:54:00:00:00:AB", kind="user"), ours=upper))
    assert desk.run(guest(interface(""), ours="<v:interface mac='x'/>")).output.count("\n") == 1


def test_one_address_on_two_guests(desk: Desk) -> None:
    def owner(mac: str, name: str) -> str:
        ours = f"<v:interface mac='{mac}'><v:address address='10.0.0.1'/></v:interface>"
        return guest(interface("", mac=mac), name=name, ours=ours)

    line = desk.error(owner("52:54:00:00:00:01", "vm1"), owner("52:54:00:00:00:02", "vm2"))
    assert line.startswith("1.xml: <vnet:address address='10.0.0.1'>: 52:54:00:00:00:01 has 10.0.0.1 already")


def test_a_portgroup_that_is_not_there(desk: Desk) -> None:
    line = desk.error(network(), guest(interface("", source="network='blue' portgroup='nope'")))
    assert line.startswith("1.xml:4: <source portgroup='nope'>: network blue has no such portgroup")


def test_a_trunk_in_a_tunnels_portgroup(desk: Desk) -> None:
    blue = network(
        "<portgroup name='q'><vlan><tag id='20'/></vlan></portgroup>",
        ours="<v:portgroup name='q'><v:vlan mode='dot1q-tunnel'/></v:portgroup>",
    )
    source = "network='blue' portgroup='q'"
    line = desk.error(blue, guest(interface("<vlan trunk='yes'><tag id='1'/><tag id='2'/></vlan>", source=source)))
    assert line.startswith("1.xml:4: <interface>: portgroup q is a dot1q-tunnel and the port trunk 1,2; give it one plain <tag>")
    desk.silent(blue, guest(interface("<vlan><tag id='1'/></vlan>", source=source)))
    wired = "<interface type='ethernet'><mac address='52:54:00:00:00:04'/><script path='/x'/><target dev='0'/></interface>"
    file = interface("<vlan trunk='yes'><tag id='1'/><tag id='2'/></vlan>", source=source)
    assert desk.error(file, blue, guest(wired)).startswith("0.xml:1: <interface>: portgroup q is a dot1q-tunnel")


def test_who_names_a_bridge_is_in_no_portgroup(desk: Desk) -> None:
    """Not in the default one either, whose VLAN may contradict the NIC's."""
    blue = network(
        "<portgroup name='q' default='yes'><vlan><tag id='20'/></vlan></portgroup>",
        ours="<v:portgroup name='q'><v:vlan mode='dot1q-tunnel'/></v:portgroup>",
    )
    trunk = "<vlan trunk='yes'><tag id='1'/><tag id='2'/></vlan>"
    desk.silent(blue, guest(interface(PORT_TYPE + trunk, "bridge", source="bridge='br-blue'")))


def test_networks_that_vnetd_does_not_serve_together_are_an_error_here_too(desk: Desk) -> None:
    red = network().replace("<name>blue<", "<name>red<")
    line = desk.error(network(), red)
    assert line == "1.xml: <network> red: its bridge br-blue is network blue's already; give it a bridge of its own"


# Limits.


def shared(inbound: int, outbound: int) -> str:
    return f"<v:aggregate><v:inbound average='{inbound}'/><v:outbound average='{outbound}'/></v:aggregate>"


LIMITED = "<portgroup name='g'><bandwidth><inbound average='100' peak='200'/><outbound average='100'/></bandwidth></portgroup>"


@pytest.mark.parametrize("whose", ["its own", "its network's"])
def test_a_port_may_not_have_more_than_all_share(desk: Desk, whose: str) -> None:
    def text(inbound: int, outbound: int) -> str:
        aggregate = shared(inbound, outbound)
        return network(LIMITED, ours=aggregate if whose == "its network's" else f"<v:portgroup name='g'>{aggregate}</v:portgroup>")

    desk.silent(text(200, 100))
    line = desk.only(text(199, 100))
    assert line.startswith("0.xml:7: <inbound>: has peak='200', which no port of portgroup g can reach: together they have 199")
    assert f"by {whose} <vnet:aggregate>; write peak='199' or less" in line
    assert "<outbound>: has average='100'" in desk.only(text(200, 99))


@pytest.mark.parametrize("whose", ["its portgroup's", "its network's"])
def test_a_nic_may_not_have_more_than_all_share(desk: Desk, whose: str) -> None:
    aggregate = shared(200, 100)
    ours = aggregate if whose == "its network's" else f"<v:portgroup name='g'>{aggregate}</v:portgroup>"
    blue = network("<portgroup name='g'/>", ours=ours)

    def limited(inbound: int, outbound: int) -> str:
        limits = f"<bandwidth><inbound average='1' peak='{inbound}'/><outbound average='{outbound}'/></bandwidth>"
        return interface(limits, source="network='blue' portgroup='g'")

    desk.silent(blue, guest(limited(200, 100)))
    line = desk.only(blue, guest(limited(201, 100)))
    assert line.startswith("1.xml:4: <inbound>: has peak='201', which the NIC cannot reach: with all others it has 200")
    assert line.endswith(f"by {whose} <vnet:aggregate>; write peak='200' or less, or a larger aggregate")
    assert "1.xml:4: <outbound>: has average='101'" in desk.only(blue, guest(limited(200, 101)))
    assert "1.xml:1: <outbound>: has average='101'" in desk.only(blue, limited(200, 101).replace("<mac address='52:54:00:00:00:01'/>", ""))
    desk.silent(guest(limited(201, 101)))


def test_a_portgroup_may_not_have_more_than_its_network(desk: Desk) -> None:
    def text(inbound: int, outbound: int) -> str:
        return network("<portgroup name='g'/>", ours=f"{shared(200, 100)}<v:portgroup name='g'>{shared(inbound, outbound)}</v:portgroup>")

    desk.silent(text(200, 100))
    line = desk.only(text(201, 100))
    assert line.startswith(
        "0.xml:3: <vnet:inbound>: has average='201', which the ports of portgroup g cannot reach: with all others they have"
    )
    assert line.endswith("200 by its network's <vnet:aggregate>; write average='200' or less, or a larger aggregate")
    assert "<vnet:outbound>: has average='101'" in desk.only(text(200, 101))


@pytest.mark.parametrize("whose", ["<vnet:portgroup name='g'>", "<vnet:network>"])
def test_trust_of_a_nic_that_is_overridden(desk: Desk, whose: str) -> None:
    group = "<v:portgroup name='g'><v:qos dscp='46'/></v:portgroup>"
    blue = network("<portgroup name='g'/>", ours="<v:qos dscp='46'/>" if whose == "<vnet:network>" else group)
    nic = interface("", source="network='blue' portgroup='g'")

    def trusting(trust: str) -> str:
        return guest(nic, ours=f"<v:interface mac='52:54:00:00:00:01'><v:qos trust='{trust}'/></v:interface>")

    line = desk.only(blue, trusting("yes"))
    assert line.startswith(f"1.xml:2: <vnet:qos>: has trust='yes', but dscp='46' of {whose} replaces what the guest wrote; write dscp only")
    desk.silent(blue, trusting("no"))
    desk.silent(network("<portgroup name='g'/>"), trusting("yes"))
    trusted = f"<v:interface xmlns:v='{DOMAIN_NS}'><v:qos trust='yes'/></v:interface></interface>"
    assert "1.xml:1: <vnet:qos>: has trust='yes'" in desk.only(blue, nic.replace("</interface>", trusted))


def test_trust_that_the_network_overrides(desk: Desk) -> None:
    group = "<v:portgroup name='g'><v:qos trust='yes'/></v:portgroup>"
    line = desk.only(network("<portgroup name='g'/>", ours=f"<v:qos dscp='46'/>{group}"))
    assert "<vnet:qos>: has trust='yes', but dscp='46' of <vnet:network> replaces what the guest wrote" in line
    desk.silent(network("<portgroup name='g'/>", ours=f"<v:qos trust='no'/>{group}"))


# What a limit on packets counts.


@pytest.mark.parametrize("place", ["network", "portgroup", "interface"])
def test_a_guest_that_hands_over_many_packets_at_once_under_a_limit_on_packets(desk: Desk, place: str) -> None:
    qos = "<v:qos pps='1000'/>"
    ours = {"network": qos, "portgroup": f"<v:portgroup name='g'>{qos}</v:portgroup>"}.get(place, "")
    blue = network("<portgroup name='g'/>", ours=ours)
    own = f"<v:interface mac='52:54:00:00:00:01'>{qos}</v:interface>" if place == "interface" else ""

    def nic(inner: str) -> str:
        return guest(interface(inner, source="network='blue' portgroup='g'"), ours=own)

    line = desk.only(blue, nic("<model type='virtio'/>"))
    assert "<interface>: may hand over 64 KiB at once (TSO), which the kernel's data plane counts as one packet of its pps='1000'" in line
    assert "write <driver><host tso4='off' tso6='off' ufo='off' gso='off'/></driver> in it" in line
    desk.silent(blue, nic("<model type='virtio'/><driver><host tso4='off' tso6='off' ufo='off' gso='off'/></driver>"))
    desk.silent(blue, nic("<model type='e1000'/>"))
    desk.silent(network("<portgroup name='g'/>"), guest(interface("<model type='virtio'/>", source="network='blue'")))
    assert desk.run(blue, nic("<model type='virtio'/>"), command="validate").exit_code == 0


# The examples, and validate.


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_no_example_has_a_trap(path: Path) -> None:
    result = CliRunner().invoke(main, ["lint", str(path)])
    assert (result.output, result.exit_code) == ("", 0)


def test_the_examples_together_have_none() -> None:
    result = CliRunner().invoke(main, ["lint", *map(str, EXAMPLES)])
    assert (result.output, result.exit_code) == ("", 0)


def test_validate_warns_and_its_status_stays(desk: Desk) -> None:
    result = desk.run(guest(interface("<filterref filter='x'/>")), command="validate")
    assert result.exit_code == 0
    path = f"{desk.folder}/0.xml"
    good, warning = result.output.splitlines()
    assert good == f"{path}: domain vm1: good"
    assert warning.startswith(f"{path}: warning: line 4, <filterref>: libvirt starts no guest with it")
    assert desk.run(guest(interface("<filterref filter='x'/><vlan/>")), command="validate").exit_code == 2


def test_validate_warns_as_json_and_says_no_error_twice(desk: Desk) -> None:
    texts = (network(), guest(interface("<filterref filter='x'/>", source="network='blue' portgroup='nope'")))
    found = json.loads(desk.run(*texts, command="validate", options=("--json",)).output)
    assert [bool(one["error"]) for one in found] == [False, True, False]
    assert [one.get("warning", "")[:19] for one in found] == ["", "", "line 4, <filterref>"]
