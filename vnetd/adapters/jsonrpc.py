"""One question by JSON-RPC on a Unix socket, and its answer: both of Open vSwitch's daemons speak it (RFC 7047, ovs-appctl(8))."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from typing import Any

from vnetd.errors import Unavailable, WorldError

TIMEOUT = 10.0


class Refused(WorldError):
    """Whoever was asked answers, but knows no such question, or no such object."""


def ask(who: str, path: str, method: str, params: Sequence[object], seconds: float = TIMEOUT) -> Any:
    """The result. ``who`` is for people. Raises Unavailable where nobody answers, and Refused."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(seconds)
            client.connect(path)
            client.sendall(json.dumps({"id": 0, "method": method, "params": list(params)}).encode())
            reply = _receive(client)
    except TimeoutError:
        raise Unavailable(f"{who} did not answer {method} within {seconds:g} s") from None
    except OSError as error:
        raise Unavailable(f"{who} does not answer at {path}: {error.strerror or error}") from None
    if reply.get("error") is not None:
        raise Refused(f"{who} refused {method}: {' '.join(str(reply['error']).split())}")
    return reply.get("result")


def _receive(client: socket.socket) -> dict[str, Any]:
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
