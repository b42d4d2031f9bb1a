"""The daemon's control socket.

Owner and group only: its mode keeps others out, and SO_PEERCRED tells root, who may
change things, from the group, which may read. Each client has a thread and a
deadline; there are only so many at once, so a slow or broken one costs nobody else.
"""

from __future__ import annotations

import grp
import logging
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

from vnetd import frames
from vnetd.errors import WorldError
from vnetd.requests import Answer, Request

LOG = logging.getLogger("vnetd.control")
CLIENTS = 64
READ_SECONDS = 5
READING_VERBS = frozenset({"status", "drops", "tunnels", "version"})


class ControlServer(threading.Thread):
    """Accepts clients and hands each request to ``answer``, which may block."""

    def __init__(self, answer: Callable[[Request], Answer], group: str, path: Path = Path(frames.SOCKET)) -> None:
        super().__init__(name="control", daemon=True)
        self._answer = answer
        self._places = threading.BoundedSemaphore(CLIENTS)
        self._path = path
        self._socket = _listen(path, group)
        self._stopping = False

    def run(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError as error:
                if self._stopping:
                    return
                LOG.warning("a client could not be taken in: %s", error)
                time.sleep(0.1)
                continue
            self._places.acquire()
            threading.Thread(target=self._serve, args=(client,), name="client", daemon=True).start()

    def stop(self) -> None:
        """Take no more clients."""
        self._stopping = True
        self._path.unlink(missing_ok=True)
        self._socket.close()

    def _serve(self, client: socket.socket) -> None:
        try:
            with client:
                verb, *arguments, payload = frames.receive(_in_time(client))
                request = Request(verb.decode(errors="replace"), tuple(one.decode(errors="replace") for one in arguments), payload)
                answer = self._answer(request) if _allowed(client, request) else Answer(1, "only root may ask for that")
                client.settimeout(READ_SECONDS)
                client.sendall(frames.encode([b"%d" % answer.status, answer.text.encode(errors="replace")]))
        except (OSError, ValueError, EOFError) as error:
            LOG.debug("a client went wrong: %s", error)
        except Exception:
            LOG.exception("a fault of vnetd's own")
        finally:
            self._places.release()


def _in_time(client: socket.socket) -> Callable[[int], bytes]:
    """A recv whose whole message must arrive in time, not only each byte of it."""
    end = time.monotonic() + READ_SECONDS

    def read(size: int) -> bytes:
        client.settimeout(max(end - time.monotonic(), 0.001))
        return client.recv(size)

    return read


def _listen(path: Path, group: str) -> socket.socket:
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        gid = grp.getgrnam(group).gr_gid
        os.chown(path.parent, -1, gid)
        path.unlink(missing_ok=True)
        old = os.umask(0o117)
        try:
            server.bind(str(path))
        finally:
            os.umask(old)
        os.chown(path, -1, gid)
    except KeyError:
        raise WorldError(f"control_group {group} is no group of this host's; write one that getent group shows") from None
    except OSError as error:
        raise WorldError(f"the control socket {path} cannot be made: {error.strerror}") from None
    server.listen(CLIENTS)
    return server


def _allowed(client: socket.socket, request: Request) -> bool:
    credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    return uid == 0 or request.verb in READING_VERBS
