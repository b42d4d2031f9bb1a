"""A service as a daemon has it, on a fake host, with networks that have been started."""

from __future__ import annotations

from pathlib import Path

from fakes import FakeHost, hook_xml, network_xml

from vnetd.requests import Answer, Request
from vnetd.service import Service
from vnetd.store import Store

BLUE = network_xml("blue", 1)
"""A network that says nothing but that it is vnetd's."""


def serving(host: FakeHost, folder: Path, blue: bytes = BLUE) -> Service:
    """A service below this folder, which has taken the start of a network called blue."""
    store = Store(folder / "spool")
    store.load()
    found = Service(store, host.rim, taps=folder / "taps", lock=folder / "lock")
    assert found.serve([Request("network", ("blue", "start", "begin", "-"), hook_xml(blue))]) == [Answer()]
    return found
