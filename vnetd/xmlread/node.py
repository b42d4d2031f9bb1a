"""One element, read strictly where it is vnetd's own and leniently where it is libvirt's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from lxml import etree

from vnetd.errors import InputError
from vnetd.model.names import shown
from vnetd.xmlread.gate import OURS

T = TypeVar("T")

_ours_among_libvirts = etree.XPath(
    "descendant::*[" + " or ".join(f"namespace-uri() = '{one}'" for one in OURS) + "][not(ancestor::*[namespace-uri() != ''])]"
)


class Node:
    """An element and the words for it in a message."""

    def __init__(self, element: etree._Element) -> None:
        self.element = element

    @property
    def label(self) -> str:
        """``line 7, <vnet:peer>``."""
        return f"line {self.element.sourceline}, {self.tag}"

    @property
    def tag(self) -> str:
        """``<vnet:peer>`` or ``<portgroup>``."""
        name = etree.QName(self.element)
        prefix = "vnet:" if name.namespace else ""
        return f"<{prefix}{_bare(name.localname)}>"

    def error(self, text: str) -> InputError:
        return InputError(f"{self.label}: {text}")

    def where(self, attribute: str) -> str:
        return f"{self.label} {attribute}"

    def need(self, attribute: str, parse: Callable[[str, str], T]) -> T:
        """The parsed value of an attribute that must be there."""
        text = self.element.get(attribute)
        if text is None:
            raise self.error(f"has no {attribute}; write {attribute}='…'")
        return parse(text, self.where(attribute))

    def may(self, attribute: str, parse: Callable[[str, str], T]) -> T | None:
        """The parsed value of an attribute that may be left out."""
        text = self.element.get(attribute)
        return None if text is None else parse(text, self.where(attribute))

    def child(self, name: str, namespace: str = "") -> Node | None:
        """The only child called ``name``; a second one is refused."""
        found = list(self.children(name, namespace))
        if len(found) > 1:
            raise found[1].error("stands here twice; write it once")
        return found[0] if found else None

    def children(self, name: str, namespace: str = "") -> Iterator[Node]:
        """The children called ``name``, in order."""
        tag = f"{{{namespace}}}{name}" if namespace else name
        return (Node(child) for child in self.element.iterchildren(tag))

    def strict(self, namespace: str, attributes: tuple[str, ...], children: tuple[str, ...]) -> None:
        """Refuse any attribute, child or text of vnetd's that is not listed; other namespaces are not vnetd's business."""
        for raw in self.element.attrib:
            attribute = str(raw)
            if not attribute.startswith("{") and attribute not in attributes:
                raise self.error(f"has no attribute {shown(attribute)}; {_listed('it takes', attributes)}")
            if etree.QName(attribute).namespace in OURS:
                raise self.error(f"write {_bare(etree.QName(attribute).localname)} without a prefix")
        for child in self.element.iterchildren(tag=etree.Element):
            name = etree.QName(child)
            if name.namespace in OURS and (name.namespace != namespace or name.localname not in children):
                raise Node(child).error(f"does not belong in {self.tag}; {_listed('it takes', children)}")
            if not name.namespace:
                raise Node(child).error(f"stands inside vnetd's element without its prefix; write vnet:{_bare(name.localname)}")
        texts = [self.element.text, *(child.tail for child in self.element)]
        if any(text and text.strip(" \t\r\n") for text in texts):
            raise self.error("takes no text")


def extension(root: Node, home: Node | None, name: str, namespace: str) -> Node | None:
    """vnetd's one element below ``root``, which stands in ``home``; any other of vnetd's among libvirt's elements is refused.

    libvirt drops what stands elsewhere, and a name with a slip in it would go unread: either would silently lose a policy.
    """
    # What stands inside a foreign element is not vnetd's business, and what stands inside vnetd's own is for strict().
    for element in _ours_among_libvirts(root.element):
        parent = Node(element.getparent())
        if home is None or parent.element is not home.element or element.tag != f"{{{namespace}}}{name}":
            place = root.tag if home is root else "<metadata>"
            raise Node(element).error(f"does not belong in {parent.tag}; write <vnet:{name} xmlns:vnet='{namespace}'> in {place}")
    return home.child(name, namespace) if home is not None else None


def choice(kind: Callable[[str], T], values: tuple[str, ...]) -> Callable[[str, str], T]:
    """A parser for an attribute that takes one of ``values``."""

    def parse(text: str, where: str) -> T:
        if text not in values:
            raise InputError(f"{where}: {shown(text)} is unknown; write {' or '.join(map(repr, values))}")
        return kind(text)

    return parse


def _bare(text: str) -> str:
    return shown(text)[1:-1]


def _listed(verb: str, names: tuple[str, ...]) -> str:
    return f"{verb} {', '.join(names)}" if names else f"{verb} none"
