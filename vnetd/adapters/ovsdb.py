"""OVSDB by ovsdbapp: rows to values, steps to one transaction.

Strategy: an IDL that follows only the columns that vnetd reads (not the statistics,
which change every few seconds on every port). Reads happen under the connection's
lock. All steps of a plan go into one transaction, made anew from the rows should
OVSDB ask for another try, and the call returns when ovs-vswitchd has acted on it;
whether it made the port is read back from ``ofport`` and ``error``.
"""

from __future__ import annotations

import gc
import logging
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from ovs.db.idl import ROW_CREATE
from ovsdbapp.backend.ovs_idl import command, connection, idlutils
from ovsdbapp.exceptions import TimeoutException
from ovsdbapp.schema.open_vswitch import impl_idl

from vnetd.adapters.ovsrows import BOND_COLUMNS, POLICING_OFF, SeenPorts, first, is_waiting, put_vlan, vlan_limit
from vnetd.errors import Unavailable, WorldError
from vnetd.model.state import OWNER, ROLE, Bridge, FakeBridge, Port, Role, Rows, SeenBridge, SeenPort, Shape
from vnetd.rowplan import AGEING, FAIL_MODE, SEALED, DropBridge, DropPort, PutBridge, PutPort, RowStep, SweepShapes

SOCKET = "/run/openvswitch/db.sock"
T = TypeVar("T")

TIMEOUT = 10
"""Seconds until a transaction that ovs-vswitchd does not act on is given up."""

_BACKOFF = 1000
"""Milliseconds until a server that is away is looked for again."""

_COLUMNS = {
    "Open_vSwitch": ["bridges", "cur_cfg", "next_cfg", "other_config"],
    "Bridge": ["name", "ports", "datapath_type", "fail_mode", "protocols", "other_config", "external_ids"],
    "Port": [
        "name", "interfaces", "tag", "trunks", "vlan_mode", "cvlans", "other_config", "bond_mode", "lacp", "fake_bridge",
        "external_ids", "qos",
    ],
    "Interface": [
        "name", "type", "options", "external_ids", "mtu_request", "ofport", "error",
        "ingress_policing_rate", "ingress_policing_burst", "lacp_current", "bfd", "bfd_status",
    ],
    "QoS": ["type", "queues", "other_config", "external_ids"],
    "Queue": ["other_config", "external_ids"],
}  # fmt: skip

_AGEING = "mac-aging-time"
"""Bridge.other_config."""

logging.getLogger("ovsdbapp").setLevel(logging.CRITICAL)
# ovsdbapp logs what it also raises; what matters is said once, by whoever called.


class _Idl(connection.OvsdbIdl):  # type: ignore[misc]
    """An IDL that says when something other than a configuration counter has changed, and whether a BFD session began or ended by it."""

    changed: Callable[[bool], None] | None = None
    comes: Callable[[str], None] | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.seen = SeenPorts()
        super().__init__(*args, **kwargs)

    def notify(self, event: str, row: Any, updates: Any = None) -> None:
        self.seen.forget(row.uuid)
        if self.comes is not None and event == ROW_CREATE and row._table.name == "Interface":
            self.comes(row.name)
        if self.changed is not None and (row._table.name != "Open_vSwitch" or _is_setting(updates)):
            self.changed(row._table.name == "Interface" and _is_session(row, updates))

    def cooperative_yield(self) -> None:
        """Nothing: ovsdbapp would sleep after each row, which costs 80 µs, for the sake of green threads, which vnetd has none of."""


def _is_setting(updates: Any) -> bool:
    """Whether the row Open_vSwitch has changed in more than its counters and its list of bridges."""
    return "other_config" in (getattr(updates, "_data", None) or {})


def _is_session(row: Any, updates: Any) -> bool:
    """Whether the peer behind an interface is alive now and was not, or the other way round; ``updates`` has what was there before."""
    return "bfd_status" in (getattr(updates, "_data", None) or {}) and row.bfd_status.get("state") != updates.bfd_status.get("state")


class Ovsdb:
    """A connection to the local ovsdb-server.

    ``changed`` is called, from another thread, after any change, with whether a BFD session has changed its state, and
    ``comes`` with the name of each new interface.
    """

    def __init__(
        self,
        socket: str = SOCKET,
        changed: Callable[[bool], None] | None = None,
        timeout: float = TIMEOUT,
        comes: Callable[[str], None] | None = None,
    ) -> None:
        remote = f"unix:{socket}"
        try:
            helper = _within(timeout, lambda: idlutils.get_schema_helper(remote, "Open_vSwitch"))
            for table, columns in _COLUMNS.items():
                helper.register_columns(table, columns)
            idl = _Idl(remote, helper)
            self._connection = connection.Connection(idl, timeout)
            self._api = impl_idl.OvsdbIdl(self._connection)
        except Exception as error:  # noqa: BLE001 - ovsdbapp raises plain Exception for a server that is away.
            raise Unavailable(f"ovsdb-server does not answer on {socket} ({error}); is openvswitch-switch running?") from None
        # By itself it would look for a server that was away only every 8 s.
        idl._session.reconnect.set_backoff(_BACKOFF, _BACKOFF)
        idl.changed, idl.comes = changed, comes

    def close(self) -> None:
        """End the connection and its thread."""
        self._connection.stop(timeout=2)

    def rows(self) -> Rows:
        """All bridges and ports as they are now. Raises Unavailable while the connection is down."""
        if not self._connected():
            raise Unavailable("ovsdb-server is away; is openvswitch-switch running?")
        # A transaction that the server does not answer holds the lock for as long.
        if not self._connection.lock.acquire(timeout=self._connection.timeout):
            raise Unavailable(f"ovsdb-server has not answered for {self._connection.timeout:g} s")
        try:
            look = _Look(self._api)
            look.execute(check_error=True)
            rows: Rows = look.result
        finally:
            self._connection.lock.release()
        return rows

    def apply(self, steps: Sequence[RowStep]) -> None:
        """All steps in one transaction. Raises WorldError when OVSDB refuses it or does not answer."""
        try:
            with _uncollected(), self._api.transaction(check_error=True, log_errors=False) as txn:
                txn.add(_Apply(self._api, tuple(steps)))
        except WorldError:
            raise
        except TimeoutException:
            raise Unavailable(f"ovsdb-server did not take the change within {self._connection.timeout:g} s") from None
        except RuntimeError as error:
            if "timed out" in str(error):
                raise Unavailable(f"ovsdb-server did not take the change within {self._connection.timeout:g} s") from None
            raise WorldError(f"OVSDB refused the change: {error}") from None
        except Exception as error:  # noqa: BLE001 - and for one that goes away.
            raise Unavailable(f"OVSDB did not take the change within {self._connection.timeout:g} s: {error}") from None

    def _connected(self) -> bool:
        return bool(self._api.idl._session.is_connected() and self._api.tables["Open_vSwitch"].rows)


@contextmanager
def _uncollected() -> Iterator[None]:
    """No garbage collection meanwhile: of the thousands of values that many rows are made of, all are in use, and each look finds more."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _within(seconds: float, action: Callable[[], T]) -> T:
    """What ``action`` returns, or TimeoutError: a server that is stopped accepts a client and then says nothing."""
    answers: queue.Queue[T | Exception] = queue.Queue()

    def run() -> None:
        try:
            answers.put(action())
        except Exception as error:  # noqa: BLE001 - it is raised again by whoever waits.
            answers.put(error)

    threading.Thread(target=run, name="ovsdb-schema", daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer within {seconds:g} s") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


class _Look(command.ReadOnlyCommand):  # type: ignore[misc]
    """A snapshot of all rows as values."""

    def run_idl(self, txn: Any) -> None:
        bridges: dict[str, SeenBridge] = {}
        ports: dict[str, SeenPort] = {}
        fakes: dict[str, FakeBridge] = {}
        shaped: set[Any] = set()
        uuids: set[Any] = set()
        seen = self.api.idl.seen
        for row in self.api.tables["Bridge"].rows.values():
            sealed = False
            for port in row.ports:
                uuids.add(port.uuid)
                value, fake = seen.port(port, row.name)
                if value.port.name == row.name:
                    sealed = value.port.vlan == SEALED
                    continue
                ports[value.port.name] = value
                if fake is not None:
                    fakes[value.port.name] = FakeBridge(row.name, fake)
            bridges[row.name] = SeenBridge(
                row.name,
                row.external_ids.get(OWNER, ""),
                row.datapath_type or "system",
                first(row.fail_mode) or "standalone",
                tuple(row.protocols),
                sealed,
                row.other_config.get(_AGEING, ""),
            )
        if self.api.tables["QoS"].rows or self.api.tables["Queue"].rows:
            shaped = {port.qos[0].uuid for port in self.api.tables["Port"].rows.values() if port.qos}
        seen.keep(uuids)
        ovs = self.api._ovs
        strays = sum(1 for _ in _strays(self.api, shaped))
        acted, restoring = ovs.cur_cfg >= ovs.next_cfg, is_waiting(ovs.other_config)
        self.result = Rows(bridges, ports, strays, fakes, vlan_limit(ovs.other_config), acted, restoring)


def _strays(api: Any, used: set[Any]) -> Iterable[Any]:
    """QoS rows of vnetd's, then Queue rows of vnetd's, that nothing uses."""
    used_queues: set[Any] = set()
    for row in api.tables["QoS"].rows.values():
        if row.uuid in used or ROLE not in row.external_ids:
            used_queues.update(queue.uuid for queue in row.queues.values())
        else:
            yield row
    for row in api.tables["Queue"].rows.values():
        if row.uuid not in used_queues and ROLE in row.external_ids:
            yield row


class _Apply(command.BaseCommand):  # type: ignore[misc]
    """All row steps of a plan. OVSDB may ask for another try, so each run begins from the rows."""

    def __init__(self, api: Any, steps: tuple[RowStep, ...]) -> None:
        super().__init__(api)
        self.steps = steps

    def run_idl(self, txn: Any) -> None:
        self.txn = txn
        tables = self.api.tables
        self.bridges = {row.name: row for row in tables["Bridge"].rows.values()}
        self.ports = {port.name: (port, bridge) for bridge in self.bridges.values() for port in bridge.ports}
        for step in self.steps:
            match step:
                case PutBridge(bridge):
                    self._put_bridge(bridge)
                case DropBridge(name):
                    self._drop_bridge(name)
                case PutPort(port):
                    self._put_port(port)
                case DropPort(name):
                    self._drop_port(name)
                case SweepShapes():
                    for row in list(_strays(self.api, self._used_shapes())):
                        row.delete()

    def _put_bridge(self, bridge: Bridge) -> None:
        row = self.bridges.get(bridge.name)
        if row is None:
            row = self.txn.insert(self.api.tables["Bridge"])
            row.name = bridge.name
            self.api._ovs.addvalue("bridges", row)
            self.bridges[bridge.name] = row
            self._insert_port(bridge.name, row).interfaces[0].type = "internal"
        row.datapath_type = "" if bridge.datapath == "system" else bridge.datapath
        row.fail_mode = FAIL_MODE
        row.protocols = []
        row.setkey("external_ids", OWNER, bridge.owner)
        own = self.ports.get(bridge.name)
        if bridge.sealed and own is not None:
            put_vlan(own[0], SEALED)
            row.setkey("other_config", _AGEING, AGEING)

    def _drop_bridge(self, name: str) -> None:
        row = self.bridges.pop(name, None)
        if row is None:
            return
        for port, bridge in list(self.ports.values()):
            if bridge is row:
                self._drop_port(port.name)
        self.api._ovs.delvalue("bridges", row)
        row.delete()

    def _insert_port(self, name: str, bridge: Any, members: Sequence[str] = ()) -> Any:
        port = self.txn.insert(self.api.tables["Port"])
        port.name = name
        port.interfaces = [self._insert_interface(one) for one in members or (name,)]
        bridge.addvalue("ports", port)
        self.ports[name] = (port, bridge)
        return port

    def _insert_interface(self, name: str) -> Any:
        interface = self.txn.insert(self.api.tables["Interface"])
        interface.name = name
        return interface

    def _put_port(self, port: Port) -> None:
        bridge = self.bridges.get(port.bridge)
        if bridge is None:
            raise WorldError(f"there is no bridge {port.bridge} for port {port.name}")
        if port.name in self.bridges:
            raise WorldError(f"{port.name} is a bridge, and its own port cannot be a port for something else")
        row, where = self.ports.get(port.name, (None, None))
        if row is not None and where is not bridge:
            if ROLE not in row.external_ids and not any("vm-id" in interface.external_ids for interface in row.interfaces):
                raise WorldError(f"port {port.name} is in bridge {where.name} by hand; remove it there first")
            self._drop_port(port.name)
            row = None
        fresh = row is None
        if fresh:
            row = self._insert_port(port.name, bridge, port.members)
        row.setkey("external_ids", ROLE, str(port.role))
        # What is said of a new row and is so anyway costs as much as the rest, and there may be a thousand of them.
        if port.vlan or not fresh:
            put_vlan(row, port.vlan)
        columns = dict(port.bond)
        for column in BOND_COLUMNS if columns or len(row.interfaces) > 1 else ():
            setattr(row, column, [columns[column]] if column in columns else [])
        for interface in self._put_interfaces(row, port.members or (port.name,)):
            interface.type = port.type
            interface.options = dict(port.options)
            for key, value in port.ids:
                interface.setkey("external_ids", key, value)
            if port.mtu or not fresh:
                interface.mtu_request = [port.mtu] if port.mtu else []
            if port.role is Role.TUNNEL and (port.bfd or not fresh):
                interface.bfd = dict(port.bfd)
            if port.role is Role.GUEST:
                interface.ingress_policing_rate = 0
                interface.ingress_policing_burst = POLICING_OFF
        if port.role is Role.GUEST:
            self._put_shape(row, port)

    def _put_interfaces(self, row: Any, names: Sequence[str]) -> list[Any]:
        """The port's interfaces, each the row that it was if there was one, so that a NIC that stays is not touched."""
        old = {interface.name: interface for interface in row.interfaces}
        if set(old) != set(names):
            old.update({name: self._insert_interface(name) for name in set(names) - set(old)})
            row.interfaces = [old[name] for name in names]
        return [old[name] for name in names]

    def _put_shape(self, row: Any, port: Port) -> None:
        """One QoS row with one queue, 0, as libvirt makes them: its own are changed in place, so that it can clear them.

        vnetd's own do not bear libvirt's marks, or libvirt would write into rows that are about to go, and refuse the NIC.
        """
        qos = first(getattr(row, "qos", []))
        shape = port.shape
        if shape is None:
            row.qos = []
            if qos is not None and ROLE in qos.external_ids:
                self._delete_shape(qos)
            return
        config = _config(shape)
        if qos is not None and qos.type == "linux-htb" and 0 in qos.queues:
            qos.other_config = config
            qos.queues[0].other_config = config
            return
        # What libvirt has put there since the rows were read must not be hidden by a second one: then this is all made anew.
        row.verify("qos")
        for lost in self._cut_off(port):
            self._delete_shape(lost)
        marks = {ROLE: str(port.role)}
        queue = self.txn.insert(self.api.tables["Queue"])
        queue.other_config, queue.external_ids = config, marks
        fresh = self.txn.insert(self.api.tables["QoS"])
        fresh.type, fresh.other_config, fresh.external_ids = "linux-htb", config, marks
        fresh.queues = {0: queue}
        row.qos = [fresh]

    def _cut_off(self, port: Port) -> list[Any]:
        """QoS rows that libvirt made for this port and no port has: libvirt would find them, and write a new limit there in vain."""
        used, guest = self._used_shapes(), dict(port.ids).get("vm-id")
        rows = [row for row in self.api.tables["QoS"].rows.values() if row.uuid not in used and guest is not None]
        return [row for row in rows if (row.external_ids.get("ifname"), row.external_ids.get("vm-id")) == (port.name, guest)]

    def _drop_port(self, name: str) -> None:
        row, bridge = self.ports.pop(name, (None, None))
        if row is None:
            return
        qos = first(row.qos)
        # ovsdb-server removes the port and its interface itself once no bridge has them, but
        # only after it has looked whether a deleted QoS row is still used: so that link goes first.
        bridge.delvalue("ports", row)
        if qos is not None and (ROLE in qos.external_ids or qos.external_ids.get("ifname") == name):
            # libvirt marks its rows with the tap's name, and leaves them behind when a port goes without its help.
            row.qos = []
            self._delete_shape(qos)

    def _delete_shape(self, qos: Any) -> None:
        for row in qos.queues.values():
            row.delete()
        qos.delete()

    def _used_shapes(self) -> set[Any]:
        """The QoS rows that ports have; a port that was just inserted has no column yet that was not written."""
        return {qos.uuid for port, _ in self.ports.values() for qos in getattr(port, "qos", [])}


def _config(shape: Shape) -> Mapping[str, str]:
    config = {"min-rate": str(shape.min_rate), "max-rate": str(shape.max_rate)}
    if shape.burst:
        config["burst"] = str(shape.burst)
    return config
