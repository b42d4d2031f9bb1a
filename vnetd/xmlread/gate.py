"""The gate that foreign text passes before it is a tree.

Strategy: expat looks first, in one linear pass, and refuses what could hurt or
mislead: another encoding, a DOCTYPE (lxml, told to leave entities alone, reads
``a&e;b`` as ``a``), thousands of attributes, deep nesting. Only then does lxml
build the tree. Both run in C, so that 4 MiB take well under a second.
"""

from __future__ import annotations

from xml.parsers import expat

from lxml import etree

from vnetd.errors import InputError
from vnetd.model.names import shown

NETWORK_NS = "urn:vnetd:network:1"
DOMAIN_NS = "urn:vnetd:domain:1"

MAX_BYTES = 4 * 1024 * 1024
MAX_ATTRIBUTES = 100
MAX_DEPTH = 64
MAX_TAG_BYTES = 64 * 1024


def parse(data: bytes, *roots: str) -> etree._Element:
    """The root element of ``data``, which must be one of ``roots``. Raises InputError otherwise."""
    _inspect(data)
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise InputError(f"this is not well-formed XML: {error}") from None
    if root.tag not in roots:
        wanted = " or ".join(f"<{name}>" for name in roots)
        raise InputError(f"the root element is <{shown(str(root.tag))[1:-1]}>; write {wanted}")
    return root


def serialize(element: etree._Element) -> bytes:
    """``element`` alone as UTF-8 text, ready for ``parse``."""
    text: bytes = etree.tostring(element, encoding="utf-8", with_tail=False)
    return text


def _inspect(data: bytes) -> None:
    if not data.strip():
        raise InputError("the XML is empty")
    if len(data) > MAX_BYTES:
        raise InputError(f"the XML has {len(data)} bytes; write at most {MAX_BYTES}")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"the XML is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    _refuse_long_tags(data)
    scan = _Scan()
    try:
        scan.parser.Parse(data, True)
    except expat.ExpatError as error:
        raise InputError(f"this is not well-formed XML: {error}") from None
    except ValueError as error:
        raise InputError(f"the XML has an encoding that cannot be read: {error}; save it as UTF-8") from None


def _refuse_long_tags(data: bytes) -> None:
    """A tag of 20 000 attributes costs a parser quadratic time, so it is refused before any parser sees it."""
    for piece in data.split(b"<"):
        end = piece.find(b">")
        if (len(piece) if end < 0 else end) > MAX_TAG_BYTES and piece[:1] not in (b"!", b"?"):
            raise InputError(f"a tag is longer than {MAX_TAG_BYTES} bytes; write fewer and shorter attributes")


class _Scan:
    """Expat's handlers: they raise InputError, which Parse hands through."""

    def __init__(self) -> None:
        self.depth = 0
        self.parser = expat.ParserCreate()
        self.parser.ordered_attributes = True
        self.parser.XmlDeclHandler = self._declaration
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end

    def _declaration(self, version: str, encoding: str | None, standalone: int) -> None:
        if encoding is not None and encoding.lower() not in ("utf-8", "us-ascii"):
            raise InputError(f"the XML is declared as {shown(encoding)}; write encoding='UTF-8'")

    def _doctype(self, name: str, *ignored: object) -> None:
        raise InputError("the XML has a DOCTYPE; leave it out, libvirt's XML has none")

    def _start(self, name: str, attributes: list[str]) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise InputError(f"the XML is nested deeper than {MAX_DEPTH} elements")
        if len(attributes) > 2 * MAX_ATTRIBUTES:
            raise InputError(f"<{shown(name)[1:-1]}> has more than {MAX_ATTRIBUTES} attributes")

    def _end(self, name: str) -> None:
        self.depth -= 1
