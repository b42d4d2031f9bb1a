"""A network that runs, with vnetd's element as it is defined now.

libvirt keeps the definition with which a network was started until it is started
again, and shows hooks that one. What vnetd's element says (peers, bindings, guards) can
change under running guests, and should: so it is taken from the newest definition,
and everything that is libvirt's own from the network as it runs.
"""

from __future__ import annotations

from vnetd.errors import InputError
from vnetd.xmlread.gate import NETWORK_NS, parse, serialize

_OURS = f"{{{NETWORK_NS}}}network"


def with_definition(running: bytes, defined: bytes) -> bytes:
    """``running`` with the ``<vnet:network>`` of ``defined``; unchanged where either has none or cannot be read.

    A network that no longer is vnetd's by its definition stays so until it is stopped: its guests are on vnetd's bridge.
    """
    if running == defined:
        return running
    try:
        here, there = parse(running, "network"), parse(defined, "network")
    except InputError:
        return running
    old, new = here.find(f"metadata/{_OURS}"), there.find(f"metadata/{_OURS}")
    if old is None or new is None or serialize(old) == serialize(new):
        return running
    new.tail = old.tail
    old.getparent().replace(old, new)
    return serialize(here)
