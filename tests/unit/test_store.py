"""What the sources last said: who is believed when they disagree, and what is left on disk."""

from __future__ import annotations

import os
import sys
import time
from ipaddress import ip_network
from pathlib import Path

import pytest
from fakes import domain_xml, mac_of, network_xml, nic_xml, port_xml, uuid_of

from vnetd.adapters.libvirtd import read_once
from vnetd.errors import WorldError
from vnetd.model.network import Guard, Inventory, Nic, Policy
from vnetd.store import FORGET_SECONDS, Concerned, Kind, Store
from vnetd.xmlread import DOMAIN_NS

BLUE, WEB, PORT = uuid_of(1), uuid_of(9), uuid_of(5)
BLUE_XML = network_xml("blue", 1)
WEB_XML = domain_xml("web", 9, nic_xml(1, "blue", "vnet1", source=f"portid='{PORT}'"))
PORT_XML = port_xml(1, "web", 9, 5).replace("<networkport>", "<networkport network='blue'>").encode()
NOW = time.time()
"""When the test began: the store forgets what is a minute old, and all the tests together take longer."""


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "NOW", time.time())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "spool")


def again(store: Store) -> Store:
    """The store of the next process."""
    fresh = Store(store.root)
    fresh.load()
    return fresh


def said(store: Store) -> Inventory:
    return store.inventory(complete=True)


def files(store: Store) -> list[str]:
    return sorted(str(path.relative_to(store.root)) for path in store.root.rglob("*") if path.is_file())


# Put and drop.


def test_what_is_new_is_news_and_what_is_known_is_not(store: Store) -> None:
    assert store.put(Kind.NETWORK, BLUE, BLUE_XML)
    assert not store.put(Kind.NETWORK, BLUE, BLUE_XML)
    assert store.put(Kind.NETWORK, BLUE, network_xml("blue", 1, "<vlan><tag id='7'/></vlan>"))


def test_dropping_what_is_gone_is_success_and_no_news(store: Store) -> None:
    store.put(Kind.DOMAIN, WEB, WEB_XML)
    assert store.drop(Kind.DOMAIN, WEB)
    assert not store.drop(Kind.DOMAIN, WEB)
    assert not store.drop(Kind.TAP, "tap0")
    assert store.get(Kind.DOMAIN, WEB) is None


def test_everything_said_is_told_as_values(store: Store) -> None:
    store.put(Kind.NETWORK, BLUE, BLUE_XML)
    store.put(Kind.DOMAIN, WEB, WEB_XML)
    store.put(Kind.TAP, "tap0", b"<interface type='network'><source network='blue'/></interface>")
    inventory = said(store)
    assert [network.name for network in inventory.networks] == ["blue"]
    assert [(nic.owner, nic.tap) for nic in inventory.nics] == [("web", "vnet1"), ("tap0", "tap0")]
    assert store.taps() == ["tap0"]


def test_what_cannot_be_read_is_a_problem_of_its_own(store: Store) -> None:
    store.put(Kind.NETWORK, BLUE, BLUE_XML)
    store.put(Kind.NETWORK, uuid_of(2), b"<network/>")
    store.put(Kind.DOMAIN, uuid_of(3), b"<domain")
    store.put(Kind.PORT, uuid_of(4), b"")
    store.put(Kind.TAP, "tap0", b"<interface/>")
    inventory = said(store)
    assert len(inventory.networks) == 1
    assert [(problem.kind, problem.name) for problem in inventory.problems] == [
        ("network", uuid_of(2)),
        ("guest", uuid_of(3)),
        ("port", "tap0"),
    ]


def test_a_bad_nic_is_told_only_where_it_concerns_a_network_of_vnetds(store: Store) -> None:
    store.put(Kind.NETWORK, BLUE, BLUE_XML)
    bad = nic_xml(1, "blue", "--help") + nic_xml(2, "default", "--help") + nic_xml(3, "blue", "vnet3")
    store.put(Kind.DOMAIN, WEB, domain_xml("web", 9, bad))
    inventory = said(store)
    assert [nic.tap for nic in inventory.nics] == ["vnet3"]
    assert len(inventory.problems) == 1
    assert "--help" in str(inventory.problems[0])


def test_a_nic_concerns_vnetd_by_its_network_or_else_by_its_bridge(store: Store) -> None:
    store.put(Kind.NETWORK, BLUE, BLUE_XML)
    concerned = Concerned(store.networks())
    assert concerned("blue", None)
    assert concerned(None, "br-blue")
    assert not concerned("default", "br-blue")
    assert not concerned(None, None)


@pytest.mark.parametrize(
    ("kind", "key", "good", "bad"),
    [
        (Kind.NETWORK, BLUE, BLUE_XML, network_xml("blue", 1, metadata="<v:polcy guard='mac'/>")),
        (
            Kind.DOMAIN,
            WEB,
            WEB_XML,
            WEB_XML.replace(b"<devices>", b"<metadata><v:domain xmlns:v='urn:vnetd:domain:1'><v:oops/></v:domain></metadata><devices>"),
        ),
    ],
)
def test_an_update_that_cannot_be_read_leaves_the_last_good_word_in_force(
    store: Store, kind: Kind, key: str, good: bytes, bad: bytes
) -> None:
    """A typo in the metadata of what runs must cut nobody off: refused means that nothing changes."""
    store.put(Kind.NETWORK, BLUE, BLUE_XML)
    store.put(Kind.DOMAIN, WEB, WEB_XML)
    before = said(store)
    store.put(kind, key, bad)
    after = said(store)
    assert (after.networks, after.nics) == (before.networks, before.nics)
    assert len(after.problems) == 1
    store.put(kind, key, good)
    assert said(store) == before


# A listing of libvirt's against the hooks' newer word.


def test_a_listing_brings_what_is_new_and_takes_what_is_gone(store: Store) -> None:
    assert store.sync(NOW, {BLUE: BLUE_XML}, {WEB: WEB_XML})
    assert not store.sync(NOW + 1, {BLUE: BLUE_XML}, {WEB: WEB_XML})
    assert store.sync(NOW + 2, {BLUE: BLUE_XML}, {})
    assert said(store).nics == ()
    assert store.sync(NOW + 3, {}, {})
    assert said(store).networks == ()


def test_a_listing_takes_in_only_networks_of_vnetds(store: Store) -> None:
    assert not store.sync(NOW, {uuid_of(2): network_xml("default", 2, ours=False), uuid_of(3): b"<network"}, {})
    assert files(store) == []


def test_a_listing_that_began_before_a_hook_spoke_does_not_overrule_it(store: Store) -> None:
    store.put(Kind.NETWORK, BLUE, BLUE_XML, NOW)
    store.put(Kind.DOMAIN, WEB, WEB_XML, NOW)
    store.put(Kind.PORT, PORT, PORT_XML, NOW)
    assert not store.sync(NOW - 1, {BLUE: network_xml("blue", 1, "<vlan><tag id='7'/></vlan>")}, {})
    assert said(store).networks[0].vlan is None
    assert len(said(store).nics) == 2


def test_a_listing_that_began_before_a_guest_stopped_does_not_bring_it_back(store: Store) -> None:
    store.put(Kind.DOMAIN, WEB, WEB_XML, NOW)
    store.drop(Kind.DOMAIN, WEB, NOW + 5)
    assert not store.sync(NOW + 4, {}, {WEB: WEB_XML})
    assert said(store).nics == ()
    assert store.sync(NOW + 6, {}, {WEB: WEB_XML})


def test_a_listing_that_began_after_a_hook_spoke_is_believed(store: Store) -> None:
    store.put(Kind.DOMAIN, WEB, WEB_XML, NOW)
    assert store.sync(NOW + 1, {}, {})
    assert said(store).nics == ()


def test_a_listing_tells_the_time_by_the_stores_clock(store: Store) -> None:
    """By another clock a listing is always older than a hook's word, and what libvirt no longer has stays for ever."""
    store.put(Kind.DOMAIN, WEB, WEB_XML)
    listing = read_once("test:///default")
    assert store.sync(listing.began, listing.networks, listing.domains)
    assert store.get(Kind.DOMAIN, WEB) is None


def test_a_listing_drops_announced_nics_whose_guest_is_gone(store: Store) -> None:
    store.put(Kind.PORT, PORT, PORT_XML, NOW)
    store.sync(NOW + 1, {}, {WEB: domain_xml("web", 9)})
    assert store.get(Kind.PORT, PORT)
    assert store.sync(NOW + 2, {}, {})
    assert store.get(Kind.PORT, PORT) is None


# Announced NICs and NICs that were taken out.


def test_an_announced_nic_knows_its_network_and_no_tap(store: Store) -> None:
    store.put(Kind.PORT, PORT, PORT_XML)
    (nic,) = said(store).nics
    assert (nic.network, nic.tap, nic.portid, nic.owner_uuid, nic.iface_id) == ("blue", None, PORT, WEB, uuid_of(1))


def test_an_announced_nic_has_its_guests_word_on_it(store: Store) -> None:
    """What libvirt announces has nothing of vnetd's; the guest's XML has, from before the NIC was plugged in."""
    ours = (
        f"<metadata><v:domain xmlns:v='{DOMAIN_NS}'><v:interface mac='{mac_of(1)}'>"
        "<v:policy guard='strict'/><v:address address='10.0.0.1'/></v:interface></v:domain></metadata>"
    )
    store.put(Kind.PORT, PORT, PORT_XML)
    store.put(Kind.DOMAIN, WEB, domain_xml("web", 9).replace(b"</name>", b"</name>" + ours.encode(), 1))
    (nic,) = said(store).nics
    assert (nic.policy, nic.addresses) == (Policy(Guard.STRICT), (ip_network("10.0.0.1"),))
    store.put(Kind.DOMAIN, WEB, domain_xml("web", 9))
    (nic,) = said(store).nics
    assert (nic.policy, nic.addresses) == (Policy(), ())


def test_a_taps_own_file_speaks_for_itself(store: Store) -> None:
    ours = f"<v:interface xmlns:v='{DOMAIN_NS}'><v:address address='10.0.0.1'/></v:interface>"
    store.put(Kind.TAP, "tap0", f"<interface type='network'><source network='blue'/>{ours}</interface>".encode())
    (nic,) = said(store).nics
    assert nic.addresses == (ip_network("10.0.0.1"),)
    assert said(again(store)).nics == (nic,)


def test_a_guest_that_stops_takes_its_announced_nics_along(store: Store) -> None:
    store.put(Kind.DOMAIN, WEB, domain_xml("web", 9))
    store.put(Kind.PORT, PORT, PORT_XML)
    store.drop(Kind.DOMAIN, WEB)
    assert said(store).nics == ()
    assert files(store) == []


def test_a_nic_that_was_unplugged_is_gone_although_the_guests_old_xml_still_has_it(store: Store) -> None:
    """No qemu hook runs at hotplug, so the XML of the guest's start is all there is until libvirt is listed."""
    store.put(Kind.DOMAIN, WEB, WEB_XML)
    store.drop(Kind.PORT, PORT)
    assert said(store).nics == ()
    assert said(again(store)).nics == ()


def test_a_nic_that_was_unplugged_stays_so_for_as_long_as_the_old_xml_does(store: Store) -> None:
    long_ago = NOW - 10 * FORGET_SECONDS
    store.put(Kind.DOMAIN, WEB, WEB_XML, long_ago)
    store.drop(Kind.PORT, PORT, long_ago)
    store.sync(long_ago, {}, {WEB: WEB_XML})
    assert said(store).nics == ()
    store.drop(Kind.DOMAIN, WEB)
    store.sync(NOW, {}, {})
    assert files(store) == []


# On disk.


def test_the_next_process_knows_the_same(store: Store) -> None:
    store.put(Kind.NETWORK, BLUE, BLUE_XML)
    store.put(Kind.DOMAIN, WEB, WEB_XML)
    store.put(Kind.PORT, PORT, PORT_XML)
    store.put(Kind.TAP, "tap0.1", b"<interface type='network'><source network='blue'/></interface>")
    assert said(again(store)) == said(store)


def test_when_a_thing_was_said_outlives_the_process(store: Store) -> None:
    store.put(Kind.DOMAIN, WEB, WEB_XML)
    spoken = store.root / "domains" / f"{WEB}.xml"
    os.utime(spoken, (NOW, NOW))
    fresh = again(store)
    assert not fresh.sync(NOW - 1, {}, {})
    assert fresh.sync(NOW + 1, {}, {})


def test_what_another_process_has_written_is_taken_over(store: Store) -> None:
    other = again(store)
    store.put(Kind.DOMAIN, WEB, WEB_XML)
    other.refresh()
    assert said(other) == said(store)
    store.drop(Kind.DOMAIN, WEB)
    other.refresh()
    assert said(other).nics == ()


def test_what_was_written_within_one_tick_of_the_clock_is_taken_over_too(store: Store) -> None:
    """Older kernels tell a folder's time in steps of some milliseconds, in which two hooks can speak."""
    store.put(Kind.NETWORK, BLUE, BLUE_XML)
    other = again(store)
    folder = store.root / "networks"
    tick = folder.stat().st_mtime_ns
    store.put(Kind.NETWORK, uuid_of(2), network_xml("red", 2))
    os.utime(folder, ns=(tick, tick))
    other.refresh()
    assert len(said(other).networks) == 2


def test_what_comes_and_goes_leaves_no_file(store: Store) -> None:
    for _ in range(3):
        store.put(Kind.NETWORK, BLUE, BLUE_XML)
        store.put(Kind.DOMAIN, WEB, WEB_XML)
        store.put(Kind.PORT, PORT, PORT_XML)
        store.put(Kind.TAP, "tap0", b"<interface/>")
        store.drop(Kind.TAP, "tap0")
        store.drop(Kind.PORT, PORT)
        store.drop(Kind.DOMAIN, WEB)
        store.drop(Kind.NETWORK, BLUE)
    assert files(store) == []


def test_marks_of_what_is_gone_are_forgotten_in_time(store: Store) -> None:
    store.put(Kind.TAP, "tap0", b"<interface/>")
    store.drop(Kind.TAP, "tap0", NOW - FORGET_SECONDS - 1)
    store.drop(Kind.TAP, "tap1", NOW)
    store.sync(NOW, {}, {})
    assert [key for _, key in store.entries] == ["tap1"]


def test_other_files_in_the_spool_are_no_entries(store: Store) -> None:
    store.put(Kind.DOMAIN, WEB, WEB_XML)
    (store.root / "domains" / f".{WEB}.4711").write_bytes(b"<dom")
    (store.root / "domains" / "README").write_bytes(b"")
    assert len(again(store).entries) == 1


def test_the_spool_is_roots_alone(store: Store) -> None:
    store.put(Kind.DOMAIN, WEB, WEB_XML)
    assert (store.root / "domains").stat().st_mode & 0o077 == 0


def test_a_spool_that_cannot_be_used_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file")
    store = Store(tmp_path / "spool")
    with pytest.raises(WorldError, match="cannot be written"):
        store.put(Kind.DOMAIN, WEB, WEB_XML)
    with pytest.raises(WorldError, match="cannot be read"):
        store.load()


def test_a_tap_with_a_bad_name_is_a_problem_and_no_nic(store: Store) -> None:
    folder = store.root / "taps"
    folder.mkdir(parents=True)
    (folder / "-rf.xml").write_bytes(b"<interface type='network'><source network='blue'/></interface>")
    inventory = said(again(store))
    assert inventory.nics == ()
    assert [problem.name for problem in inventory.problems] == ["-rf"]


def test_an_entry_is_read_once(store: Store) -> None:
    store.put(Kind.PORT, PORT, PORT_XML)
    entry = store.get(Kind.PORT, PORT)
    assert entry is not None
    assert isinstance(entry.value, Nic)
    assert entry.value is entry.value


def test_nothing_is_pruned_while_something_was_never_readable(store: Store) -> None:
    """Its bridge would be nobody's, and its guests would lose it; libvirt has listed all the same."""
    bad = b"<network><name>n</name><metadata><vnet:network xmlns:vnet='urn:vnetd:network:1'><vnet:policy guard='future'/>"
    bad += b"</vnet:network></metadata><forward mode='bridge'/><bridge name='br-n'/><virtualport type='openvswitch'/></network>"
    store.sync(time.time(), {"11111111-1111-4111-8111-111111111111": bad}, {})
    found = store.inventory(complete=True)
    assert [problem.kind for problem in found.problems] == ["network"]
    assert not found.complete
    store.sync(time.time() + 1, {}, {})
    assert store.inventory(complete=True).complete


# Processes that look without the lock.


def test_a_file_that_another_process_removes_meanwhile_is_gone_and_no_fault(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hook reads the spool before it has its turn."""
    for kind, key, text in ((Kind.NETWORK, BLUE, BLUE_XML), (Kind.DOMAIN, WEB, WEB_XML)):
        store.put(kind, key, text)
    read = Path.read_bytes

    def vanishing(path: Path) -> bytes:
        if path.stem == WEB:
            path.unlink()
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", vanishing)
    fresh = again(store)
    assert fresh.get(Kind.DOMAIN, WEB) is None
    assert [network.name for network in fresh.networks()] == ["blue"]


def test_two_processes_may_forget_the_same_mark_at_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put(Kind.DOMAIN, WEB, WEB_XML)
    store.put(Kind.PORT, PORT, PORT_XML)
    store.drop(Kind.PORT, PORT)
    remove = Path.unlink

    def late(path: Path, missing_ok: bool = False) -> None:
        remove(path)
        remove(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", late)
    store.drop(Kind.DOMAIN, WEB)
    assert [name for name in files(store) if "xml" in name] == []


def test_two_processes_may_make_the_spool_at_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    make = Path.mkdir

    def late(path: Path, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        make(path, mode, parents, exist_ok)
        make(path, mode, parents, exist_ok)

    monkeypatch.setattr(Path, "mkdir", late)
    store.load()
    assert {path.name for path in store.root.iterdir()} == {str(kind) for kind in Kind}
