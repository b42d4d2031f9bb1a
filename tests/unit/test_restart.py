"""A restart of ovs-vswitchd: who waits for whom, for how long, and what ends it."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vnetd import restart
from vnetd.adapters import jsonrpc
from vnetd.adapters.restorewait import RestoreWait
from vnetd.errors import Unavailable
from vnetd.restart import Restart

PORTS = frozenset({"vnet0", "vnet1", "patch"})


class Key:
    """The key in OVSDB, which somebody else may have."""

    def __init__(self) -> None:
        self.value = ""
        self.away = False

    def hold(self) -> None:
        self._look()
        self.value = self.value or "TRUE"

    def release(self) -> None:
        self._look()
        self.value = "" if self.value == "TRUE" else self.value

    def _look(self) -> None:
        if self.away:
            raise Unavailable("ovsdb-server is away")


@pytest.fixture
def links() -> dict[str, int]:
    return {"lo": 1, "vnet0": 7, "vnet1": 8}


@pytest.fixture
def key() -> Key:
    return Key()


@pytest.fixture
def one(key: Key, links: dict[str, int]) -> Iterator[Restart]:
    made = Restart(key, lambda: links)
    yield made
    key.away = False
    made.stop()


def test_the_kernel_goes_on_from_the_end_of_one_until_the_flows_of_the_next_are_back(one: Restart, key: Key) -> None:
    one.gone(PORTS)
    assert key.value == "TRUE"
    one.restored(time.monotonic())
    assert key.value == "TRUE", "a pass that believed what was remembered is not meant"
    began = time.monotonic()
    one.come()
    one.restored(began)
    assert key.value == "TRUE", "nor one that began before the new one was there"
    one.restored(time.monotonic())
    assert (key.value, one.held) == ("", False)


def test_nobody_waits_where_vnetd_has_told_the_kernel_nothing(one: Restart, key: Key) -> None:
    one.gone(frozenset())
    assert (key.value, one.held) == ("", False)


@pytest.mark.parametrize("how", ["vanishes", "is another"])
def test_a_port_that_is_not_the_one_of_before_ends_it(one: Restart, key: Key, links: dict[str, int], how: str) -> None:
    """The kernel's flows are for its number, which may be given to the next."""
    one.gone(PORTS)
    links["eth9"] = 11
    one.check()
    assert key.value == "TRUE", "a link that is no port means nothing"
    links["vnet0"] = 9
    if how == "vanishes":
        del links["vnet0"]
    one.check()
    assert key.value == ""


def test_a_new_interface_ends_it(one: Restart, key: Key) -> None:
    one.gone(PORTS)
    one.port_comes("vnet1")
    assert key.value == "TRUE", "OVSDB tells all of its rows again when it was away"
    one.port_comes("vnet2")
    assert key.value == ""


def test_it_ends_by_itself(one: Restart, key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restart, "BACK_SECONDS", 0.05)
    one.gone(PORTS)
    time.sleep(0.1)
    assert key.value == "TRUE"
    one.come()
    _await(lambda: key.value == "")


def test_it_ends_when_ovs_vswitchd_stays_away(one: Restart, key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restart, "AWAY_SECONDS", 0.05)
    one.gone(PORTS)
    _await(lambda: key.value == "")


def test_it_ends_with_vnetd_and_what_a_killed_one_left_ends_when_the_next_begins(one: Restart, key: Key) -> None:
    one.gone(PORTS)
    one.stop()
    assert key.value == ""
    key.value = "TRUE"
    one.begin()
    assert key.value == ""


def test_the_wait_of_others_stays_theirs(one: Restart, key: Key) -> None:
    key.value = "true"
    one.gone(PORTS)
    one.come()
    one.restored(time.monotonic())
    assert (key.value, one.held) == ("true", False)
    one.begin()
    assert key.value == "true"


def test_an_ovsdb_that_is_away_is_asked_again(one: Restart, key: Key) -> None:
    one.gone(PORTS)
    one.come()
    key.away = True
    one.restored(time.monotonic())
    assert one.held
    key.away = False
    _await(lambda: not one.held, 3)
    assert key.value == ""


def test_an_ovsdb_that_is_away_when_the_switch_goes_is_not_waited_for(one: Restart, key: Key) -> None:
    key.away = True
    one.gone(PORTS)
    assert not one.held


def _await(condition: Any, seconds: float = 2) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


# The key in OVSDB.


def _serve(path: Path, answer: object) -> list[Any]:
    """An ovsdb-server for one question."""
    heard: list[Any] = []
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen()

    def run() -> None:
        client, _ = listener.accept()
        with client, listener:
            heard.append(json.loads(client.recv(4096)))
            client.sendall(json.dumps({"id": 0, "result": answer, "error": None}).encode())

    threading.Thread(target=run, daemon=True).start()
    return heard


@pytest.mark.parametrize("how", ["insert", "delete"])
def test_the_key_is_changed_in_one_step_that_leaves_any_other_value_alone(tmp_path: Path, how: str) -> None:
    """RFC 7047, 5.1: insert changes no key that is there, delete takes only a key with exactly this value."""
    heard = _serve(tmp_path / "db", [{"count": 1}])
    wait = RestoreWait(str(tmp_path / "db"))
    (wait.hold if how == "insert" else wait.release)()
    mutation = ["other_config", how, ["map", [["flow-restore-wait", "TRUE"]]]]
    assert heard[0]["params"] == ["Open_vSwitch", {"op": "mutate", "table": "Open_vSwitch", "where": [], "mutations": [mutation]}]


def test_a_refusal_and_a_server_that_is_away_are_told(tmp_path: Path) -> None:
    _serve(tmp_path / "db", [{"error": "not allowed", "details": "…"}])
    with pytest.raises(jsonrpc.Refused, match="not allowed"):
        RestoreWait(str(tmp_path / "db")).hold()
    with pytest.raises(Unavailable, match="does not answer"):
        RestoreWait(str(tmp_path / "nobody")).hold()
