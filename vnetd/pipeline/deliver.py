"""The last steps to a guest: DELIVER to OUTPUT for one frame to one port, FLOOD and COPY for a frame to many.

Strategy: what is given to a guest without its VLAN's tag must not have a second one
behind it, and a strict guest's must not even inside its tag. That shows in the EtherType
of what came from elsewhere, and in FACTS of what a dot1q-tunnel port of this bridge sent.
What was learned of a port before its rules changed is believed for minutes, so its VLANs
and MAC are held against each frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from vnetd.model.network import Guard, VlanMode
from vnetd.model.state import Group, GroupKind, GuestWire, Pool
from vnetd.pipeline.catalogue import AGAIN, APART, Cookie, Fact, Reason, Table
from vnetd.pipeline.flow import PORT_HEX, Flow, goto, has, note, refuse, withhold
from vnetd.pipeline.ingress import FOR_MANY, MULTICAST, NESTED_TYPES, TAGGED_MATCH, UNTAGGED_MATCH, own_addresses, shown
from vnetd.pipeline.limits import copy_to, inbound_flows

ISOLATED = "pkt_mark=0x1"
UNICAST = "dl_dst=00:00:00:00:00:00/01:00:00:00:00:00"


def vlans_of(guest: GuestWire) -> list[int]:
    """The VLANs that a port is in; 0 is untagged."""
    alone = guest.vlan.mode in (VlanMode.ACCESS, VlanMode.DOT1Q_TUNNEL)
    return sorted({*guest.vlan.trunks, *([guest.vlan.tag or 0] if alone else [])})


def inside(vlan: int) -> str:
    """The match on a VLAN; 0 is untagged."""
    return f"dl_vlan={vlan}" if vlan else UNTAGGED_MATCH


def _untagged_in(guest: GuestWire) -> int | None:
    """The VLAN whose frames the port gets without a tag, if any."""
    return (guest.vlan.tag or 0) if guest.vlan.mode in (VlanMode.ACCESS, VlanMode.NATIVE_UNTAGGED) else None


def deliver_shared() -> Iterator[Flow]:
    """The flows from BARE to OUTPUT that are there once, whatever the number of ports."""
    nested = [f"dl_type=0x{ethertype:04x}" for ethertype in NESTED_TYPES]
    for match in (has(Fact.NESTED), *nested):
        yield Flow(Table.BARE, 100, match, withhold(Reason.NESTED_TAG), Cookie.REFUSE)
        yield Flow(Table.COPY, 200, match, "drop", Cookie.FLOOD)
    yield Flow(Table.BARE, 50, has(Fact.TO_STRICT), goto(Table.TOWARD), Cookie.DELIVER)
    yield Flow(Table.BARE, 0, "", goto(Table.TO_POOL), Cookie.DELIVER)
    # Another customer's frame is nobody's fault, and counted for nobody.
    for match in nested:
        yield Flow(Table.CUSTOMER, 200, match, "drop", Cookie.FLOOD)
    # Frames for many are judged here only where their packets could not be seen before: behind a customer's tag.
    for match in FOR_MANY:
        yield Flow(Table.TOWARD, 160, match, goto(Table.TO_POOL), Cookie.TOWARD)
    yield Flow(Table.TOWARD, 150, f"dl_dst={MULTICAST}", "drop", Cookie.FLOOD)
    # A DHCP server may answer to an address that the guest does not have yet (RFC 2131, 4.1).
    for match in ("arp", "rarp", "udp,tp_dst=68", "ip,nw_dst=224.0.0.0/4", "ip,nw_dst=255.255.255.255", "ipv6,ipv6_dst=ff00::/8"):
        yield Flow(Table.TOWARD, 50, match, goto(Table.TO_POOL), Cookie.TOWARD)
    yield Flow(Table.TOWARD, 0, "", withhold(Reason.NOT_ADDRESSED), Cookie.REFUSE)
    yield Flow(Table.OUTPUT, 0, "", "output:NXM_NX_REG1[0..15]", Cookie.DELIVER)


def service_flows() -> Iterator[Flow]:
    """SERVICE and STRIP, where the bridge has dot1q-tunnel ports, and the groups of ``parsing_groups`` with them.

    One flow names each group, and once: Open vSwitch 3.1 dies where a group is deleted that one flow names twice.
    """
    yield Flow(Table.SERVICE, 0, "", f"group:{APART}", Cookie.DELIVER)
    yield Flow(Table.STRIP, 100, TAGGED_MATCH, f"pop_vlan,group:{AGAIN}", Cookie.DELIVER)
    yield Flow(Table.STRIP, 0, "", withhold(Reason.FOREIGN_VLAN), Cookie.REFUSE)


def parsing_groups() -> dict[int, Group]:
    """The groups by which a frame is parsed again, by number."""
    return {AGAIN: Group(GroupKind.SELECT, Table.CUSTOMER), APART: Group(GroupKind.INDIRECT, Table.STRIP)}


def deliver_flows(guest: GuestWire, pools: Sequence[Pool]) -> Iterator[Flow]:
    """What the guest may hear from an isolated port, its VLANs and tag, its MAC, its addresses, its part in shared limits."""
    port, strict = PORT_HEX.format(guest.port), guest.guard is Guard.STRICT
    own = "" if guest.guard is Guard.NONE else f",dl_dst={guest.mac}"
    if guest.isolated:
        yield Flow(Table.DELIVER, 200, f"{ISOLATED},{port}", refuse(Reason.ISOLATED), Cookie.REFUSE)
    for vlan in vlans_of(guest):
        yield Flow(Table.DELIVER, 100, f"{port},{inside(vlan)}{own}", _without_tag(guest, vlan), Cookie.DELIVER)
    if guest.vlan.mode is VlanMode.DOT1Q_TUNNEL:
        yield from _customer_flows(guest, port, goto(Table.TOWARD if strict else Table.TO_POOL))
    yield from inbound_flows(guest, pools)
    if not strict:
        return
    for prefix in own_addresses(guest):
        protocol, name = ("ip", "nw_dst") if prefix.version == 4 else ("ipv6", "ipv6_dst")
        yield Flow(Table.TOWARD, 100, f"{protocol},{port},{name}={shown(prefix)}", goto(Table.TO_POOL), Cookie.TOWARD)


def _without_tag(guest: GuestWire, vlan: int) -> str:
    """How a frame of this VLAN goes on to the port: by BARE, unless it keeps its tag and nobody asks what stands behind it."""
    strict = guest.guard is Guard.STRICT
    if guest.vlan.mode is VlanMode.DOT1Q_TUNNEL:
        return goto(Table.SERVICE)
    bare = vlan == _untagged_in(guest)
    if not bare and not strict:
        return goto(Table.TO_POOL)
    return f"{'pop_vlan,' if bare and vlan else ''}{note(Fact.TO_STRICT) + ',' if strict else ''}{goto(Table.BARE)}"


def _customer_flows(guest: GuestWire, port: str, after: str) -> Iterator[Flow]:
    """CUSTOMER for a dot1q-tunnel port: what shows with the service VLAN's tag off is the customer's."""
    for number in guest.vlan.customers:
        yield Flow(Table.CUSTOMER, 110, f"{port},dl_vlan={number}", after, Cookie.DELIVER)
    if not guest.vlan.customers:
        yield Flow(Table.CUSTOMER, 100, port, after, Cookie.DELIVER)


@dataclass(frozen=True)
class _Audience:
    """The guests of one VLAN that may hear a frame for many, by what they get of its tag."""

    tagged: list[GuestWire] = field(default_factory=list)
    """With the tag, whatever stands behind it."""
    tunnels: list[GuestWire] = field(default_factory=list)
    """Those of a dot1q-tunnel, who get what stands behind it."""
    alone: list[GuestWire] = field(default_factory=list)
    """With the tag, and nothing behind it."""
    bare: list[GuestWire] = field(default_factory=list)

    def add(self, guest: GuestWire, vlan: int) -> None:
        if guest.vlan.mode is VlanMode.DOT1Q_TUNNEL:
            self.tunnels.append(guest)
        elif vlan == _untagged_in(guest):
            self.bare.append(guest)
        else:
            (self.alone if guest.guard is Guard.STRICT else self.tagged).append(guest)

    def only(self, plain: bool, isolated: bool, known: bool = True) -> _Audience:
        """Those who may hear a frame: a ``plain`` one or not, from an ``isolated`` port or not.

        ``known`` is False for a frame to an address that nobody is known for.
        """

        def hears(guest: GuestWire) -> bool:
            guarded = guest.guard is not Guard.NONE
            # What stands behind a customer's tag shows only when it is too late for this list, and TOWARD judges it.
            judged = plain or guest.guard is not Guard.STRICT or guest.vlan.mode is VlanMode.DOT1Q_TUNNEL
            return not (guest.isolated and isolated) and (known or not guarded) and judged

        parts = ([guest for guest in part if hears(guest)] for part in (self.tagged, self.tunnels, self.alone, self.bare))
        return _Audience(*parts)

    @property
    def guests(self) -> list[GuestWire]:
        return [*self.tagged, *self.tunnels, *self.alone, *self.bare]


@dataclass(frozen=True)
class _Kind:
    """Frames for many of one VLAN that the same guests may hear: ``before`` and ``after`` stand around the VLAN in the match."""

    priority: int
    before: str
    after: str
    audience: _Audience

    def match(self, vlan: int) -> str:
        return ",".join(filter(None, [self.before, inside(vlan), self.after]))

    def from_isolated(self) -> _Kind:
        """The same frames from an isolated port."""
        before = ",".join(filter(None, [ISOLATED, self.before]))
        return _Kind(self.priority + 50, before, self.after, self.audience.only(plain=True, isolated=True))


def _audiences(guests: Iterable[GuestWire]) -> dict[int, _Audience]:
    """By VLAN; 0 is untagged. A native VLAN that no list has is the port's all the same."""
    found: dict[int, _Audience] = {}
    for guest in guests:
        native = _untagged_in(guest)
        for vlan in {*vlans_of(guest), *([] if native is None else [native])}:
            found.setdefault(vlan, _Audience()).add(guest, vlan)
    return found


def _kinds(audience: _Audience) -> list[_Kind]:
    """As many as differ: for all, plain ones, for a stranger's address, and each of them from an isolated port."""
    kinds = [_Kind(100, "", "", audience.only(plain=False, isolated=False))]
    if any(guest.guard is Guard.STRICT for guest in audience.guests):
        kinds.append(_Kind(110, has(Fact.PLAIN), "", audience.only(plain=True, isolated=False)))
    kinds.append(_Kind(120, "", UNICAST, audience.only(plain=False, isolated=False, known=False)))
    if any(guest.isolated for guest in audience.guests):
        kinds += [kind.from_isolated() for kind in kinds]
    return kinds


def flood_flows(guests: Sequence[GuestWire], always: Sequence[str], pools: Sequence[Pool]) -> Iterator[Flow]:
    """FLOOD and COPY: for each VLAN and kind of frame a list. ``always`` are the actions for those who hear everything."""
    yield Flow(Table.FLOOD, 0, "", ",".join(always) or "drop", Cookie.FLOOD)
    for vlan, audience in sorted(_audiences(guests).items()):
        for kind in _kinds(audience):
            hearers, match = kind.audience, kind.match(vlan)
            # Open vSwitch 3.1 loses the next frame to be parsed again after one that the tunnel bridge may have to: those come first.
            actions = [f"clone(set_field:<{guest.port}:hex>->reg1,resubmit(,{Table.SERVICE:d}))" for guest in hearers.tunnels]
            actions += [*always, *(copy_to(guest, pools) for guest in hearers.tagged)]
            if hearers.alone or hearers.bare:
                actions.append(f"resubmit(,{Table.COPY:d})")
                copies = [copy_to(guest, pools) for guest in hearers.alone]
                copies += ["pop_vlan"] if vlan and hearers.bare else []
                copies += [copy_to(guest, pools) for guest in hearers.bare]
                yield Flow(Table.COPY, kind.priority, match, ",".join(copies), Cookie.FLOOD)
            yield Flow(Table.FLOOD, kind.priority, match, ",".join(actions) or "drop", Cookie.FLOOD)
