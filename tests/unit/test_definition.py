"""What is in force of a network: vnetd's element at once, libvirt's own when somebody says so, and nobody cut off by a slip."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vnetd.errors import InputError
from vnetd.model.network import Network, Vlan, VlanMode
from vnetd.xmlread import as_running, groups_of, in_force, read_network

NETWORK = """<network{uses}><name>n</name><uuid>11111111-1111-4111-8111-111111111111</uuid><metadata>{ours}
    <x:other xmlns:x='urn:x'>kept</x:other></metadata><forward mode='bridge'/><bridge name='{bridge}'/><virtualport type='openvswitch'/>
  {ports}</network>"""
OURS = "<vnet:network xmlns:vnet='urn:vnetd:network:1'><vnet:policy guard='{}'/>{}</vnet:network>"


def group(name: str, tag: int, more: str = "", default: bool = False) -> str:
    return f"<portgroup name='{name}'{' default=' + repr('yes') if default else ''}>\n  <vlan><tag id='{tag}'/></vlan>{more}</portgroup>\n"


def text(*ports: str, guard: str | None = "mac", bridge: str = "br-n", rules: str = "", uses: int = 0) -> bytes:
    ours = OURS.format(guard, rules) if guard else ""
    count = f" connections='{uses}'" if uses else ""
    return NETWORK.format(ours=ours, bridge=bridge, ports="".join(ports), uses=count).encode()


def tags(data: bytes) -> dict[str, int | None]:
    """The VLAN of each portgroup in force."""
    return {one.name: one.vlan.tag if one.vlan else None for one in read_network(data).portgroups}


V1, V2, V3 = text(group("a", 10)), text(group("a", 11)), text(group("a", 12))


# vnetd's own element.


def test_vnetds_element_is_the_defined_one_and_all_else_is_as_it_runs() -> None:
    merged = in_force(V1, defined=text(group("a", 20), guard="strict", bridge="br-other"))
    network = read_network(merged)
    assert (network.policy.guard, network.bridge, tags(merged)) == ("strict", "br-n", {"a": 10})
    assert b"kept" in merged


def test_what_is_the_same_stays_to_the_letter() -> None:
    """The store compares texts, so that one network in two spellings would be news for ever."""
    assert in_force(V1, V1, V1) is V1
    assert in_force(V1, defined=text(group("a", 10), bridge="br-other")) is V1
    assert in_force(V1, V1, V2) is V1


def test_how_many_guests_use_it_is_no_news() -> None:
    assert in_force(text(group("a", 10), uses=3)) == in_force(text(group("a", 10), uses=4))


def test_a_network_that_no_longer_is_vnetds_stays_so_until_it_is_stopped() -> None:
    assert in_force(V1, V1, text(group("a", 10), guard=None)) == V1
    assert in_force(text(guard=None), defined=text()) == text(guard=None)


@pytest.mark.parametrize("bad", [b"<network>", b"", b"<domain/>", b"\xff"])
def test_a_text_that_cannot_be_read_changes_nothing(bad: bytes) -> None:
    assert in_force(V1, V1, bad, take=True) == V1
    assert in_force(V1, bad, bad, take=True) == V1
    assert in_force(bad, V1, V2, take=True) == bad


# libvirt's own elements.


def test_a_definition_is_taken_only_when_somebody_says_so() -> None:
    listed = in_force(V1, V1, V2)
    assert tags(listed) == {"a": 10}
    assert tags(in_force(V1, listed, V2, take=True)) == {"a": 11}


def test_what_was_taken_stays_whatever_hooks_and_listings_show() -> None:
    taken = in_force(V1, V1, V2, take=True)
    for defined in (b"", V2, V3):
        assert in_force(V1, taken, defined) == taken
    assert in_force(V1, taken, V2, take=True) == taken


def test_what_the_running_definition_says_is_kept_beside_it() -> None:
    taken = in_force(V1, V1, V2, take=True)
    now, running = groups_of(taken)
    assert now.of("a")["vlan"] == Vlan(VlanMode.ACCESS, 11)
    assert running.of("a")["vlan"] == Vlan(VlanMode.ACCESS, 10)
    assert tags(as_running(taken)) == {"a": 10}


def test_a_running_definition_that_changes_is_newer_than_what_was_taken() -> None:
    taken = in_force(V1, V1, V2, take=True)
    updated = in_force(V3, taken)
    assert tags(updated) == {"a": 12}
    assert in_force(V3, updated, V2) == updated
    restarted = in_force(V2)
    assert in_force(V2, taken) == restarted == V2


def test_what_was_updated_live_alone_is_not_undone_by_an_apply_for_something_else() -> None:
    """``virsh net-update --live`` leaves the definition as it was, and so does this apply."""
    updated = in_force(V2, V1)
    assert tags(updated) == {"a": 11}
    applied = in_force(V2, updated, V1, take=True)
    assert applied == updated
    assert tags(in_force(V2, applied, V3, take=True)) == {"a": 12}


def test_one_that_was_updated_live_leaves_another_that_was_applied() -> None:
    before, newest = text(group("a", 10), group("b", 20)), text(group("a", 11), group("b", 21))
    taken = in_force(before, before, newest, take=True)
    updated = in_force(text(group("a", 99), group("b", 20)), taken)
    assert tags(updated) == {"a": 99, "b": 21}


def test_a_definition_can_be_taken_back() -> None:
    taken = in_force(V1, V1, V2, take=True)
    assert in_force(V1, taken, V1, take=True) == V1


def test_a_new_portgroup_and_one_that_nobody_uses_come_and_go() -> None:
    newest = text(group("b", 20), "<vlan><tag id='7'/></vlan>")
    taken = in_force(V1, V1, newest, take=True)
    assert tags(taken) == {"b": 20}
    assert read_network(taken).vlan == Vlan(VlanMode.ACCESS, 7)
    assert in_force(V1, taken, V1, take=True) == V1


def test_vnetds_rules_for_a_portgroup_that_was_not_taken_yet_wait_for_it() -> None:
    newest = text(group("a", 10), group("b", 20), rules="<vnet:portgroup name='b'><vnet:policy guard='strict'/></vnet:portgroup>")
    taken = in_force(V1, in_force(V1, V1, newest), newest, take=True)
    found = read_network(taken).portgroup("b")
    assert found is not None
    assert found.policy.guard == "strict"


def rules(name: str, guard: str = "strict") -> str:
    return f"<vnet:portgroup name='{name}'><vnet:policy guard='{guard}'/></vnet:portgroup>"


def guards(data: bytes) -> dict[str, str | None]:
    """The guard of each portgroup in force, and the network's own under an empty name."""
    network = read_network(data)
    return {"": network.policy.guard, **{one.name: one.policy.guard for one in network.portgroups}}


def test_a_new_portgroup_and_vnetds_rules_for_it_come_together_and_all_else_at_once() -> None:
    newest = text(group("a", 10), group("b", 20), guard="none", rules=rules("a") + rules("b"))
    listed = in_force(V1, V1, newest)
    assert guards(listed) == {"": "none", "a": "strict"}
    assert guards(in_force(V1, defined=newest)) == guards(listed), "at first sight, too"
    assert in_force(V1, listed, newest) == in_force(V1, listed, listed) == listed
    assert guards(in_force(V1, listed, newest, take=True)) == {"": "none", "a": "strict", "b": "strict"}
    assert guards(in_force(newest, listed, newest)) == {"": "none", "a": "strict", "b": "strict"}


def test_a_portgroup_that_goes_keeps_its_rules_until_it_does() -> None:
    """Its guests would be guarded less for as long."""
    old, newest = text(group("a", 10), group("b", 20), rules=rules("a") + rules("b")), text(group("b", 20), rules=rules("b"))
    listed = in_force(old, old, newest)
    assert guards(listed) == {"": "mac", "a": "strict", "b": "strict"}
    assert in_force(old, listed, newest) == in_force(old, listed, listed) == listed
    assert guards(in_force(old, listed, newest, take=True)) == {"": "mac", "b": "strict"}
    assert guards(in_force(newest, listed)) == {"": "mac", "b": "strict"}


def test_rules_wait_for_a_portgroup_that_changes_and_not_for_one_that_stays() -> None:
    old = text(group("a", 10), group("b", 20), rules=rules("a", "none") + rules("b", "none"))
    newest = text(group("a", 11), group("b", 20), rules=rules("a") + rules("b"))
    assert guards(in_force(old, old, newest)) == {"": "mac", "a": "none", "b": "strict"}
    assert guards(in_force(old, in_force(old, old, newest), newest, take=True)) == {"": "mac", "a": "strict", "b": "strict"}
    without = text(group("a", 11), group("b", 20))
    assert guards(in_force(old, old, without)) == {"": "mac", "a": "none", "b": None}
    updated = in_force(text(group("a", 99), group("b", 20)), old, old)
    again = text(group("a", 10), group("b", 20), rules=rules("a") + rules("b"))
    assert guards(in_force(text(group("a", 99), group("b", 20)), updated, again)) == {"": "mac", "a": "strict", "b": "strict"}


def test_rules_for_a_portgroup_that_runs_no_longer_are_none() -> None:
    """``virsh net-update --live`` takes it away, and the definition has it still."""
    defined = text(group("a", 10), group("b", 20), rules=rules("b"))
    gone = in_force(V1, in_force(defined), defined)
    assert guards(gone) == {"": "mac", "a": None}
    assert in_force(V1, gone, defined) == in_force(V1, gone, gone) == gone
    assert guards(in_force(defined, gone, defined)) == {"": "mac", "a": None, "b": "strict"}


def test_a_network_that_no_longer_is_vnetds_keeps_the_rules_of_portgroups_that_run() -> None:
    old, no_more = text(group("a", 10), group("b", 20), rules=rules("a") + rules("b")), text(group("a", 10), guard=None)
    assert guards(in_force(old, old, no_more)) == {"": "mac", "a": "strict", "b": "strict"}
    live = text(group("a", 10), rules=rules("a") + rules("b"))
    gone = in_force(live, old, no_more)
    assert guards(gone) == {"": "mac", "a": "strict"}
    assert in_force(live, gone, no_more) == in_force(live, gone, gone) == gone


def test_rules_for_a_portgroup_that_no_definition_has_are_a_mistake_at_once() -> None:
    for take in (False, True):
        mistaken = in_force(V1, V1, text(group("a", 10), rules=rules("x")), take=take)
        with pytest.raises(InputError, match="has a <vnet:portgroup name='x'> but the network has no <portgroup> of that name"):
            read_network(mistaken)
        with pytest.raises(InputError, match="name='x'"):
            read_network(in_force(V1, V1, mistaken))


# A portgroup that is still used.

RULES = "<vnet:portgroup name='a'><vnet:policy guard='strict'/></vnet:portgroup>"


def a_and_its_rules(data: bytes) -> tuple[Network, frozenset[str]]:
    return read_network(data), groups_of(data)[0].outgoing


@pytest.mark.parametrize("live", [True, False])
def test_a_portgroup_in_use_stays_with_vnetds_rules_when_it_is_defined_no_longer(live: bool) -> None:
    old, newest = text(group("a", 10), rules=RULES), text(group("b", 20))
    gone = in_force(newest, old, newest, used=["a"]) if live else in_force(old, old, newest, take=True, used=["a"])
    network, outgoing = a_and_its_rules(gone)
    found = network.portgroup("a")
    assert found is not None
    assert (found.vlan, found.policy.guard, outgoing) == (Vlan(VlanMode.ACCESS, 10), "strict", {"a"})
    running = newest if live else old
    assert in_force(running, gone, newest, used=["a"]) == gone
    assert in_force(running, gone, gone, used=["a"]) == gone
    left, outgoing = a_and_its_rules(in_force(running, gone, newest))
    assert (left.portgroup("a"), outgoing) == (None, frozenset())
    back = in_force(running, gone, text(group("a", 30), group("b", 20), rules=RULES), take=True, used=["a"])
    network, outgoing = a_and_its_rules(back)
    assert (tags(back)["a"], outgoing) == (30, frozenset())


def test_a_default_that_goes_gives_way_to_a_new_one() -> None:
    old = text(group("a", 10, default=True))
    gone = in_force(old, old, text(group("b", 20, default=True)), take=True, used=["a"])
    default = read_network(gone).portgroup(None)
    assert default is not None
    assert default.name == "b"
    alone = read_network(in_force(old, old, text(group("b", 20)), take=True, used=["a"])).portgroup(None)
    assert alone is not None
    assert alone.name == "a"


def test_two_definitions_never_make_two_defaults() -> None:
    old = text(group("a", 10, default=True), group("b", 20))
    taken = in_force(old, old, text(group("a", 10), group("b", 20, default=True)), take=True)
    updated = in_force(text(group("a", 11, default=True), group("b", 20)), taken)
    default = read_network(updated).portgroup(None)
    assert default is not None
    assert (default.name, tags(updated)) == ("a", {"a": 11, "b": 20})


# Whatever happens in whatever order.


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6), st.booleans(), st.booleans()), max_size=6))
def test_hearing_the_same_again_changes_nothing(steps: list[tuple[int, int, bool, bool]]) -> None:
    texts = [V1, V2, text(group("a", 10, default=True), group("b", 20), rules=rules("b")), text(group("b", 21, default=True))]
    texts += [text(group("a", 10), group("b", 20), rules=rules("a", "none") + rules("b", "none")), text(group("a", 11), rules=rules("a"))]
    texts.append(text(group("a", 10), guard=None))
    force = in_force(V1)
    for running, defined, take, used in steps:
        groups = ["a", "b"] if used else []
        force = in_force(texts[running], force, texts[defined], take=take, used=groups)
        read_network(force)
        assert in_force(texts[running], force, texts[defined], take=take, used=groups) == force
        assert in_force(texts[running], force, force, used=groups) == force, "a hook hears no definition"
        assert as_running(in_force(as_running(force), force, used=groups)) == as_running(force)


def test_the_order_of_portgroups_says_nothing() -> None:
    groups = [group("a", 10), group("b", 20), group("c", 30)]
    for order in permutations(groups):
        assert tags(in_force(text(*groups), text(*groups), text(*order), take=True)) == {"a": 10, "b": 20, "c": 30}
