"""The gate that foreign text passes before it is a tree.

Strategy: expat looks first, in one linear pass, and refuses what could hurt or
mislead: another encoding, a DOCTYPE (lxml, told to leave entities alone, reads
``a&e;b`` as ``a``), thousands of attributes (which cost libxml2 quadratic time and
expat linear), deep nesting. Only then does lxml build the tree. Both run in C, so
that 4 MiB take well under a second.
"""

from __future__ import annotations

from xml.parsers import expat

from lxml import etree

from vnetd.errors import InputError
from vnetd.model.names import shown

NETWORK_NS = "urn:vnetd:network:1"
DOMAIN_NS = "urn:vnetd:domain:1"
OURS = (NETWORK_NS, DOMAIN_NS)

MAX_BYTES = 4 * 1024 * 1024
MAX_ELEMENTS = 100_000
"""Several times what the largest guest has; Python takes some microseconds for each."""

MAX_ATTRIBUTES = 100
MAX_DEPTH = 250
"""libxml2, and so libvirt, stops at 256; a disk's chain of ``<backingStore>`` in a guest's XML may be 200 deep."""


def parse(data: bytes, *roots: str) -> etree._Element:
    """The root element of ``data``, which must be one of ``roots``. Raises InputError otherwise."""
    _inspect(data)
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        # Expat let it pass, so it is about namespaces, and the message quotes names of any length and script.
        text = (error.msg or "").rpartition(", line ")[0]
        raise InputError(f"this is not well-formed XML: line {error.lineno}: {shown(text, 120)[1:-1]}") from None
    if root.tag not in roots:
        wanted = " or ".join(f"<{name}>" for name in roots)
        raise InputError(f"the root element is <{shown(str(root.tag))[1:-1]}>; write {wanted}")
    return root


def root_of(data: bytes, *roots: str) -> str:
    """Which of ``roots`` the root element of ``data`` is. Raises InputError otherwise."""
    return str(parse(data, *roots).tag)


def serialize(element: etree._Element) -> bytes:
    """``element`` alone as UTF-8 text, ready for ``parse``."""
    text: bytes = etree.tostring(element, encoding="utf-8", with_tail=False)
    return text


def _inspect(data: bytes) -> None:
    if len(data) > MAX_BYTES:
        # Whoever reads a file or a pipe for vnetd stops one byte beyond the limit, so the true size is not known here.
        raise InputError(f"the XML has more than {MAX_BYTES} bytes; write fewer")
    if not data.strip():
        raise InputError("the XML is empty")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"the XML is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    if b"\0" in data:
        # Latin letters in UTF-16 or UTF-32 are valid UTF-8, and parsers guess those encodings even where nothing declares them.
        raise InputError(f"the XML is not UTF-8 (byte {data.index(0)} is zero); save it as UTF-8")
    scan = _Scan()
    try:
        scan.parser.Parse(data, True)
    except expat.ExpatError as error:
        raise InputError(f"this is not well-formed XML: {error}") from None


class _Scan:
    """Expat's handlers: they raise InputError, which Parse hands through."""

    def __init__(self) -> None:
        self.depth = 0
        self.elements = 0
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
        self.elements += 1
        if self.depth > MAX_DEPTH:
            raise InputError(f"the XML is nested deeper than {MAX_DEPTH} elements")
        if self.elements > MAX_ELEMENTS:
            raise InputError(f"the XML has more than {MAX_ELEMENTS} elements")
        if len(attributes) > 2 * MAX_ATTRIBUTES:
            raise InputError(f"<{shown(name)[1:-1]}> has more than {MAX_ATTRIBUTES} attributes")

    def _end(self, name: str) -> None:
        self.depth -= 1
