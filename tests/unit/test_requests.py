"""What each hook and script tells the store, and whom vnetd may refuse.

``told`` takes a request in as the daemon does; ``refused`` makes the pass after it
and says what its asker would be told.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from fakes import FakeHost, domain_xml, hook_xml, mac_of, network_xml, nic_xml, port_xml, uuid_of

from vnetd.errors import InputError, VnetdError, WorldError
from vnetd.model.network import Nic, Vlan, VlanMode
from vnetd.reconcile import reconcile
from vnetd.requests import NOTHING, Intake, Request, accept, may_refuse
from vnetd.store import Kind, Store

BLUE, WEB, PORT = uuid_of(1), uuid_of(9), uuid_of(5)
GROUPS = "<portgroup name='web' default='yes'><vlan><tag id='10'/></vlan></portgroup>"
BLUE_XML = network_xml("blue", 1, GROUPS)
WEB_XML = domain_xml("web", 9, nic_xml(1, "blue", "vnet1"))
QEMU = b"qemu-system-x86_64\0-nic\0tap,ifname=tap0,mac=52:54:00:00:00:07\0"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "spool")


@pytest.fixture
def taps(tmp_path: Path) -> Path:
    """The folder of the taps' own files."""
    folder = tmp_path / "taps"
    folder.mkdir()
    return folder


def told(store: Store, *words: str, payload: bytes = b"", taps: Path = Path("/nonexistent")) -> Intake:
    verb, *arguments = words
    return accept(store, Request(verb, tuple(arguments), payload), taps)


def refused(store: Store, host: FakeHost, intake: Intake) -> str:
    """What the asker is told after the pass; nothing when all is well."""
    outcome = reconcile(store.inventory(True, intake.gone_networks, intake.gone_taps), host.rim())
    try:
        if intake.check is not None:
            intake.check(outcome)
    except VnetdError as error:
        return str(error)
    return ""


def start_blue(store: Store, host: FakeHost, xml: bytes = BLUE_XML) -> None:
    assert refused(store, host, told(store, "network", "blue", "start", "begin", "-", payload=hook_xml(xml))) == ""


def file_says(taps: Path, tap: str, text: str) -> None:
    (taps / f"{tap}.xml").write_text(text)


# Who may be refused.


@pytest.mark.parametrize(
    ("words", "whether"),
    [
        (("qemu", "web", "prepare"), True),
        (("qemu", "web", "start"), True),
        (("network", "blue", "start"), True),
        (("ifup", "tap0", "ovs-ifup"), True),
        (("apply",), True),
        (("qemu", "web", "reconnect"), False),
        (("qemu", "web", "stopped"), False),
        (("qemu", "web", "release"), False),
        (("qemu", "web", "migrate"), False),
        (("network", "blue", "prepare"), False),
        (("network", "blue", "port-created"), False),
        (("network", "blue", "port-deleted"), False),
        (("network", "blue", "stopped"), False),
        (("network", "blue", "updated"), False),
        (("ifdown", "tap0", "ovs-ifdown"), False),
    ],
)
def test_only_a_start_may_be_refused_since_a_failing_reconnect_kills_a_running_guest(words: tuple[str, ...], whether: bool) -> None:
    verb, *arguments = words
    assert may_refuse(Request(verb, tuple(arguments))) is whether


@pytest.mark.parametrize("words", [("qemu",), ("qemu", "web"), ("network", "blue")])
def test_a_call_that_is_none_of_libvirts_is_refused_with_words(store: Store, words: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="NAME OPERATION"):
        told(store, *words)
    assert may_refuse(Request(words[0], tuple(words[1:])))


def test_an_unknown_verb_is_refused_with_words(store: Store) -> None:
    with pytest.raises(InputError, match="no request that vnetd knows"):
        told(store, "reboot; id")


# The network hook.


def test_network_start_makes_the_bridge_before_libvirt_looks_for_it(store: Store, host: FakeHost) -> None:
    start_blue(store, host)
    assert host.bridges["br-blue"].owner == BLUE


def test_network_start_refuses_what_cannot_be_read_and_keeps_no_trace(store: Store) -> None:
    with pytest.raises(InputError, match="guard"):
        told(store, "network", "blue", "start", payload=hook_xml(network_xml("blue", 1, metadata="<v:policy guard='strcit'/>")))
    assert store.entries == {}


def test_network_start_refuses_what_cannot_be_made_and_can_be_taken_back(store: Store, host: FakeHost) -> None:
    host.hand_bridge("br-blue")
    intake = told(store, "network", "blue", "start", payload=hook_xml(BLUE_XML))
    assert "bridge br-blue is there already and vnetd did not make it" in refused(store, host, intake)
    assert intake.undo is not None
    assert intake.undo().gone_networks == {BLUE}
    assert store.networks() == []


def test_network_start_refuses_a_missing_uplink(store: Store, host: FakeHost) -> None:
    intake = told(store, "network", "blue", "start", payload=hook_xml(network_xml("blue", 1, metadata="<v:uplink dev='eth9'/>")))
    assert refused(store, host, intake).startswith("network blue: its uplink eth9 is not on this host")


def test_network_start_does_not_refuse_a_host_that_is_no_peer(store: Store, host: FakeHost) -> None:
    peers = "<v:overlay type='gre' segment='7'><v:peer name='hv1' address='192.0.2.1'/></v:overlay>"
    start_blue(store, host, network_xml("blue", 1, metadata=peers))


def test_somebody_elses_network_is_nothing_to_vnetd(store: Store) -> None:
    for operation in ("start", "started", "stopped", "port-created"):
        assert told(store, "network", "blue", operation, payload=hook_xml(network_xml("blue", 1, ours=False))) is NOTHING
    assert store.networks() == []


def test_network_stopped_lets_its_bridge_go(store: Store, host: FakeHost) -> None:
    start_blue(store, host)
    intake = told(store, "network", "blue", "stopped", "end", "-", payload=hook_xml(BLUE_XML))
    assert intake.gone_networks == {BLUE}
    assert refused(store, host, intake) == ""
    assert host.bridges == {}


def test_network_stopped_is_repeatable(store: Store, host: FakeHost) -> None:
    for _ in range(2):
        assert refused(store, host, told(store, "network", "blue", "stopped", payload=hook_xml(BLUE_XML))) == ""


def test_a_hook_that_is_given_another_networks_xml_is_refused(store: Store) -> None:
    with pytest.raises(InputError, match="called for network 'red' and given the XML of 'blue'"):
        told(store, "network", "red", "start", payload=hook_xml(BLUE_XML))
    assert store.entries == {}


def test_network_started_says_nothing_new(store: Store, host: FakeHost) -> None:
    start_blue(store, host)
    assert not told(store, "network", "blue", "started", payload=hook_xml(BLUE_XML)).news


def test_network_updated_brings_what_the_running_definition_says_now(store: Store, host: FakeHost) -> None:
    """``virsh net-update``: the only word that vnetd gets of it at once."""
    start_blue(store, host)
    host.link_comes("vnet1")
    host.libvirt_add_port("vnet1", "br-blue", {"vm-id": WEB, "iface-id": uuid_of(1)})
    xml = domain_xml("web", 9, nic_xml(1, "blue", "vnet1", "<vlan><tag id='10'/></vlan>", "portgroup='web'"))
    assert refused(store, host, told(store, "qemu", "web", "start", "begin", "-", payload=xml)) == ""
    intake = told(store, "network", "blue", "updated", "begin", "-", payload=hook_xml(BLUE_XML.replace(b"'10'", b"'11'")))
    assert intake.news
    assert refused(store, host, intake) == ""
    assert host.ports["vnet1"].vlan == Vlan(VlanMode.ACCESS, 11)
    assert not told(store, "network", "blue", "updated", "begin", "-", payload=hook_xml(BLUE_XML.replace(b"'10'", b"'11'"))).news


def test_no_guest_starts_in_a_portgroup_that_is_kept_for_others(store: Store, host: FakeHost) -> None:
    start_blue(store, host)
    xml = domain_xml("web", 9, nic_xml(1, "blue", "vnet1", source="portgroup='web'"))
    told(store, "qemu", "web", "reconnect", "begin", "-", payload=xml)
    told(store, "network", "blue", "updated", "begin", "-", payload=hook_xml(network_xml("blue", 1, GROUPS.replace("'web'", "'wbe'"))))
    assert store.networks()[0].portgroup("web") is not None
    other = domain_xml("other", 10, nic_xml(2, "blue", "vnet2", source="portgroup='web'"))
    with pytest.raises(InputError, match="network blue has no such portgroup; it has wbe"):
        told(store, "qemu", "other", "prepare", "begin", "-", payload=other)


def test_port_created_announces_a_nic_and_port_deleted_takes_it_back(store: Store, host: FakeHost) -> None:
    start_blue(store, host)
    payload = hook_xml(BLUE_XML, port_xml(1, "web", 9, 5))
    assert told(store, "network", "blue", "port-created", "begin", "-", payload=payload).news
    (nic,) = store.inventory(True).nics
    assert (nic.network, nic.tap, nic.owner) == ("blue", None, "web")
    assert told(store, "network", "blue", "port-deleted", "begin", "-", payload=payload).news
    assert store.inventory(True).nics == ()
    assert not told(store, "network", "blue", "port-deleted", "begin", "-", payload=payload).news


def test_port_created_brings_a_network_that_vnetd_had_not_heard_of(store: Store) -> None:
    told(store, "network", "blue", "port-created", payload=hook_xml(BLUE_XML, port_xml(1, "web", 9, 5)))
    assert [network.name for network in store.networks()] == ["blue"]


def test_a_port_that_cannot_be_read_is_an_error_in_words(store: Store) -> None:
    with pytest.raises(InputError, match="MAC"):
        told(store, "network", "blue", "port-created", payload=hook_xml(BLUE_XML, port_xml(1, "web", 9, 5).replace("52:54", "zz:zz")))


# The qemu hook.


@pytest.mark.parametrize("operation", ["started", "migrate", "restore", "something-new"])
def test_operations_that_change_nothing_are_not_even_read(store: Store, operation: str) -> None:
    """libvirt takes what a hook prints at a migration for XML, and hands it nothing vnetd needs."""
    assert told(store, "qemu", "web", operation, payload=b"<broken") is NOTHING


def test_qemu_prepare_reads_and_keeps_nothing(store: Store, host: FakeHost) -> None:
    start_blue(store, host)
    assert told(store, "qemu", "web", "prepare", "begin", "-", payload=WEB_XML) is NOTHING
    assert store.get(Kind.DOMAIN, WEB) is None


@pytest.mark.parametrize("operation", ["prepare", "start"])
def test_a_guest_with_a_bad_nic_on_a_network_of_vnetds_is_refused(store: Store, host: FakeHost, operation: str) -> None:
    start_blue(store, host)
    with pytest.raises(InputError, match=r"guest 'web': .*a;reboot"):
        told(store, "qemu", "web", operation, payload=domain_xml("web", 9, nic_xml(1, "blue", "a;reboot")))
    assert store.get(Kind.DOMAIN, WEB) is None


@pytest.mark.parametrize("operation", ["prepare", "start"])
def test_an_unknown_portgroup_is_refused_and_the_known_ones_are_named(store: Store, host: FakeHost, operation: str) -> None:
    start_blue(store, host)
    with pytest.raises(InputError, match="portgroup='wbe'>: network blue has no such portgroup; it has web"):
        told(store, "qemu", "web", operation, payload=domain_xml("web", 9, nic_xml(1, "blue", "vnet1", source="portgroup='wbe'")))


def test_a_bad_nic_on_somebody_elses_network_holds_no_guest_up(store: Store, host: FakeHost) -> None:
    start_blue(store, host)
    intake = told(store, "qemu", "web", "start", payload=domain_xml("web", 9, nic_xml(1, "default", "a;reboot")))
    assert refused(store, host, intake) == ""


def test_qemu_start_wires_the_guest_before_it_runs(store: Store, host: FakeHost) -> None:
    start_blue(store, host)
    host.link_comes("vnet1")
    host.libvirt_add_port("vnet1", "br-blue", {"vm-id": WEB, "iface-id": uuid_of(1)})
    intake = told(store, "qemu", "web", "start", "begin", "-", payload=WEB_XML)
    assert intake.news
    assert refused(store, host, intake) == ""
    assert any(f"in_port=vnet1,dl_src={mac_of(1)}" in line for line in host.flows("br-blue"))


@pytest.mark.parametrize("trouble", ["no tap", "no port", "a refusing switch"])
def test_qemu_start_is_refused_when_the_port_could_not_be_wired(store: Store, host: FakeHost, trouble: str) -> None:
    start_blue(store, host)
    if trouble != "no tap":
        host.link_comes("vnet1")
        host.libvirt_add_port("vnet1", "br-blue", {"vm-id": WEB})
    if trouble == "no port":
        host.links.pop("vnet1")
        host.ports["vnet1"].ofport, host.ports["vnet1"].error = -1, "No such device"
    if trouble == "a refusing switch":
        host.refusing = {"br-blue"}
    intake = told(store, "qemu", "web", "start", payload=WEB_XML)
    try:
        words = refused(store, host, intake)
    except WorldError as error:
        words = str(error)
    assert words
    assert intake.undo is not None
    intake.undo()
    assert store.get(Kind.DOMAIN, WEB) is None


def test_qemu_start_of_a_guest_whose_mac_is_unknown_is_refused(store: Store, host: FakeHost) -> None:
    start_blue(store, host)
    host.link_comes("vnet1")
    xml = WEB_XML.replace(f"<mac address='{mac_of(1)}'/>".encode(), b"")
    assert "its MAC is unknown" in refused(store, host, told(store, "qemu", "web", "start", payload=xml))


def test_qemu_start_of_a_guest_without_such_nics_asks_for_nothing(store: Store, host: FakeHost) -> None:
    intake = told(store, "qemu", "web", "start", payload=domain_xml("web", 9, nic_xml(1, "default", "vnet1")))
    assert refused(store, host, intake) == ""


def test_another_networks_trouble_is_no_reason_to_refuse_a_guest(store: Store, host: FakeHost) -> None:
    start_blue(store, host)
    host.link_comes("vnet1")
    store.put(Kind.NETWORK, uuid_of(2), network_xml("red", 2, metadata="<v:uplink dev='eth9'/>"))
    assert refused(store, host, told(store, "qemu", "web", "start", payload=WEB_XML)) == ""


@pytest.mark.parametrize("operation", ["stopped", "release"])
def test_a_guest_that_ends_is_forgotten_and_that_is_repeatable(store: Store, operation: str) -> None:
    told(store, "qemu", "web", "reconnect", payload=WEB_XML)
    assert told(store, "qemu", "web", operation, "end", "-", payload=WEB_XML).news
    assert not told(store, "qemu", "web", operation, "end", "-", payload=WEB_XML).news
    assert store.inventory(True).nics == ()


@pytest.mark.parametrize("operation", ["reconnect", "attach"])
def test_a_guest_that_runs_already_is_taken_in_without_a_check(store: Store, operation: str) -> None:
    intake = told(store, "qemu", "web", operation, payload=WEB_XML)
    assert intake.news
    assert intake.check is None
    assert not told(store, "qemu", "web", operation, payload=WEB_XML).news


@pytest.mark.parametrize("operation", ["prepare", "start", "stopped", "reconnect"])
def test_a_hook_that_is_given_another_guests_xml_changes_nothing(store: Store, operation: str) -> None:
    store.put(Kind.DOMAIN, WEB, WEB_XML)
    with pytest.raises(InputError, match=r"called for guest '\$\(id\)' and given the XML of 'web'"):
        told(store, "qemu", "$(id)", operation, payload=WEB_XML.replace(b"vnet1", b"vnet2"))
    entry = store.get(Kind.DOMAIN, WEB)
    assert entry is not None
    assert entry.data == WEB_XML


def test_a_guest_without_uuid_is_not_libvirts(store: Store) -> None:
    with pytest.raises(InputError, match="no <uuid>"):
        told(store, "qemu", "web", "start", payload=WEB_XML.replace(f"<uuid>{WEB}</uuid>".encode(), b""))


@pytest.mark.parametrize("payload", [b"", b"<domain>", b"\xff\xfe", b"<network/>", b"<!DOCTYPE a><domain/>"])
def test_text_that_is_no_guest_is_refused(store: Store, payload: bytes) -> None:
    with pytest.raises(InputError):
        told(store, "qemu", "web", "start", payload=payload)
    assert store.entries == {}


# ovs-ifup and ovs-ifdown.


def test_ifup_reads_the_taps_own_file(store: Store, host: FakeHost, taps: Path) -> None:
    start_blue(store, host)
    host.link_comes("tap0", up=False)
    file_says(taps, "tap0", f"<interface><mac address='{mac_of(7)}'/><source network='blue'/><vlan><tag id='30'/></vlan></interface>")
    assert refused(store, host, told(store, "ifup", "tap0", "ovs-ifup", taps=taps)) == ""
    assert host.links["tap0"]
    assert host.ports["tap0"].vlan is not None
    assert host.ports["tap0"].vlan.tag == 30


@pytest.mark.parametrize("called_as", ["ovs-ifup-blue", "ovs-ifup-blue@web"])
def test_ifup_reads_the_name_that_it_was_called_by(store: Store, host: FakeHost, taps: Path, called_as: str) -> None:
    start_blue(store, host)
    host.link_comes("tap0")
    assert refused(store, host, told(store, "ifup", "tap0", called_as, payload=QEMU, taps=taps)) == ""
    assert host.ports["tap0"].vlan is not None
    assert host.ports["tap0"].vlan.tag == 10
    assert host.ports["tap0"].ids["attached-mac"] == mac_of(7)


def test_the_file_goes_before_the_name_and_before_qemus_line(store: Store, host: FakeHost, taps: Path) -> None:
    start_blue(store, host)
    file_says(taps, "tap0", f"<interface><mac address='{mac_of(8)}'/><source network='blue'/></interface>")
    told(store, "ifup", "tap0", "ovs-ifup-red", payload=QEMU, taps=taps)
    (nic,) = store.inventory(True).nics
    assert (nic.mac, nic.network) == (mac_of(8), "blue")


def test_a_file_without_mac_gets_it_from_qemus_line(store: Store, host: FakeHost, taps: Path) -> None:
    start_blue(store, host)
    file_says(taps, "tap0", "<interface><source network='blue' portgroup='web'/></interface>")
    told(store, "ifup", "tap0", "ovs-ifup", payload=QEMU, taps=taps)
    assert [nic.mac for nic in store.inventory(True).nics] == [mac_of(7)]


def test_a_mac_that_qemus_line_does_not_say_is_asked_for(store: Store, host: FakeHost, taps: Path) -> None:
    start_blue(store, host)
    with pytest.raises(InputError, match="tap0: its MAC is unknown; write mac="):
        told(store, "ifup", "tap0", "ovs-ifup-blue", payload=b"qemu-system-x86_64\0-nic\0user\0", taps=taps)
    assert store.taps() == []


def test_without_a_guard_the_mac_may_stay_unknown(store: Store, host: FakeHost, taps: Path) -> None:
    start_blue(store, host, network_xml("blue", 1, metadata="<v:policy guard='none'/>"))
    host.link_comes("tap0")
    intake = told(store, "ifup", "tap0", "ovs-ifup-blue", payload=b"qemu-system-x86_64\0", taps=taps)
    assert refused(store, host, intake) == ""


def test_under_libvirt_the_mac_comes_later_and_the_tap_is_closed_until_then(store: Store, host: FakeHost, taps: Path) -> None:
    """``<interface type='ethernet'><script …/>``: libvirt runs the script, and the qemu hook brings the MAC a moment later."""
    start_blue(store, host)
    host.link_comes("tap0")
    assert refused(store, host, told(store, "ifup", "tap0", "ovs-ifup-blue", payload=b"/usr/sbin/libvirtd\0", taps=taps)) == ""
    assert not any(mac_of(1) in line for line in host.flows("br-blue"))
    ethernet = f"<interface type='ethernet'><mac address='{mac_of(1)}'/><script path='/x/ovs-ifup-blue'/><target dev='tap0'/></interface>"
    assert refused(store, host, told(store, "qemu", "web", "start", payload=domain_xml("web", 9, ethernet))) == ""
    assert any(f"dl_src={mac_of(1)}" in line for line in host.flows("br-blue"))


def test_a_tap_of_which_nothing_is_said_is_refused_and_both_ways_are_named(store: Store, taps: Path) -> None:
    with pytest.raises(InputError, match=r"tap0: nothing says where it belongs; write .*/tap0\.xml .* or call the script by a link"):
        told(store, "ifup", "tap0", "ovs-ifup", taps=taps)


@pytest.mark.parametrize("called_as", ["ovs-ifup-", "my-ovs-ifup-blue", "ovs-ifdown-blue"])
def test_a_name_that_only_resembles_the_scripts_says_nothing(store: Store, taps: Path, called_as: str) -> None:
    with pytest.raises(InputError, match="nothing says where it belongs"):
        told(store, "ifup", "tap0", called_as, taps=taps)


def test_a_network_that_is_not_active_is_refused_and_the_active_ones_are_named(store: Store, host: FakeHost, taps: Path) -> None:
    start_blue(store, host)
    with pytest.raises(WorldError, match=r"no network 'red' of vnetd's is active on this host \(active: blue\); virsh net-start it"):
        told(store, "ifup", "tap0", "ovs-ifup-red", payload=QEMU, taps=taps)


def test_a_portgroup_that_the_network_has_not_is_refused(store: Store, host: FakeHost, taps: Path) -> None:
    start_blue(store, host)
    with pytest.raises(InputError, match="network blue has no portgroup 'db'; it has web"):
        told(store, "ifup", "tap0", "ovs-ifup-blue@db", payload=QEMU, taps=taps)


@pytest.mark.parametrize("tap", ["", "--help", "../../x", "a/b", "a;reboot", "a-name-too-long!"])
def test_a_tap_with_a_bad_name_is_refused_before_any_path_is_made_of_it(store: Store, taps: Path, tap: str) -> None:
    for verb in ("ifup", "ifdown"):
        with pytest.raises(InputError, match="is no interface name"):
            told(store, verb, tap, "ovs-ifup-blue", taps=taps)
    assert not store.root.exists()


def test_a_script_without_its_argument_is_refused(store: Store, taps: Path) -> None:
    with pytest.raises(InputError, match="the tap's name as the only argument"):
        told(store, "ifup", "tap0", taps=taps)


@pytest.mark.parametrize("text", ["", "<interface/>", "<domain/>", "<interface><source network='blue'/><target dev='tap9'/></interface>"])
def test_a_bad_file_is_refused_and_keeps_no_trace(store: Store, host: FakeHost, taps: Path, text: str) -> None:
    start_blue(store, host)
    file_says(taps, "tap0", text)
    with pytest.raises(InputError):
        told(store, "ifup", "tap0", "ovs-ifup", payload=QEMU, taps=taps)
    assert store.taps() == []


def test_a_file_that_cannot_be_opened_is_told(store: Store, taps: Path) -> None:
    (taps / "tap0.xml").mkdir()
    with pytest.raises(WorldError, match=r"tap0\.xml cannot be read"):
        told(store, "ifup", "tap0", "ovs-ifup", taps=taps)


def test_ifup_of_a_tap_that_is_not_there_is_refused_and_can_be_taken_back(store: Store, host: FakeHost, taps: Path) -> None:
    start_blue(store, host)
    intake = told(store, "ifup", "tap0", "ovs-ifup-blue", payload=QEMU, taps=taps)
    assert refused(store, host, intake) == "port tap0: its tap device is not there"
    assert intake.undo is not None
    assert intake.undo().gone_taps == {"tap0"}
    assert store.taps() == []


def test_ifdown_takes_the_port_away_at_once_and_is_repeatable(store: Store, host: FakeHost, taps: Path) -> None:
    start_blue(store, host)
    host.link_comes("tap0")
    refused(store, host, told(store, "ifup", "tap0", "ovs-ifup-blue", payload=QEMU, taps=taps))
    for _ in range(2):
        assert refused(store, host, told(store, "ifdown", "tap0", "ovs-ifdown", taps=taps)) == ""
        assert "tap0" not in host.ports


# apply.


def test_apply_reads_the_taps_files_again_and_keeps_the_mac_that_qemu_said(store: Store, host: FakeHost, taps: Path) -> None:
    start_blue(store, host)
    file_says(taps, "tap0", "<interface><source network='blue'/></interface>")
    told(store, "ifup", "tap0", "ovs-ifup", payload=QEMU, taps=taps)
    file_says(taps, "tap0", "<interface><source network='blue'/><vlan><tag id='30'/></vlan></interface>")
    assert told(store, "apply", taps=taps).news
    (nic,) = store.inventory(True).nics
    assert nic.mac == mac_of(7)
    assert nic.vlan is not None
    assert nic.vlan.tag == 30


def test_apply_leaves_a_tap_whose_file_is_gone(store: Store, host: FakeHost, taps: Path) -> None:
    start_blue(store, host)
    told(store, "ifup", "tap0", "ovs-ifup-blue", payload=QEMU, taps=taps)
    told(store, "apply", taps=taps)
    assert store.taps() == ["tap0"]


def test_apply_reads_the_good_files_although_one_is_bad(store: Store, host: FakeHost, taps: Path) -> None:
    start_blue(store, host)
    for tap in ("tap0", "tap1"):
        file_says(taps, tap, f"<interface><mac address='{mac_of(7)}'/><source network='blue'/></interface>")
        told(store, "ifup", tap, "ovs-ifup", taps=taps)
    file_says(taps, "tap0", "<interface>")
    file_says(taps, "tap1", f"<interface><mac address='{mac_of(8)}'/><source network='blue'/></interface>")
    with contextlib.suppress(InputError):
        told(store, "apply", taps=taps)
    macs = {str(nic.tap): nic.mac for nic in store.inventory(True).nics if isinstance(nic, Nic)}
    assert macs == {"tap0": mac_of(7), "tap1": mac_of(8)}
