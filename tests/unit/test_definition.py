"""vnetd's element as it is defined now, in the network as it runs."""

from __future__ import annotations

from vnetd.xmlread import read_network, with_definition

NETWORK = """<network><name>n</name><uuid>11111111-1111-4111-8111-111111111111</uuid><metadata>{}
    <x:other xmlns:x='urn:x'>kept</x:other></metadata><forward mode='bridge'/><bridge name='{}'/><virtualport type='openvswitch'/>
  <portgroup name='a'><vlan><tag id='{}'/></vlan></portgroup></network>"""
OURS = "<vnet:network xmlns:vnet='urn:vnetd:network:1'><vnet:policy guard='{}'/></vnet:network>"


def text(guard: str | None, bridge: str = "br-n", vlan: int = 10) -> bytes:
    return NETWORK.format(OURS.format(guard) if guard else "", bridge, vlan).encode()


def test_vnetds_element_is_the_defined_one_and_all_else_is_as_it_runs() -> None:
    merged = with_definition(text("mac"), text("strict", "br-other", 20))
    network = read_network(merged)
    assert (network.policy.guard, network.bridge) == ("strict", "br-n")
    assert network.portgroups[0].vlan is not None
    assert network.portgroups[0].vlan.tag == 10
    assert b"kept" in merged


def test_what_is_the_same_stays_to_the_letter() -> None:
    """The store compares texts, so that one network in two spellings would be news for ever."""
    running = text("mac")
    assert with_definition(running, running) is running
    assert with_definition(running, text("mac", "br-other")) is running


def test_a_network_that_no_longer_is_vnetds_stays_so_until_it_is_stopped() -> None:
    assert with_definition(text("mac"), text(None)) == text("mac")
    assert with_definition(text(None), text("mac")) == text(None)


def test_a_definition_that_cannot_be_read_changes_nothing() -> None:
    assert with_definition(text("mac"), b"<network>") == text("mac")
    assert with_definition(b"", text("mac")) == b""


def test_merging_again_changes_nothing() -> None:
    """A hook shows the old definition again and again, and the store's text is the merged one."""
    once = with_definition(text("mac"), text("strict"))
    assert with_definition(text("mac"), once) == once
