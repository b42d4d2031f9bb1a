"""Which of a running guest's VLANs and limits follow its portgroup: decided once, kept, and the same by whatever source it is told."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from fakes import domain_xml, network_xml, nic_xml, port_xml, uuid_of

from vnetd.model.network import Bandwidth, Nic, Rate, Vlan, VlanMode
from vnetd.policy import bandwidth_of, vlan_of
from vnetd.store import Kind, Store

BLUE, WEB, PORT = uuid_of(1), uuid_of(9), uuid_of(5)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "spool")


def again(store: Store) -> Store:
    """The store of the next process."""
    fresh = Store(store.root)
    fresh.load()
    return fresh


def words(tag: int | None = None, rate: int | None = None) -> str:
    vlan = f"<vlan><tag id='{tag}'/></vlan>" if tag else ""
    return vlan + (f"<bandwidth><inbound average='{rate}'/></bandwidth>" if rate else "")


def group(name: str, inside: str, default: bool = False) -> str:
    return f"<portgroup name='{name}'{' default=' + repr('yes') if default else ''}>{inside}</portgroup>"


def blue(*inside: str) -> bytes:
    return network_xml("blue", 1, "".join(inside))


def web(inside: str, portgroup: str | None = "a", port: str = PORT) -> bytes:
    """The guest as it runs: what libvirt has resolved stands in its NIC."""
    name = f"portgroup='{portgroup}' " if portgroup else ""
    return domain_xml("web", 9, nic_xml(1, "blue", "vnet1", inside, f"{name}portid='{port}'"))


def announced(inside: str, port: int = 5, portgroup: str = "a") -> bytes:
    """libvirt's word of the same NIC."""
    text = port_xml(1, "web", 9, port).replace("<networkport>", "<networkport network='blue'>")
    text = text.replace("<mac", f"<group>{portgroup}</group><mac")
    return text.replace("</networkport>", f"{inside}</networkport>").encode()


def nics(store: Store) -> list[Nic]:
    return list(store.inventory(complete=True).nics)


def effect(store: Store) -> tuple[int | None, int | None]:
    """What the guest gets: its VLAN and its rate."""
    network, nic = store.networks()[0], nics(store)[0]
    found = network.portgroup(nic.portgroup)
    rate = bandwidth_of(nic, found).inbound
    return vlan_of(nic, found, network).tag, rate.average if rate else None


def hear(store: Store, network: bytes, guest: bytes, defined: bytes = b"", *, take: bool = False) -> None:
    """A listing of libvirt's that begins now: after all that the test has said and dropped, however long others took before it."""
    store.sync(time.time(), {BLUE: network}, {WEB: guest}, {BLUE: defined or network}, take=take)


OLD, NEW = blue(group("a", words(10, 100))), blue(group("a", words(11, 500)))


# What follows, and what does not.


def test_what_libvirt_copied_follows_and_what_is_the_nics_own_stays(store: Store) -> None:
    hear(store, OLD, web(words(10, 100)))
    assert effect(store) == (10, 100)
    hear(store, NEW, web(words(10, 100)))
    assert effect(store) == (11, 500)
    hear(store, OLD, web(words(20, 100)))
    hear(store, NEW, web(words(20, 100)))
    assert effect(store) == (20, 500)


@pytest.mark.parametrize(("tune", "rate"), [(words(10, 50), 50), (words(10), None)])
def test_what_is_set_live_is_the_nics_own_even_where_it_is_nothing(store: Store, tune: str, rate: int | None) -> None:
    hear(store, OLD, web(words(10, 100)))
    hear(store, OLD, web(tune))
    assert effect(store) == (10, rate)
    hear(store, NEW, web(tune))
    assert effect(store) == (11, rate)
    assert nics(store)[0].settled == {"bandwidth"}


def test_what_is_set_back_to_the_portgroups_word_follows_again(store: Store) -> None:
    for guest in (web(words(10, 100)), web(words(20, 50)), web(words(10, 100))):
        hear(store, OLD, guest)
    hear(store, NEW, web(words(10, 100)))
    assert effect(store) == (11, 500)


def test_a_portgroup_that_said_nothing_may_say_something_later(store: Store) -> None:
    hear(store, blue(group("a", "")), web(""))
    hear(store, NEW, web(""))
    assert effect(store) == (11, 500)


def test_a_nic_without_a_word_follows_when_it_is_first_seen(store: Store) -> None:
    hear(store, OLD, web(""))
    assert effect(store) == (10, 100)


def test_the_network_and_the_default_portgroup_are_followed_too(store: Store) -> None:
    hear(store, blue(words(7), group("a", words(None, 100), default=True)), web(words(7, 100), None))
    assert nics(store)[0].settled == frozenset()
    hear(store, blue(words(8), group("a", words(None, 200), default=True)), web(words(7, 100), None))
    assert effect(store) == (8, 200)


def test_a_trunk_is_compared_by_what_it_means(store: Store) -> None:
    trunk = "<vlan trunk='yes'><tag id='10' nativeMode='untagged'/><tag id='20'/></vlan>"
    hear(store, blue(group("a", trunk)), web(trunk.replace("<tag", "\n  <tag")))
    hear(store, blue(group("a", trunk.replace("20", "30"))), web(trunk))
    network, nic = store.networks()[0], nics(store)[0]
    assert vlan_of(nic, network.portgroup("a"), network) == Vlan(VlanMode.NATIVE_UNTAGGED, 10, (10, 30))


# A definition that was applied.


def test_a_guest_that_starts_after_an_apply_follows_as_the_others_do(store: Store) -> None:
    """libvirt still gives it what the running definition says."""
    hear(store, OLD, web(words(10, 100)), NEW, take=True)
    assert effect(store) == (11, 500)
    store.drop(Kind.DOMAIN, WEB)
    hear(store, OLD, web(words(10, 100)), NEW)
    assert effect(store) == (11, 500)
    assert again(store).inventory(complete=True) == store.inventory(complete=True)


def test_an_apply_without_a_new_definition_changes_nothing(store: Store) -> None:
    hear(store, OLD, web(words(10, 50)))
    before = store.inventory(complete=True)
    hear(store, OLD, web(words(10, 50)), OLD, take=True)
    assert store.inventory(complete=True) == before


def test_an_apply_takes_a_definition_although_a_hook_has_just_spoken(store: Store) -> None:
    hear(store, OLD, web(words(10, 100)))
    began = time.time()
    store.put_network(BLUE, OLD)
    store.sync(began, {BLUE: blue()}, {WEB: web(words(10, 100))}, {BLUE: NEW}, take=True)
    assert effect(store) == (11, 500)


def test_a_portgroup_in_use_is_kept_and_that_is_said(store: Store) -> None:
    hear(store, OLD, web(words(10, 100)))
    hear(store, OLD, web(words(10, 100)), blue(group("b", words(20))), take=True)
    assert effect(store) == (10, 100)
    (problem,) = store.inventory(complete=True).problems
    assert (problem.kind, problem.name, problem.soft) == ("network", "blue", False)
    assert "no longer has portgroup 'a', in which web run; for them it stays: write <portgroup name='a'> again" in problem.text
    assert store.outgoing("blue") == {"a"}
    store.drop(Kind.DOMAIN, WEB)
    assert store.inventory(complete=True).problems == ()
    hear(store, OLD, domain_xml("web", 9), blue(group("b", words(20))))
    assert [one.name for one in store.networks()[0].portgroups] == ["b"]


def test_a_portgroup_deleted_live_stays_for_those_who_use_it_without_naming_it(store: Store) -> None:
    hear(store, blue(group("a", words(10, 100), default=True)), web(words(10, 100), None))
    hear(store, blue(), web(words(10, 100), None))
    assert effect(store) == (10, 100)


# One decision, whoever tells it, and however often.


@pytest.mark.parametrize("first", ["hook", "listing", "port"])
def test_hooks_and_listings_agree(store: Store, first: str) -> None:
    """Blanks, attributes and the order of sources make no difference."""
    tuned = web(words(10, 50))
    hear(store, OLD, web(words(10, 100)))
    hear(store, OLD, tuned)
    expected = effect(store), nics(store)[0].settled
    if first == "hook":
        store.put(Kind.DOMAIN, WEB, tuned.replace(b"><", b">\n  <"))
    elif first == "port":
        store.put(Kind.PORT, PORT, announced(words(10, 50)))
    hear(store, OLD, tuned)
    assert (effect(store), {nic.settled for nic in nics(store)}) == (expected[0], {expected[1]})


def test_a_restart_changes_nothing(store: Store) -> None:
    """The spool alone, then with the first listing, then with the hooks of a libvirtd that was restarted, too."""
    hear(store, OLD, web(words(10, 100)))
    hear(store, OLD, web(words(10)))
    hear(store, NEW, web(words(10)), OLD)
    before = store.inventory(complete=True)
    fresh = again(store)
    assert fresh.inventory(complete=True) == before
    files = {path: path.read_bytes() for path in store.root.rglob("*.xml")}
    assert not fresh.sync(time.time(), {BLUE: NEW}, {WEB: web(words(10))}, {BLUE: OLD})
    assert fresh.inventory(complete=True) == before
    assert {path: path.read_bytes() for path in store.root.rglob("*.xml")} == files
    fresh.put_network(BLUE, NEW)
    fresh.put(Kind.PORT, PORT, announced(words(10)))
    assert not fresh.put(Kind.DOMAIN, WEB, web(words(10)))
    domains, (port,) = [nic for nic in nics(fresh) if nic.tap], [nic for nic in nics(fresh) if not nic.tap]
    assert tuple(domains) == before.nics
    assert port.settled == domains[0].settled


def test_what_is_known_is_no_news(store: Store) -> None:
    hear(store, OLD, web(words(10, 100)))
    assert not store.put(Kind.DOMAIN, WEB, web(words(10, 100)))
    assert not again(store).put(Kind.DOMAIN, WEB, web(words(10, 100)))
    assert store.put(Kind.DOMAIN, WEB, web(words(10, 50)))


def test_a_guest_that_was_there_before_its_network_was_known_follows_it_as_well(store: Store) -> None:
    store.put(Kind.DOMAIN, WEB, web(words(10, 100)))
    store.put(Kind.PORT, PORT, announced(words(10, 100)))
    store.put(Kind.NETWORK, BLUE, OLD)
    assert not store.put(Kind.DOMAIN, WEB, web(words(10, 100)))
    store.put_network(BLUE, NEW)
    assert effect(store) == (11, 500)
    assert {nic.settled for nic in nics(store)} == {frozenset()}


@pytest.mark.parametrize("restart", [False, True])
def test_a_nic_that_is_listed_while_its_network_is_down_follows_it_when_it_is_back(store: Store, *, restart: bool) -> None:
    """What follows still does, and what is the NIC's own stays so, although nothing is there to be compared with."""
    hear(store, OLD, web(words(10, 50)))
    store.drop(Kind.NETWORK, BLUE)
    if restart:
        store = again(store)
    assert not store.sync(time.time(), {}, {WEB: web(words(10, 50))})
    store.put(Kind.NETWORK, BLUE, NEW)
    assert effect(store) == (11, 50)


def test_a_limit_that_is_set_while_the_network_is_down_is_the_nics_own(store: Store) -> None:
    hear(store, OLD, web(words(10, 100)))
    store.drop(Kind.NETWORK, BLUE)
    assert store.put(Kind.DOMAIN, WEB, web(words(10, 50)))
    store.put(Kind.NETWORK, BLUE, NEW)
    assert effect(store) == (11, 50)


def test_an_unreadable_limit_leaves_the_vlan_with_its_portgroup(store: Store) -> None:
    hear(store, OLD, web(words(10, 50)))
    hear(store, NEW, web(words(10) + "<bandwidth><inbound average='100' peak='50'/></bandwidth>"))
    hear(store, NEW, web(words(10, 50)))
    assert effect(store) == (11, 50)


def test_an_unreadable_word_leaves_the_nic_as_it_was(store: Store) -> None:
    hear(store, OLD, web(words(10, 50)))
    before = nics(store)
    hear(store, OLD, web("<bandwidth><inbound average='100' peak='50'/></bandwidth>"))
    assert nics(store) == before


# update-device gives a NIC another libvirt port.


def test_an_updated_device_has_its_new_word_from_the_moment_its_old_port_goes(store: Store) -> None:
    """No qemu hook runs then; what libvirt's announcement does not say (its tap, its MTU) is as it was."""
    guest = web(words(10, 100) + "<mtu size='9000'/>")
    hear(store, OLD, guest)
    (before,) = nics(store)
    store.put(Kind.PORT, uuid_of(6), announced(words(20, 100), 6))
    assert nics(store)[0] == before, "libvirt may still find that it cannot do it"
    store.drop(Kind.PORT, PORT)
    mine = [nic for nic in nics(store) if nic.tap]
    assert [(nic.vlan, nic.bandwidth, nic.settled, nic.mtu, nic.portid) for nic in mine] == [
        (Vlan(VlanMode.ACCESS, 20), Bandwidth(), {"vlan"}, 9000, uuid_of(6))
    ]
    hear(store, OLD, web(words(20, 100) + "<mtu size='9000'/>", port=uuid_of(6)))
    assert [nic for nic in nics(store) if nic.tap] == mine


TWO = blue(group("a", words(10, 100)), group("b", words(20, 200)))


@pytest.mark.parametrize("gone_first", [False, True], ids=["updated", "plugged anew"])
@pytest.mark.parametrize(
    ("said", "wanted"),
    [(words(10, 100), (10, 100)), (words(20, 100), (20, 100)), (words(10, 200), (10, 200)), (words(30, 7), (30, 7))],
)
def test_what_a_nic_took_from_its_old_portgroup_is_its_own_in_the_new_one(
    store: Store, said: str, wanted: tuple[int, int], *, gone_first: bool
) -> None:
    """Whoever moves a NIC and names the VLAN that it had wants that one."""
    hear(store, TWO, web(words(10, 100)))
    store.put(Kind.PORT, PORT, announced(words(10, 100)))
    if gone_first:
        store.drop(Kind.PORT, PORT)
    store.put(Kind.PORT, uuid_of(6), announced(said, 6, "b"))
    store.drop(Kind.PORT, PORT)
    assert effect(store) == wanted
    assert effect(again(store)) == wanted
    hear(store, TWO, web(said, "b", uuid_of(6)))
    assert effect(store) == wanted


def test_a_nic_that_is_moved_without_a_word_of_its_own_follows_the_new_portgroup(store: Store) -> None:
    hear(store, TWO, web(words(10, 50)))
    hear(store, TWO, web(words(20, 200), "b", uuid_of(6)))
    hear(store, blue(group("a", words(10, 100)), group("b", words(21, 300))), web(words(20, 200), "b", uuid_of(6)))
    assert effect(store) == (21, 300)


def test_a_nic_that_is_plugged_anew_is_a_new_one(store: Store) -> None:
    """Its MAC and portgroup are those of the one before, whose XML is still there, and the VLAN it names is its own now."""
    hear(store, OLD, web(words(10, 100)))
    hear(store, NEW, web(words(10, 100)))
    assert effect(store) == (11, 500)
    store.drop(Kind.PORT, PORT)
    store.put(Kind.PORT, uuid_of(6), announced(words(10, 500), 6))
    assert effect(store) == (10, 500)
    hear(store, NEW, web(words(10, 500), port=uuid_of(6)))
    assert effect(store) == (10, 500)


def test_an_update_that_libvirt_refuses_changes_nothing(store: Store) -> None:
    hear(store, OLD, web(words(10, 100)))
    before = nics(store)
    store.put(Kind.PORT, uuid_of(6), announced(words(20), 6))
    store.drop(Kind.PORT, uuid_of(6))
    assert nics(store) == before


def test_a_hotplugged_nics_decision_is_that_of_its_announcement(store: Store) -> None:
    """Its portgroup may have changed before the guest's XML has it."""
    hear(store, OLD, domain_xml("web", 9))
    store.put(Kind.PORT, PORT, announced(words(10, 100)))
    hear(store, NEW, domain_xml("web", 9))
    hear(store, NEW, web(words(10, 100)))
    assert effect(store) == (11, 500)


# What has no portgroup of libvirt's to follow.


def test_nics_of_no_network_and_taps_with_their_own_file_are_left_alone(store: Store) -> None:
    store.put(Kind.NETWORK, BLUE, OLD)
    bridge = "<interface type='bridge'><mac address='52:54:00:00:00:02'/><source bridge='br-blue'/><target dev='vnet2'/></interface>"
    text = domain_xml("web", 9, bridge, nic_xml(3, "other", "vnet3", words(30, 7)))
    store.put(Kind.DOMAIN, WEB, text)
    store.put(Kind.TAP, "tap0", f"<interface><source network='blue' portgroup='a'/>{words(30)}</interface>".encode())
    entry = store.get(Kind.DOMAIN, WEB)
    assert entry is not None
    assert entry.data == text
    assert {nic.settled for nic in nics(store)} == {frozenset()}
    assert nics(store)[1].bandwidth == Bandwidth(Rate(7))
