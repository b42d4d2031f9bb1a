"""ANSWER and REPLY: what a guest asks everybody about a bound address is answered on its own host.

Strategy: ANSWER has one flow for each binding, which only says whose MAC it is; REPLY turns
the frame around, with one flow for ARP and one for neighbour discovery. Only requests for many
get here. One to a single guest goes there, so that a guest that is no more is found out.

No link-local address is answered: the switch does not know who is a router, and an answer that
says "no router" would take a guest's default route from it (RFC 4861, 7.2.5).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from ipaddress import IPv4Address

from vnetd.model.names import IpAddress
from vnetd.model.network import Guard, VlanMode
from vnetd.model.state import Answer, GuestWire, NetworkWiring
from vnetd.pipeline.catalogue import Cookie, Fact, Reason, Table
from vnetd.pipeline.deliver import ISOLATED, inside
from vnetd.pipeline.flow import Flow, goto, has, refuse
from vnetd.pipeline.ingress import BROADCAST, SOLICITED_NODE, own_addresses, shown_address

_SOLICITATION = "icmp_type=135,icmp_code=0"
_ADVERTISEMENT = "icmp_type=136,icmp_code=0"
_FROM_GUEST = has(Fact.NEIGHBOUR)
"""Nobody else's frames go through NEIGHBOUR."""

_SOLICITED = f"dl_dst=33:33:00:00:00:00/ff:ff:00:00:00:00,ipv6_dst={SOLICITED_NODE},nw_ttl=255,nw_frag=no"

_SWAP_MACS = "push:NXM_OF_ETH_SRC[],move:NXM_OF_ETH_DST[]->NXM_OF_ETH_SRC[],pop:NXM_OF_ETH_DST[]"
_TO_ASKER = f"move:NXM_OF_IN_PORT[]->NXM_NX_REG1[0..15],load:0->NXM_OF_IN_PORT[],resubmit(,{Table.DELIVER:d})"
"""Open vSwitch outputs nothing to the port that it came from, so it must have come from none."""


def answer_flows(wiring: NetworkWiring, live: Collection[str]) -> Iterator[Flow]:
    """DELIVER's way to ANSWER, ANSWER and REPLY; none of them where nothing is to be answered."""
    if not wiring.answers:
        return
    ask = goto(Table.ANSWER)
    yield Flow(Table.DELIVER, 10, f"arp,{_FROM_GUEST},dl_dst={BROADCAST},arp_op=1", ask, Cookie.ANSWER)
    yield Flow(Table.DELIVER, 10, f"icmp6,{_FROM_GUEST},{_SOLICITED},{_SOLICITATION}", ask, Cookie.ANSWER)
    answered = {one.address for one in wiring.answers}
    yield from _unanswered(wiring)
    for guest in wiring.guests:
        if guest.port in live:
            yield from _own_flows(guest, answered)
    yield from _bound_flows(wiring.answers)
    yield from _reply_flows()


def _unanswered(wiring: NetworkWiring) -> Iterator[Flow]:
    on = goto(Table.LIMIT)
    yield Flow(Table.ANSWER, 0, "", on, Cookie.ANSWER)
    if wiring.isolating:
        # Whether the binding's guest is isolated, too, is known on its own host only.
        yield Flow(Table.ANSWER, 300, ISOLATED, on, Cookie.ANSWER)
    # Duplicate address detection asks whether anybody else has the address, and must not hear of the asker itself.
    yield Flow(Table.ANSWER, 300, "icmp6,ipv6_src=::", on, Cookie.ANSWER)
    # The answer's option is made of the question's; RFC 4861, 4.3, wants one in a question to many.
    yield Flow(Table.ANSWER, 300, f"icmp6,{_SOLICITATION},nd_sll=00:00:00:00:00:00", on, Cookie.ANSWER)


def _own_flows(guest: GuestWire, answered: Collection[IpAddress]) -> Iterator[Flow]:
    """A guest announces its own address and asks whether it is in use (RFC 5227): both are for the others."""
    port = f"in_port=<{guest.port}>"
    if guest.guard is Guard.NONE or guest.vlan.mode is VlanMode.DOT1Q_TUNNEL:
        # Many may be behind such a port, and nobody knows whose addresses; a customer's are the customer's own.
        yield Flow(Table.ANSWER, 300, port, goto(Table.LIMIT), Cookie.ANSWER)
        return
    for prefix in own_addresses(guest):
        if prefix.num_addresses == 1 and prefix.network_address in answered:
            asked = _asked(prefix.network_address, port)
            yield Flow(Table.ANSWER, 200, asked, goto(Table.LIMIT), Cookie.ANSWER)


def _asked(address: IpAddress, where: str) -> str:
    """The match on a question about an address, with a match on ``where`` it is asked, if any."""
    where = f"{where}," if where else ""
    if isinstance(address, IPv4Address):
        return f"arp,{where}arp_tpa={address}"
    return f"icmp6,{where}{_SOLICITATION},nd_target={shown_address(address)}"


def _bound_flows(answers: Iterable[Answer]) -> Iterator[Flow]:
    """One flow for each binding: its MAC becomes the destination, and PORT something else than 0 if there is an answer."""
    reply = goto(Table.REPLY)
    for one in answers:
        turn = "" if isinstance(one.address, IPv4Address) else "set_field:136->icmpv6_type,"
        owner = f"set_field:{one.mac}->eth_dst"
        if one.vlan is not None:
            actions = f"{owner},move:NXM_OF_IN_PORT[]->NXM_NX_REG1[0..15],{turn}{reply}"
            yield Flow(Table.ANSWER, 110, _asked(one.address, inside(one.vlan)), actions, Cookie.ANSWER)
        else:
            actions = f"push:NXM_OF_ETH_DST[],{owner},resubmit(,{Table.LOOKUP:d}),{turn}{reply}"
            yield Flow(Table.ANSWER, 100, _asked(one.address, ""), actions, Cookie.ANSWER)


def _reply_flows() -> Iterator[Flow]:
    yield Flow(Table.REPLY, 0, "", refuse(Reason.UNWIRED), Cookie.REFUSE)
    flood = f"resubmit(,{Table.LIMIT:d})"
    yield Flow(Table.REPLY, 200, "arp,reg1=0", f"pop:NXM_OF_ETH_DST[],{flood}", Cookie.ANSWER)
    unknown = f"pop:NXM_OF_ETH_DST[],set_field:135->icmpv6_type,{flood}"
    yield Flow(Table.REPLY, 200, f"icmp6,reg1=0,{_ADVERTISEMENT}", unknown, Cookie.ANSWER)
    arp = (
        f"{_SWAP_MACS},move:NXM_NX_ARP_SHA[]->NXM_NX_ARP_THA[],move:NXM_OF_ETH_SRC[]->NXM_NX_ARP_SHA[],"
        "push:NXM_OF_ARP_SPA[],move:NXM_OF_ARP_TPA[]->NXM_OF_ARP_SPA[],pop:NXM_OF_ARP_TPA[],set_field:2->arp_op"
    )
    yield Flow(Table.REPLY, 100, "arp", f"{arp},{_TO_ASKER}", Cookie.ANSWER)
    # Solicited, and overriding what the guest knew (RFC 4861, 4.4); the option becomes that of the target's address.
    # Open vSwitch does not let set_field write these two where the kernel forwards, and does it itself where they are moved.
    nd = (
        f"{_SWAP_MACS},move:NXM_NX_IPV6_SRC[]->NXM_NX_IPV6_DST[],move:NXM_NX_ND_TARGET[]->NXM_NX_IPV6_SRC[],"
        "set_field:0x60000000->reg0,move:NXM_NX_REG0[]->ERICOXM_OF_ICMPV6_ND_RESERVED[],"
        "set_field:0x2->reg0,move:NXM_NX_REG0[0..7]->ERICOXM_OF_ICMPV6_ND_OPTIONS_TYPE[],"
        "move:NXM_OF_ETH_SRC[]->NXM_NX_ND_TLL[]"
    )
    yield Flow(Table.REPLY, 100, f"icmp6,{_ADVERTISEMENT}", f"{nd},{_TO_ASKER}", Cookie.ANSWER)
