"""What networks and ports ask for and this host's data plane does not have: told in words, never left to silence."""

from __future__ import annotations

from collections.abc import Iterator

from vnetd.intent.draft import Draft
from vnetd.model.dataplane import TAGS
from vnetd.model.network import OverlayType, Problem, VlanMode
from vnetd.model.state import GuestWire

_LINKS = {
    (OverlayType.GRE, 4): "gretap",
    (OverlayType.GRE, 6): "ip6gretap",
    (OverlayType.VXLAN, 4): "vxlan",
    (OverlayType.VXLAN, 6): "vxlan",
    (OverlayType.GENEVE, 4): "geneve",
    (OverlayType.GENEVE, 6): "geneve",
}
"""The kind of link that Open vSwitch makes in the kernel for an overlay's tunnels, by the version of IP that they go over."""


def note_lacks(draft: Draft) -> None:
    """Nothing while nobody has been able to ask the data plane."""
    draft.problems.extend(_overlays(draft))
    draft.problems.extend(_limits(draft))
    draft.problems.extend(_tags(draft))
    if draft.host.dataplane.deaf and not draft.rows.restoring:
        text = (
            "it has no threads that take packets from the kernel, as one that is started in the first 10 s after boot, so that whatever "
            "the kernel does not know yet is lost; systemctl restart openvswitch-switch"
        )
        draft.problems.append(Problem("switch", "ovs-vswitchd", text))


def _overlays(draft: Draft) -> Iterator[Problem]:
    """Open vSwitch says itself that it cannot make a tunnel, but of each tunnel, and not why."""
    plane = draft.host.dataplane
    for name, local in draft.locals.items():
        overlay = draft.networks[name].overlay
        if overlay is None:
            continue
        kind = _LINKS[overlay.type, local.version]
        if plane.links.get(kind) is False:
            others = " or ".join(f"type='{one}'" for one in OverlayType if plane.links.get(_LINKS[one, local.version]))
            instead = f"; on every host write {others} there" if others else ""
            text = (
                f"its <vnet:overlay type='{overlay.type}'> goes over IPv{local.version}, for which this kernel "
                f"({plane.kernel}) has no link of type {kind}, so no tunnel of it comes up{instead}"
            )
            yield Problem("network", name, text)
        if plane.has("Check pkt length action") is False:
            text = (
                "each frame of its <vnet:overlay> goes through ovs-vswitchd by itself, which is slow, since the data plane cannot ask for "
                f"its length (check_pkt_len); Linux 5.2 and later can, and this is {plane.kernel}"
            )
            yield Problem("network", name, text, soft=True)


def _limits(draft: Draft) -> Iterator[Problem]:
    if draft.host.dataplane.meters != 0:
        return
    for wire in (one for wires in draft.wires.values() for one in wires.guests):
        elements = list(_limiting(wire))
        if elements:
            text = f"the data plane has no meters, so it cannot have {', '.join(elements)}; Linux 4.18 and later have them"
            yield Problem("port", wire.port, text)


def _limiting(wire: GuestWire) -> Iterator[str]:
    """The elements that limit what a port may send."""
    if wire.meter or wire.pools:
        yield "the <outbound> of a <bandwidth>"
    if wire.packets:
        yield "<vnet:qos pps=…>"
    if wire.flood or wire.neighbour:
        yield "the limits on flooding and neighbour discovery (<vnet:policy flood='none' neighbour='none'/> does without)"


def _tags(draft: Draft) -> Iterator[Problem]:
    tags = draft.host.dataplane.tags
    if tags is None or tags >= TAGS:
        return
    for wire in (one for wires in draft.wires.values() for one in wires.guests):
        if wire.vlan.mode is VlanMode.DOT1Q_TUNNEL:
            text = f"the data plane knows only {tags} VLAN tag of a frame, so it cannot have mode='dot1q-tunnel'; Linux 4.9 and later can"
            yield Problem("port", wire.port, text)
