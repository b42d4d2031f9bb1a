"""``vnetctl lint`` of a host: its definitions, and each thing that is done otherwise than it was asked."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from fakes import FakeHost, mac_of, uuid_of

from vnetd import vnetctl
from vnetd.adapters import libvirtd, shaping
from vnetd.errors import Unavailable
from vnetd.lint import Finding, Underlay
from vnetd.livelint import lint_host
from vnetd.model.names import IfName
from vnetd.model.network import (
    Bandwidth,
    Inventory,
    Network,
    Nic,
    Overlay,
    OverlayType,
    Peer,
    PortGroup,
    Qos,
    Rate,
    Vlan,
    VlanMode,
)
from vnetd.model.shaping import HtbClass, Mtus, SeenTap
from vnetd.model.state import Desired, Host, Meter, Observed, Rows
from vnetd.pipeline import MeterKind, meters_of
from vnetd.readback import differences
from vnetd.reconcile import look, reconcile
from vnetd.xmlread import DOMAIN_NS, NETWORK_NS

HV1, HV2 = ip_address("192.0.2.11"), ip_address("192.0.2.12")
MESH = Overlay(OverlayType.GRE, 7, (Peer("hv1", HV1), Peer("hv2", HV2)))
GROUP = PortGroup("g", True, Vlan(VlanMode.ACCESS, 10), aggregate=Bandwidth(Rate(1000), None))
BLUE = Network("blue", uuid_of(1), IfName("br-blue"), portgroups=(GROUP,), overlay=MESH, qos=Qos(pps=100))
WEB = Nic(
    mac_of(1),
    "blue",
    tap=IfName("vnet1"),
    iface_id=uuid_of(11),
    owner="web",
    owner_uuid=uuid_of(9),
    mtu=1454,
    bandwidth=Bandwidth(Rate(100), Rate(50)),
)
SHAPED = SeenTap("htb", classes={1: HtbClass(100_000, 100_000, 1564), 0xFFFE: HtbClass(100_000, 100_000, 1500)})
MTUS = Mtus({"vnet1": 1454, "eth0": 1500}, {HV1: "eth0"})


@pytest.fixture
def settled(host: FakeHost) -> FakeHost:
    """One guest, wired, with nothing left to do."""
    host.addresses = {HV1}
    host.link_comes("vnet1")
    assert reconcile(Inventory((BLUE,), (WEB,), complete=True), host.rim()).problems == ()
    return host


def seen_of(host: FakeHost) -> tuple[Desired, Observed]:
    desired, observed, _ = look(Inventory((BLUE,), (WEB,), complete=True), host.rim())
    return desired, observed


def words(host: FakeHost, tap: SeenTap = SHAPED, mtus: Mtus = MTUS) -> list[str]:
    return list(map(str, differences(*seen_of(host), {"vnet1": tap}, mtus)))


def change(host: FakeHost, **columns: object) -> None:
    """What somebody writes into a row by hand."""
    for name, value in columns.items():
        setattr(host.ports["vnet1"], name, value)


def test_nothing_is_said_of_what_is_as_asked(settled: FakeHost) -> None:
    assert words(settled) == []


def test_tc_is_looked_at(settled: FakeHost) -> None:
    (line,) = words(settled, SeenTap("pfifo_fast"))
    assert line.startswith("port vnet1: what it gets should be limited to 800 kbit/s, but tc has no limit there")


def test_a_policer_in_the_row(settled: FakeHost) -> None:
    change(settled, policing=400)
    (line,) = words(settled)
    assert line.startswith("port vnet1: tc polices what it sends to 400 kbit/s (ingress_policing_rate), besides vnetd's meter")


def test_a_policer_that_was_turned_off_limits_nothing(settled: FakeHost) -> None:
    change(settled, policing=-1)
    assert words(settled) == []


@pytest.mark.parametrize(
    ("vlan", "there"),
    [
        (Vlan(VlanMode.ACCESS, 20), "VLAN 20"),
        (Vlan(VlanMode.TRUNK, None, (1, 2)), "trunk 1,2"),
        (None, "no VLAN, so that it carries all"),
        (Vlan(VlanMode.TRUNK, 5, (-1,)), "VLAN columns that contradict each other"),
    ],
)
def test_other_vlan_columns(settled: FakeHost, vlan: Vlan | None, there: str) -> None:
    change(settled, vlan=vlan)
    assert words(settled) == [f"port vnet1: its row has {there} instead of VLAN 10; vnetctl apply puts it right"]


def test_a_native_vlan_outside_its_trunk(settled: FakeHost) -> None:
    change(settled, vlan=Vlan(VlanMode.NATIVE_TAGGED, 9, (10, 20)))
    assert any("its row has the native VLAN 9, which is not in its trunk; vnetctl apply" in line for line in words(settled))
    settled.ports["stray"] = replace(settled.ports["vnet1"], mark=None, vlan=Vlan(VlanMode.NATIVE_UNTAGGED, 15, (10, 20)))
    (line,) = (line for line in words(settled) if line.startswith("port stray"))
    assert line.endswith("ovs-vsctl set Port stray trunks=10,15,20 says both")
    settled.ports["stray"].vlan = Vlan(VlanMode.NATIVE_UNTAGGED, 10, (10, 20))
    assert not any(line.startswith("port stray") for line in words(settled))


def test_mtus(settled: FakeHost) -> None:
    (line,) = words(settled, mtus=Mtus({"vnet1": 1500}))
    assert line.startswith("port vnet1: its tap's MTU is 1500, and should be 1454; ip link set vnet1 mtu 1454")
    change(settled, mtu=None)
    assert words(settled) == ["port vnet1: its row asks for MTU unset instead of 1454; vnetctl apply puts it right"]


def test_another_shape_in_the_row(settled: FakeHost) -> None:
    change(settled, qos=None)
    assert words(settled) == ["port vnet1: its row limits what it gets to none instead of 800 kbit/s; vnetctl apply puts it right"]


def meters(host: FakeHost) -> dict[int, Meter]:
    desired, observed = seen_of(host)
    return meters_of(desired.wirings["br-blue"], observed.rows.numbers("br-blue"))


def test_each_meter_that_is_missing_is_named_by_what_it_limits(settled: FakeHost) -> None:
    found = {}
    for number in meters(settled):
        meter = settled.bridges["br-blue"].meters.pop(number)
        (found[number],) = words(settled)
        settled.bridges["br-blue"].meters[number] = meter
        assert f"but meter {number} of br-blue is not in the switch; vnetctl apply puts it right" in found[number]
    said = sorted(line.partition(" should be ")[0] for line in found.values())
    assert said == [
        "bridge br-blue: the limit that blue/g shares",
        "port vnet1: its limit on ARP and neighbour discovery",
        "port vnet1: its limit on bandwidth",
        "port vnet1: its limit on frames to everybody",
        "port vnet1: its limit on packets",
    ]


def test_a_meter_with_another_rate_or_burst(settled: FakeHost) -> None:
    number = MeterKind.BANDWIDTH.number(settled.ports["vnet1"].ofport)
    wanted = settled.bridges["br-blue"].meters[number]
    for meter, there in (
        (replace(wanted, rate=7), "lets 7 kbit/s pass"),
        (replace(wanted, burst=7), "has a burst of 7"),
        (Meter(0, 0), "has another form"),
    ):
        settled.bridges["br-blue"].meters[number] = meter
        assert words(settled) == [
            f"port vnet1: its limit on bandwidth should be 400 kbit/s with a burst of {wanted.burst}, "
            f"but meter {number} of br-blue {there}; vnetctl apply puts it right"
        ]


def test_of_a_port_that_the_switch_did_not_make_status_tells(settled: FakeHost) -> None:
    settled.link_goes("vnet1")
    settled.links["vnet1"] = True
    change(settled, policing=400)
    assert words(settled) == []


# Definitions.


@dataclass
class Tc:
    """tc and the links of a host on which all is well."""

    links: Mtus = MTUS
    asked: list[Mapping[str, int]] = field(default_factory=list)

    def taps(self, wanted: Mapping[str, int]) -> Mapping[str, SeenTap]:
        self.asked.append(wanted)
        return dict.fromkeys(wanted, SHAPED)

    def mtus(self) -> Mtus:
        return self.links


@dataclass
class Written:
    """What libvirt has."""

    networks: dict[str, bytes] = field(default_factory=dict)
    guests: dict[str, bytes] = field(default_factory=dict)
    running: dict[str, bytes] = field(default_factory=dict)


PEERS = "<v:peer name='hv1' address='192.0.2.11'/><v:peer name='hv2' address='192.0.2.12'/>"
BLUE_XML = f"""<network><name>blue</name>
<metadata><v:network xmlns:v='{NETWORK_NS}'><v:overlay type='gre' segment='7'>{PEERS}</v:overlay></v:network></metadata>
<forward mode='bridge'/><bridge name='br-blue'/><virtualport type='openvswitch'/></network>""".encode()
LINUX_XML = b"<network><name>lan</name><forward mode='bridge'/><bridge name='br0'/><mtu size='1400'/></network>"


def guest_xml(name: str, inner: str, network: str = "blue", mac: str = "52:54:00:00:00:01") -> bytes:
    nic = f"<interface type='network'><mac address='{mac}'/><source network='{network}'/>{inner}</interface>"
    return f"<domain><name>{name}</name><devices>\n{nic}</devices></domain>".encode()


def found(
    host: FakeHost, written: Written, tc: Tc | None = None, underlay: Underlay | None = None, taps: tuple[Path, ...] = ()
) -> list[str]:
    findings: list[Finding] = lint_host(*seen_of(host), tc or Tc(), written, list(taps), underlay)
    return list(map(str, findings))


FITS = "<mtu size='1458'/>"


def test_a_clean_host(settled: FakeHost) -> None:
    tc = Tc()
    assert found(settled, Written({"blue": BLUE_XML}, {"web": guest_xml("web", FITS)}, {"web": guest_xml("web", FITS)}), tc) == []
    assert [set(one) for one in tc.asked] == [{"vnet1"}]


def test_the_traps_of_its_definitions(settled: FakeHost) -> None:
    (line,) = found(settled, Written({"blue": BLUE_XML}, {"web": guest_xml("web", FITS + "<filterref filter='x'/>")}))
    assert line.startswith("guest web:2: <filterref>: libvirt starts no guest with it")


def test_networks_of_others_and_their_guests_are_left_alone(settled: FakeHost) -> None:
    wrong = "<filterref filter='x'/><bandwidth><inbound average='1'/></bandwidth><vlan/>"
    others = {name: guest_xml(name, wrong, "lan") for name in ("a", "b")}
    # No such network runs here, so that nobody knows whose it is.
    others["c"] = guest_xml("c", wrong, "elsewhere")
    assert found(settled, Written({"blue": BLUE_XML, "lan": LINUX_XML}, others)) == []


def test_the_underlays_mtu_is_that_of_the_nic_with_the_local_address(settled: FakeHost) -> None:
    written = Written({"blue": BLUE_XML}, {"web": guest_xml("web", "<mtu size='8958'/>")})
    jumbo = Tc(Mtus({"eth0": 9000, "vnet1": 1454}, {HV1: "eth0"}))
    assert found(settled, written, jumbo) == []
    (line,) = found(settled, written)
    assert "(gre over IPv4, over eth0, whose MTU is 1500)" in line
    assert line.endswith("write <mtu size='1458'/>")
    assert found(settled, written, underlay=Underlay(9000)) == []


def test_one_mac_on_a_guest_that_runs_and_one_that_is_only_defined(settled: FakeHost) -> None:
    (line,) = found(settled, Written({"blue": BLUE_XML}, {name: guest_xml(name, FITS) for name in ("web", "web2")}))
    assert line.startswith("guest web2:2: <interface>: has 52:54:00:00:00:01, which web has already on network blue")


def test_a_nic_that_was_plugged_since_counts_too(settled: FakeHost) -> None:
    plugged = guest_xml("web", FITS, mac="52:54:00:00:00:02")
    guests = {"db": guest_xml("db", FITS, mac="52:54:00:00:00:02"), "web": guest_xml("web", FITS)}
    (line,) = found(settled, Written({"blue": BLUE_XML}, guests, {"web": plugged}))
    assert line.startswith("guest web: <interface>: has 52:54:00:00:00:02, which db has already on network blue")


def test_many_running_guests_are_looked_at_in_time(settled: FakeHost) -> None:
    """Each guest that ran was once held against the NICs of all, which took ten seconds here."""
    guests = {
        f"vm{number}": guest_xml(f"vm{number}", FITS, mac=f"52:54:00:01:{number >> 8:02x}:{number & 255:02x}") for number in range(6000)
    }
    began = time.process_time()
    assert found(settled, Written({"blue": BLUE_XML}, guests, guests)) == []
    assert time.process_time() - began < 5


def test_what_is_said_of_a_nic_that_is_only_plugged_does_something(settled: FakeHost) -> None:
    ours = f"<metadata><v:domain xmlns:v='{DOMAIN_NS}'><v:interface mac='52:54:00:00:00:02'/></v:domain></metadata><devices>"
    defined = guest_xml("web", FITS).replace(b"<devices>", ours.encode())
    plugged = guest_xml("web", FITS, mac="52:54:00:00:00:02")
    assert found(settled, Written({"blue": BLUE_XML}, {"web": defined}, {"web": plugged})) == []
    (line,) = found(settled, Written({"blue": BLUE_XML}, {"web": defined}))
    assert line.startswith("guest web:1: <vnet:interface>: is for 52:54:00:00:00:02, which no <interface> of the guest has")


def test_a_taps_own_file(settled: FakeHost, tmp_path: Path) -> None:
    file = tmp_path / "tap9.xml"
    file.write_text("<interface type='network'><source network='blue'/></interface>")
    (line,) = found(settled, Written({"blue": BLUE_XML}), taps=(file,))
    assert line.startswith(f"{file}:1: <interface>: has no <mtu>, so it is 1500")


def test_what_is_done_otherwise_comes_with_the_rest(settled: FakeHost) -> None:
    change(settled, policing=400)
    (line,) = found(settled, Written())
    assert line.startswith("port vnet1: tc polices what it sends")


# The command.


def test_without_libvirt_nobody_calls_the_definitions_good(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def away() -> None:
        raise Unavailable("libvirt does not answer on qemu:///system: no socket")

    service = SimpleNamespace(
        look=lambda: (Desired(), Observed(Rows(), {}, Host()), None), store=SimpleNamespace(taps=tuple), taps=tmp_path
    )
    monkeypatch.setattr(vnetctl, "_local_service", lambda remember: service)
    monkeypatch.setattr(libvirtd, "read_definitions", away)
    monkeypatch.setattr(shaping, "Shaping", Tc)
    result = CliRunner().invoke(vnetctl.main, ["lint"])
    words = "vnetctl: libvirt does not answer on qemu:///system: no socket; no definition of a network or guest was looked at\n"
    assert (result.output, result.exit_code) == (words, 1)
    monkeypatch.setattr(libvirtd, "read_definitions", Written)
    assert CliRunner().invoke(vnetctl.main, ["lint"]).exit_code == 0
