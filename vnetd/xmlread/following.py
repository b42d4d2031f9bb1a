"""Which of a running guest's VLANs and limits are its own, and which are its portgroup's.

libvirt copies a portgroup's ``<vlan>`` and ``<bandwidth>`` into each NIC when the guest
starts, and no later change of the portgroup reaches that copy. The copy alone cannot say
whose word it is. So it is decided when it is first seen, and again when it changes: what
equals the portgroup's word is the portgroup's, and follows it from then on; all else
somebody has given to this NIC alone (``virsh update-device``, ``virsh domiftune``). The
decision is kept as an attribute of the spool's own copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from lxml import etree

from vnetd.errors import InputError
from vnetd.model.network import Bandwidth, Vlan
from vnetd.xmlread import parts
from vnetd.xmlread.definition import OUTGOING, as_running
from vnetd.xmlread.gate import parse, serialize
from vnetd.xmlread.interface import ASPECTS, FOLLOWS
from vnetd.xmlread.node import Node

Said = Mapping[str, Vlan | Bandwidth | None]
"""What an element says, by aspect; an aspect that cannot be read is missing."""


@dataclass(frozen=True, slots=True)
class Groups:
    """What a network says of its ports: for all of them, and by portgroup."""

    vlan: Vlan | None = None
    groups: Mapping[str, Said] = field(default_factory=dict)
    default: str | None = None
    outgoing: frozenset[str] = frozenset()
    """The portgroups that are kept for those who use them."""

    def of(self, group: str | None) -> Said:
        """What libvirt would write into a NIC of this portgroup that says nothing itself."""
        said = self.groups.get(group or self.default or "", {})
        return {"vlan": said.get("vlan") or self.vlan, "bandwidth": said.get("bandwidth") or Bandwidth()}


@dataclass(frozen=True, slots=True)
class Followed:
    """What a NIC's text says by itself, and what of that follows its portgroup; its names tell it from others."""

    said: Said
    follows: frozenset[str]
    portid: str | None
    place: tuple[str | None, ...]
    """Its MAC, its network and its portgroup, which stay when libvirt gives it another port."""


Offers = Callable[[str], Sequence[Groups]]
"""What a network of this name says: in force, and by its running definition; nothing where it is unknown."""

Memory = Sequence[Sequence[Followed]]
"""What is known of NICs already, the best source first."""


def groups_of(text: bytes) -> tuple[Groups, Groups]:
    """What a network's kept text says of ports: what is in force, and what the running definition says."""
    return _groups(parse(text, "network")), _groups(parse(as_running(text), "network"))


def with_follows(text: bytes, offers: Offers, memory: Memory) -> bytes:
    """A guest's or a libvirt port's text with each NIC's decision; to the letter where it has no NIC of which anything is known."""
    try:
        root = parse(text, "domain", "networkport")
    except InputError:
        return text
    changed = False
    for element in _nics(root):
        if element.attrib.pop(FOLLOWS, None) is not None:
            changed = True
        network, group = _place(element)
        known = offers(network) if network else ()
        before = _remembered(element, memory)
        if not known and before is None:
            continue
        # While its network is down nothing is offered, and what was decided stays.
        said = _said(element)
        follows = [one for one in ASPECTS if _is_followed(one, said, before, [groups.of(group) for groups in known])]
        element.set(FOLLOWS, " ".join(follows))
        changed = True
    return serialize(root) if changed else text


def followed_in(text: bytes) -> list[Followed]:
    """The decisions in a kept text."""
    try:
        root = parse(text, "domain", "networkport")
    except InputError:
        return []
    found = []
    for element in _nics(root):
        follows = element.get(FOLLOWS)
        if follows is not None:
            found.append(Followed(_said(element), frozenset(follows.split()), _portid(element), (_mac(element), *_place(element))))
    return found


def _is_followed(aspect: str, said: Said, before: Followed | None, offered: Sequence[Said]) -> bool:
    if aspect not in said:
        return False  # What follows is not read again, and what is wrong with it would not be told.
    if before is not None and aspect in before.said and before.said[aspect] == said[aspect]:
        return aspect in before.follows
    if before is None and said[aspect] in (None, Bandwidth()):
        return True  # A portgroup that had nothing to say when the guest was started may have since.
    return any(said[aspect] == one[aspect] for one in offered)


def _remembered(element: etree._Element, memory: Memory) -> Followed | None:
    """The NIC as it is known already: by its libvirt port, or else by its MAC, since an update gives it a new port.

    What was decided of another portgroup is no decision of this one.
    """
    portid = _portid(element)
    place = (_mac(element), *_place(element))
    mine = [one for known in memory for one in known if one.place == place]
    return next((one for one in mine if portid is not None and one.portid == portid), mine[0] if mine else None)


def _nics(root: etree._Element) -> Iterator[etree._Element]:
    if root.tag == "networkport":
        yield root
    else:
        yield from root.iterfind("devices/interface")


def _place(element: etree._Element) -> tuple[str | None, str | None]:
    """A NIC's network and portgroup, as libvirt writes them."""
    if element.tag == "networkport":
        return element.get("network"), element.findtext("group") or None
    source = element.find("source")
    if source is None or element.get("type") not in ("network", "bridge"):
        return None, None
    return source.get("network"), source.get("portgroup")


def _portid(element: etree._Element) -> str | None:
    if element.tag == "networkport":
        return (element.findtext("uuid") or "").strip() or None
    source = element.find("source")
    return source.get("portid") if source is not None else None


def _mac(element: etree._Element) -> str | None:
    mac = element.find("mac")
    return mac.get("address", "").lower() if mac is not None else None


def _said(element: etree._Element) -> Said:
    """What the element says of each aspect, without those that cannot be read: that is told elsewhere."""
    node = Node(element)
    found: dict[str, Vlan | Bandwidth | None] = {}
    with suppress(InputError):
        found["vlan"] = parts.vlan(node)
    with suppress(InputError):
        found["bandwidth"] = parts.bandwidth(node)
    return found


def _groups(root: etree._Element) -> Groups:
    said = {element.get("name", ""): _said(element) for element in root.iterchildren("portgroup")}
    default = next((element.get("name") for element in root.iterchildren("portgroup") if element.get("default") == "yes"), None)
    outgoing = frozenset(element.get("name", "") for element in root.iterchildren("portgroup") if element.get(OUTGOING) is not None)
    try:
        vlan = parts.vlan(Node(root))
    except InputError:
        vlan = None
    return Groups(vlan, said, default, outgoing)
