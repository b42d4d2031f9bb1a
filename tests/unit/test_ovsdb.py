"""Row steps as they are written in a transaction, tried on rows that have the columns of the real ones."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from raw_rows import Row, interface, port, shape

from vnetd.adapters.ovsdb import _Apply
from vnetd.model.state import ROLE, Port, Role, Shape
from vnetd.rowplan import DropPort, PutPort, RowStep, SweepShapes

LIBVIRTS = {"vm-id": "11111111-1111-4111-8111-111111111111", "ifname": "vnet1"}
LIMIT = Shape(800_000, 1_600_000, 64_000)
LIMITED = Port("vnet1", "br-n", Role.GUEST, ids=(("iface-id", "x"), ("vm-id", LIBVIRTS["vm-id"])), shape=LIMIT)


class Database:
    """One bridge with one port of libvirt's; rows that are inserted and deleted are told."""

    def __init__(self, *qos: Row) -> None:
        self.port = port("vnet1", interface("vnet1", external_ids=dict(LIBVIRTS)), qos=list(qos))
        self.bridge = Row(name="br-n", ports=[self.port])
        self.inserted: dict[str, Row] = {}
        rows: dict[str, list[Row]] = {"Bridge": [self.bridge], "Port": [self.port], "Interface": [], "QoS": list(qos), "Queue": []}
        tables = {name: SimpleNamespace(name=name, rows=dict(enumerate(found))) for name, found in rows.items()}
        self.api = SimpleNamespace(tables=tables)

    def insert(self, table: Any) -> Row:
        self.inserted[table.name] = Row(uuid=uuid4(), external_ids={})
        return self.inserted[table.name]

    def apply(self, *steps: RowStep) -> None:
        _Apply(self.api, steps).run_idl(self)


def test_a_limit_of_vnetds_own_bears_no_mark_of_libvirts() -> None:
    """libvirt finds rows by its marks, to write into them or to delete them, and stops when one is gone meanwhile."""
    database = Database()
    database.apply(PutPort(LIMITED, ()))
    assert {name: row.external_ids for name, row in database.inserted.items()} == {"QoS": {ROLE: "guest"}, "Queue": {ROLE: "guest"}}
    assert database.port.qos == [database.inserted["QoS"]]


@pytest.mark.parametrize(
    ("marks", "goes"),
    [(LIBVIRTS, True), ({**LIBVIRTS, "ifname": "vnet2"}, False), ({**LIBVIRTS, "vm-id": "another"}, False), ({"ifname": "vnet1"}, False)],
)
def test_what_libvirt_made_for_the_port_goes_when_somebody_has_cut_it_off(marks: dict[str, str], goes: bool) -> None:
    """libvirt would find that by its marks, and write a new limit where nothing comes of it."""
    qos, queue = shape(**marks)
    database = Database(qos)
    database.port.qos = []
    database.apply(PutPort(LIMITED, ()))
    assert (qos.deleted, queue.deleted) == (goes, goes)
    assert database.port.qos == [database.inserted["QoS"]]


def test_a_limit_is_inserted_only_where_there_still_is_none() -> None:
    """libvirt may have put its own there since the rows were read, which a second one would hide from everybody."""
    database = Database()
    database.apply(PutPort(LIMITED, ()))
    assert database.port.verified == ["qos"]


def test_a_limit_of_libvirts_is_changed_in_place_and_stays_libvirts() -> None:
    qos, queue = shape(**LIBVIRTS)
    database = Database(qos)
    database.apply(PutPort(LIMITED, ()))
    assert (database.inserted, database.port.qos) == ({}, [qos])
    assert qos.external_ids == queue.external_ids == LIBVIRTS
    assert qos.other_config == queue.other_config == {"min-rate": "800000", "max-rate": "1600000", "burst": "64000"}


def test_a_port_that_is_new_gets_its_limit_and_strays_go_beside_it() -> None:
    """A row that was just inserted has no columns but those that were written."""
    stray, _ = shape(**{ROLE: "guest"})
    database = Database(stray)
    database.port.qos = []
    database.apply(PutPort(Port("vnet2", "br-n", Role.GUEST, shape=LIMIT), ()), SweepShapes(1))
    assert [one.name for one in database.bridge.ports] == ["vnet1", "vnet2"]
    assert database.bridge.ports[1].qos == [database.inserted["QoS"]]
    assert stray.deleted
    database = Database(stray)
    database.port.qos = []
    database.apply(PutPort(Port("vnet2", "br-n", Role.GUEST), ()), SweepShapes(1))
    assert stray.deleted


@pytest.mark.parametrize(("marks", "goes"), [({ROLE: "guest"}, True), (LIBVIRTS, False), ({}, False)])
def test_a_limit_that_is_over_goes_where_it_is_vnetds(marks: dict[str, str], goes: bool) -> None:
    qos, queue = shape(**marks)
    database = Database(qos)
    database.apply(PutPort(Port("vnet1", "br-n", Role.GUEST), ()))
    assert database.port.qos == []
    assert (qos.deleted, queue.deleted) == (goes, goes)


@pytest.mark.parametrize(("marks", "goes"), [({ROLE: "guest"}, True), (LIBVIRTS, True), ({}, False)])
def test_a_ports_limit_goes_with_it_unless_it_is_somebody_elses(marks: dict[str, str], goes: bool) -> None:
    """libvirt leaves its own behind when a port goes without its help."""
    qos, queue = shape(**marks)
    database = Database(qos)
    database.apply(DropPort("vnet1", "br-n"))
    assert database.bridge.ports == []
    assert (qos.deleted, queue.deleted) == (goes, goes)
