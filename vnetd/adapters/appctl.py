"""ovs-vswitchd's control socket without a process: a question by JSON-RPC takes a tenth of a millisecond (ovs-appctl(8))."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

from vnetd.errors import Unavailable, WorldError

TIMEOUT = 10.0


class Refused(WorldError):
    """ovs-vswitchd answers, but knows no such question, or no such object."""


def pid(rundir: Path) -> str:
    """The process of ovs-vswitchd's, as its pid file says; "" where there is none."""
    try:
        descriptor = os.open(f"{rundir}/ovs-vswitchd.pid", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(descriptor, 32).decode(errors="replace").strip()
    finally:
        os.close(descriptor)


def ask(rundir: Path, method: str, *arguments: str, seconds: float = TIMEOUT) -> str:
    """What ``ovs-appctl METHOD ARGUMENTS`` prints. Raises Unavailable where nobody answers, and Refused."""
    path = f"{rundir}/ovs-vswitchd.{pid(rundir)}.ctl"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(seconds)
            client.connect(path)
            client.sendall(json.dumps({"id": 0, "method": method, "params": list(arguments)}).encode())
            reply = _receive(client)
    except TimeoutError:
        raise Unavailable(f"ovs-vswitchd did not answer {method} within {seconds:g} s") from None
    except OSError as error:
        raise Unavailable(f"ovs-vswitchd does not answer at {path}: {error.strerror or error}") from None
    if reply.get("error") is not None:
        raise Refused(f"ovs-vswitchd refused {method}: {' '.join(str(reply['error']).split())}")
    return str(reply.get("result", ""))


def _receive(client: socket.socket) -> dict[str, object]:
    """One JSON object, which ends where it is whole."""
    heard = b""
    while True:
        piece = client.recv(1 << 16)
        if not piece:
            raise ConnectionResetError(0, "it hung up")
        heard += piece
        try:
            reply = json.loads(heard)
        except ValueError:
            continue
        if isinstance(reply, dict):
            return reply
        raise ConnectionResetError(0, "what it says is no JSON-RPC")
