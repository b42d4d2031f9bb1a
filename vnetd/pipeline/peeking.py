"""What stands behind a frame's first tag, where Open vSwitch looks at more than one: PRIORITY, PEEKED, and those who ask.

Strategy: with another vlan-limit than 1, Open vSwitch's cache takes a frame with two tags for one with the
first alone, and what a flow says of the second is lost. So the first tag is taken off as soon
as the frame comes in, and the frame is parsed again; PEEKED sees what stands there now, puts the tag on
again, and leaves the answer in TAG. All checks that look for a tag's EtherType elsewhere ask TAG as well.

A frame is parsed again once: it has its hash then, and no other group of one bucket sends it through the data plane any
more. So what an uplink brings is not looked at behind a customer's tag, and br-tun does not count what is too large.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from vnetd.model.network import Guard, VlanMode
from vnetd.model.state import Group, GroupKind, NetworkWiring
from vnetd.pipeline.catalogue import PEEK, Cookie, Reason, Table
from vnetd.pipeline.flow import LOCAL, Flow, goto, refuse, withhold
from vnetd.pipeline.ingress import TAGGED_MATCH

TWO_TAGS = "reg4=0x10000/0x10000"
"""Bit 16 of TAG: another tag stands behind the frame's first one."""

_PRIORITY_TAG = "reg4=0/0xfff"
_LOOK = f"move:NXM_OF_VLAN_TCI[]->NXM_NX_REG4[0..15],pop_vlan,group:{PEEK}"
_BACK = "push_vlan:0x8100,move:NXM_NX_REG4[0..15]->NXM_OF_VLAN_TCI[]"
"""OpenFlow has no field for a tag's type: one of 0x88a8 becomes one of 0x8100."""


def peeking_groups() -> dict[int, Group]:
    """The group that PRIORITY names, by its number."""
    return {PEEK: Group(GroupKind.SELECT, Table.PEEKED)}


def peeking_flows(wiring: NetworkWiring, live: Collection[str]) -> Iterator[Flow]:
    """All that such a bridge has besides, and what stands in PRIORITY there."""
    yield from _look_flows()
    yield from _way_flows(wiring, live)
    yield from _check_flows()
    if wiring.host:
        yield Flow(Table.HOST, 50, TWO_TAGS, refuse(Reason.HOST), Cookie.REFUSE)
    yield from _customer_flows(wiring, live)


def _look_flows() -> Iterator[Flow]:
    onward = goto(Table.GUARD)
    yield Flow(Table.PRIORITY, 100, TAGGED_MATCH, _LOOK, Cookie.GUARD)
    yield Flow(Table.PRIORITY, 0, "", onward, Cookie.GUARD)
    yield Flow(Table.PEEKED, 200, f"{_PRIORITY_TAG},{TAGGED_MATCH}", refuse(Reason.NESTED_TAG), Cookie.REFUSE)
    yield Flow(Table.PEEKED, 190, _PRIORITY_TAG, onward, Cookie.GUARD)
    yield Flow(Table.PEEKED, 100, TAGGED_MATCH, f"load:0x1->NXM_NX_REG4[16],{_BACK},{onward}", Cookie.GUARD)
    yield Flow(Table.PEEKED, 0, "", f"{_BACK},{onward}", Cookie.GUARD)


def _way_flows(wiring: NetworkWiring, live: Collection[str]) -> Iterator[Flow]:
    """What uplinks, patches and the host send goes through PRIORITY as well, and from GUARD to LEARN as ever."""
    carriers = [name for name in (*wiring.uplinks, *wiring.joints, *wiring.patches) if name in live]
    ports = [f"<{name}>" for name in carriers]
    if wiring.host or any(name in live for name in wiring.uplinks):
        ports.append(LOCAL)
    for port in ports:
        yield Flow(Table.GUARD, 100, f"in_port={port}", goto(Table.LEARN), Cookie.GUARD)


def _check_flows() -> Iterator[Flow]:
    """Wherever a tag's EtherType behind the first tag means something without this."""
    yield Flow(Table.NESTED, 100, TWO_TAGS, refuse(Reason.NESTED_TAG), Cookie.REFUSE)
    yield Flow(Table.TYPE, 200, TWO_TAGS, refuse(Reason.NESTED_TAG), Cookie.REFUSE)
    yield Flow(Table.KIND, 150, TWO_TAGS, goto(Table.LEARN), Cookie.LIMIT)
    yield Flow(Table.CAST, 150, TWO_TAGS, goto(Table.FLOOD), Cookie.FLOOD)
    yield Flow(Table.BARE, 100, TWO_TAGS, withhold(Reason.NESTED_TAG), Cookie.REFUSE)
    yield Flow(Table.COPY, 200, TWO_TAGS, "drop", Cookie.FLOOD)


def _customer_flows(wiring: NetworkWiring, live: Collection[str]) -> Iterator[Flow]:
    """A dot1q-tunnel port's frame with a tag behind its customer's, which must not get a third one first."""
    for guest in wiring.guests:
        known = guest.mac is not None or guest.guard is Guard.NONE
        if guest.vlan.mode is VlanMode.DOT1Q_TUNNEL and known and guest.port in live:
            yield Flow(Table.VLAN, 120, f"{TWO_TAGS},in_port=<{guest.port}>", refuse(Reason.NESTED_TAG), Cookie.REFUSE)
