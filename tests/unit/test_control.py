"""The control socket, a real one: who may ask what, and that no client costs another anything."""

from __future__ import annotations

import contextlib
import grp
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from vnetd import frames
from vnetd.client import ask_daemon
from vnetd.control import CLIENTS, READ_SECONDS, ControlServer
from vnetd.errors import Unavailable, WorldError
from vnetd.requests import Answer, Request

GROUP = grp.getgrgid(os.getgid()).gr_name
NOBODY = 65534


class Daemon:
    """What the server hands requests to: it answers with their verb and remembers them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked: list[Request] = []
        self.hold = threading.Event()
        self.hold.set()
        self.server = ControlServer(self.answer, GROUP, path)
        self.server.start()

    def answer(self, request: Request) -> Answer:
        self.asked.append(request)
        if request.verb == "status":
            self.hold.wait(5)
        if request.arguments == ("fail",):
            raise RuntimeError("a fault of the daemon's own")
        return Answer(0, f"{request.verb} it is")

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.connect(str(self.path))
        client.settimeout(READ_SECONDS + 5)
        return client

    def ask(self, *words: str, payload: bytes = b"") -> list[bytes]:
        with self.connect() as client:
            client.sendall(frames.encode([*(word.encode() for word in words), payload]))
            return frames.receive(client.recv)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    running = Daemon(tmp_path / "run" / "control.sock")
    yield running
    running.hold.set()
    running.server.stop()


def eventually(what: Callable[[], bool]) -> bool:
    end = time.monotonic() + 5
    while not what() and time.monotonic() < end:
        time.sleep(0.01)
    return what()


def is_cut_off(client: socket.socket) -> bool:
    """Whether the server has hung up; the kernel says it harder when bytes were left unread."""
    try:
        return client.recv(100) == b""
    except ConnectionResetError:
        return True


def still_serves(daemon: Daemon) -> bool:
    """A well-behaved client gets its answer at once."""
    began = time.monotonic()
    return daemon.ask("version") == [b"0", b"version it is"] and time.monotonic() - began < 1


def test_a_request_arrives_as_it_was_asked_and_the_answer_comes_back(daemon: Daemon) -> None:
    assert daemon.ask("status", "blue", "", "é", payload=b"<xml/>\0\xff") == [b"0", b"status it is"]
    assert daemon.asked == [Request("status", ("blue", "", "é"), b"<xml/>\0\xff")]


def test_vnetctl_asks_the_daemon(daemon: Daemon) -> None:
    assert ask_daemon("status", path=str(daemon.path)) == Answer(0, "status it is")


def test_vnetctl_hears_that_no_daemon_runs(tmp_path: Path) -> None:
    assert ask_daemon("status", path=str(tmp_path / "nothing")) is None


def test_vnetctl_hears_of_a_daemon_that_breaks_off(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda fault: None)
    with pytest.raises(Unavailable, match="the daemon did not answer"):
        ask_daemon("status", "fail", path=str(daemon.path))
    assert still_serves(daemon)


def test_a_daemon_with_a_long_queue_is_not_taken_for_none(tmp_path: Path) -> None:
    """Whoever takes it for none makes a pass of his own beside the daemon's."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(str(tmp_path / "control.sock"))
    server.listen(1)
    queue = []
    with contextlib.suppress(BlockingIOError):
        while len(queue) < 10:
            queue.append(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            queue[-1].setblocking(False)
            queue[-1].connect(str(tmp_path / "control.sock"))

    def serve_late() -> None:
        time.sleep(0.3)
        while True:
            client, _ = server.accept()
            client.sendall(frames.encode([b"0", b"here"]))
            queue.append(client)

    threading.Thread(target=serve_late, daemon=True).start()
    assert ask_daemon("version", path=str(tmp_path / "control.sock")) == Answer(0, "here")


def test_the_socket_is_its_owners_and_its_groups_alone(daemon: Daemon) -> None:
    assert daemon.path.stat().st_mode & 0o777 == 0o660
    assert daemon.path.parent.stat().st_mode & 0o777 == 0o750


def test_the_group_may_read_and_only_root_may_change(daemon: Daemon) -> None:
    assert as_member(daemon, "status") == [b"0", b"status it is"]
    assert as_member(daemon, "version") == [b"0", b"version it is"]
    for verb in ("apply", "qemu", "network", "ifup", "ifdown", "anything"):
        assert as_member(daemon, verb) == [b"1", b"only root may ask for that"]
    assert [request.verb for request in daemon.asked] == ["status", "version"]


def as_member(daemon: Daemon, verb: str) -> list[bytes]:
    """Ask as one of the group who is not root: in a child that has put root away, where the tests run as root."""
    script = (
        "import socket, sys\n"
        "client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)\n"
        "client.connect('control.sock')\n"
        "client.sendall(bytes.fromhex(sys.argv[1]))\n"
        "sys.stdout.buffer.write(client.recv(65536))\n"
    )
    # The interpreter itself: the way to the virtual environment's, in a checkout below /root, is root's alone.
    member = {"user": NOBODY, "group": os.getgid(), "extra_groups": []} if os.getuid() == 0 else {}
    command = [os.path.realpath(sys.executable), "-I", "-S", "-c", script, frames.encode([verb.encode(), b""]).hex()]
    done = subprocess.run(command, cwd=daemon.path.parent, capture_output=True, check=True, timeout=10, **member)  # type: ignore[call-overload]
    return frames.decode(done.stdout[4:])


def test_a_socket_that_was_left_behind_is_replaced(tmp_path: Path) -> None:
    """A daemon that was killed does not take its socket away."""
    for _ in range(2):
        left = Daemon(tmp_path / "control.sock")
        assert still_serves(left)
    left.server.stop()
    assert not (tmp_path / "control.sock").exists()


def test_an_unknown_group_is_told_in_words(tmp_path: Path) -> None:
    with pytest.raises(WorldError, match="control_group no-such-group is no group of this host's"):
        ControlServer(lambda request: Answer(), "no-such-group", tmp_path / "run" / "control.sock")


def test_a_place_where_no_socket_can_be_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WorldError, match=r"the control socket .* cannot be made"):
        ControlServer(lambda request: Answer(), GROUP, tmp_path / "file" / "control.sock")


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\0",
        b"\0\0\0\0",
        b"\0\0\0\x05hello",
        b"\0\0\0\x03" + b"0:," * 1,
        b"\xff\xff\xff\xff" + b"x" * 1000,
        (frames.LIMIT + 1).to_bytes(4, "big") + b"1:a,",
        b"GET / HTTP/1.1\r\n\r\n",
        frames.encode([b"status"])[:-1],
    ],
)
def test_garbage_gets_no_answer_and_costs_nobody_else(daemon: Daemon, message: bytes) -> None:
    with daemon.connect() as client:
        client.sendall(message)
        client.shutdown(socket.SHUT_WR)
        assert is_cut_off(client)
    assert daemon.asked == []
    assert still_serves(daemon)


def test_an_oversized_message_is_cut_off_before_it_is_sent(daemon: Daemon) -> None:
    with daemon.connect() as client:
        client.sendall((frames.LIMIT + 1).to_bytes(4, "big"))
        assert is_cut_off(client)


def test_a_client_that_leaves_before_its_answer_costs_nobody_else(daemon: Daemon) -> None:
    for _ in range(CLIENTS + 5):
        with daemon.connect() as client:
            client.sendall(frames.encode([b"version", b""]))
    assert eventually(lambda: len(daemon.asked) == CLIENTS + 5)
    assert still_serves(daemon)


def test_a_fault_in_an_answer_costs_nobody_else(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda fault: None)
    for _ in range(CLIENTS + 5):
        with daemon.connect() as client:
            client.sendall(frames.encode([b"version", b"fail", b""]))
            assert is_cut_off(client)
    assert still_serves(daemon)


def test_clients_that_wait_for_a_busy_daemon_do_not_hold_others_up(daemon: Daemon) -> None:
    daemon.hold.clear()
    waiting = [daemon.connect() for _ in range(CLIENTS // 2)]
    for client in waiting:
        client.sendall(frames.encode([b"status", b""]))
    assert eventually(lambda: len(daemon.asked) == len(waiting))
    assert still_serves(daemon)
    daemon.hold.set()
    for client in waiting:
        with closing(client):
            assert frames.receive(client.recv) == [b"0", b"status it is"]


def test_slow_clients_are_cut_off_in_time_and_hold_nobody_up(daemon: Daemon) -> None:
    """One says nothing, one begins and stops, and one sends a byte now and then, which buys it no more time."""
    began = time.monotonic()
    silent, begun, dribbling = (daemon.connect() for _ in range(3))
    crowd = [daemon.connect() for _ in range(CLIENTS // 2)]
    message = frames.encode([b"status", b"x" * 100])
    begun.sendall(message[:10])
    assert still_serves(daemon)
    for byte in message[:60]:
        with contextlib.suppress(BrokenPipeError):
            dribbling.sendall(bytes([byte]))
        if time.monotonic() - began > READ_SECONDS + 0.5:
            break
        time.sleep(0.2)
    for client in (silent, begun, dribbling, *crowd):
        with closing(client):
            client.settimeout(1)
            assert is_cut_off(client)
    assert time.monotonic() - began < READ_SECONDS + 4
    assert daemon.asked == [Request("version", (), b"")]
    assert still_serves(daemon)


def test_a_crowd_that_takes_every_place_gives_them_back_in_time(daemon: Daemon) -> None:
    crowd = [daemon.connect() for _ in range(CLIENTS)]
    for client in crowd[:-5]:
        client.close()
    assert still_serves(daemon)
    for client in crowd[-5:]:
        client.close()
