"""vnetctl's side of the control socket."""

from __future__ import annotations

import socket
import struct

from vnetd import frames
from vnetd.errors import Unavailable, WorldError
from vnetd.requests import Answer

ANSWER_SECONDS = 30


def ask_daemon(verb: str, *arguments: str, path: str = frames.SOCKET) -> Answer | None:
    """The daemon's answer, or None where none runs. Raises WorldError when it may not be asked, or goes silent."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", ANSWER_SECONDS, 0))
        try:
            client.connect(path)
            client.settimeout(ANSWER_SECONDS)
        except BlockingIOError:
            raise Unavailable(f"the daemon took nobody in for {ANSWER_SECONDS} s; see journalctl -u vnetd") from None
        except PermissionError:
            raise WorldError("only root and the control_group of /etc/vnetd/vnetd.toml may ask the daemon; use sudo") from None
        except OSError:
            return None
        try:
            client.sendall(frames.encode([verb.encode(), *(one.encode() for one in arguments), b""]))
            status, text = frames.receive(client.recv)
        except (OSError, EOFError, ValueError) as error:
            raise Unavailable(f"the daemon did not answer ({error}); see journalctl -u vnetd") from None
    return Answer(int(status), text.decode("utf-8", "replace"))
