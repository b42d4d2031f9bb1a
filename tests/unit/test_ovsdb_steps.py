"""Row steps on rows that have the columns of the real ones: what the adapter does not do, whatever it was told."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from raw_rows import Row, interface, port

from vnetd.adapters.ovsdb import _Apply
from vnetd.errors import WorldError
from vnetd.model.state import OWNER, ROLE, Port, Role
from vnetd.rowplan import PutPort


class Transaction:
    """Makes rows with the columns that the steps look at."""

    def insert(self, table: str) -> Row:
        return {"Port": lambda: port("new"), "Interface": lambda: interface("new")}[table]()


def bridge(name: str, owner: str, *ports: Row) -> Row:
    return Row(name=name, external_ids={OWNER: owner} if owner else {}, ports=[port(name, interface(name, type="internal")), *ports])


def put(bridges: list[Row], *ports: Port) -> None:
    tables = {"Bridge": SimpleNamespace(rows=dict(enumerate(bridges))), "Port": "Port", "Interface": "Interface"}
    api: Any = SimpleNamespace(tables=tables)
    _Apply(api, tuple(PutPort(one, ()) for one in ports)).run_idl(Transaction())


def names(one: Row) -> list[str]:
    return [row.name for row in one.ports]


def test_a_port_of_vnetds_or_libvirts_changes_bridges() -> None:
    ours = port("eth1", interface("eth1"), external_ids={ROLE: "uplink"})
    libvirts = port("vnet1", interface("vnet1", external_ids={"vm-id": "x"}))
    red, blue = bridge("br-red", "red", ours, libvirts), bridge("br-blue", "blue")
    put([red, blue], Port("eth1", "br-blue", Role.UPLINK), Port("vnet1", "br-blue", Role.GUEST))
    assert (names(red), names(blue)) == (["br-red"], ["br-blue", "eth1", "vnet1"])


@pytest.mark.parametrize("owner", ["", "red"])
def test_the_own_port_of_a_bridge_is_never_taken(owner: str) -> None:
    red, blue = bridge("br-red", owner), bridge("br-blue", "blue")
    for name in ("br-red", "br-blue"):
        with pytest.raises(WorldError, match=f"^{name} is a bridge, and its own port cannot be a port for something else$"):
            put([red, blue], Port(name, "br-blue", Role.UPLINK))
    assert (names(red), names(blue)) == (["br-red"], ["br-blue"])
    assert red.ports[0].external_ids == {}


@pytest.mark.parametrize("where", ["br-user", "br-red"])
def test_a_port_that_somebody_made_is_never_taken(where: str) -> None:
    """Intent asks first; but a port that came since must not be lost either."""
    bridges = [bridge("br-user", ""), bridge("br-red", "red"), bridge("br-blue", "blue")]
    (home,) = [one for one in bridges if one.name == where]
    home.ports.append(port("eth1", interface("eth1")))
    with pytest.raises(WorldError, match=f"^port eth1 is in bridge {where} by hand; remove it there first$"):
        put(bridges, Port("eth1", "br-blue", Role.UPLINK))
    assert names(home) == [where, "eth1"]
    assert home.ports[1].external_ids == {}
