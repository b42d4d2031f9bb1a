"""Rows as OVSDB's client library has them: columns as attributes, optional ones as lists."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from uuid import uuid4


class Row(SimpleNamespace):
    """Any row: columns as attributes, the calls that change one value of a set or one key of a map, and what was asked of it."""

    def __init__(self, **columns: Any) -> None:
        super().__init__(**columns, deleted=False, verified=[])

    def delete(self) -> None:
        self.deleted = True

    def verify(self, column: str) -> None:
        """Let the transaction fail, to be made anew, should this column have changed since it was read."""
        self.verified.append(column)

    def addvalue(self, column: str, value: Any) -> None:
        getattr(self, column).append(value)

    def delvalue(self, column: str, value: Any) -> None:
        getattr(self, column).remove(value)

    def setkey(self, column: str, key: str, value: str) -> None:
        getattr(self, column)[key] = value

    def delkey(self, column: str, key: str) -> None:
        del getattr(self, column)[key]


def interface(name: str, **more: Any) -> Row:
    columns: dict[str, Any] = {"type": "", "options": {}, "external_ids": {}, "mtu_request": [], "ofport": [1], "error": []}
    columns |= {"bfd": {}, "bfd_status": {}}
    return Row(
        **{"uuid": uuid4(), "name": name, "ingress_policing_rate": 0, "ingress_policing_burst": 0, "lacp_current": [], **columns, **more}
    )


def port(name: str, *interfaces: Row, **more: Any) -> Row:
    columns: dict[str, Any] = {"tag": [], "trunks": [], "vlan_mode": [], "cvlans": [], "other_config": {}, "bond_mode": [], "lacp": []}
    rest = {"uuid": uuid4(), "name": name, "interfaces": list(interfaces), "fake_bridge": False, "external_ids": {}, "qos": []}
    return Row(**{**columns, **rest, **more})


def shape(**marks: str) -> tuple[Row, Row]:
    """A QoS row and its queue, with these external_ids."""
    config = {"min-rate": "1", "max-rate": "2"}
    queue = Row(uuid=uuid4(), other_config=dict(config), external_ids=dict(marks))
    return Row(uuid=uuid4(), type="linux-htb", queues={0: queue}, other_config=dict(config), external_ids=dict(marks)), queue
