"""The hooks' and scripts' side: hand over to the daemon, or do the same pass in another process.

libvirt and QEMU wait for this, a guest's start with it, so it imports nothing but
the interpreter's own ``_socket``: about 7 ms from start to end, where the libraries
alone would take 250. Without a daemon it starts an interpreter that loads them all
and makes the pass.
"""

import os
import sys

from vnetd import frames

WAIT_SECONDS = 25
"""Longer than the daemon's own deadlines, so that its answer arrives and not only silence."""

NETWORK_MARK = b"urn:vnetd:network:1"
MAY_REFUSE = ("prepare", "start")


def hook(verb: str, argv: "list[str]", python: str) -> int:
    """A libvirt hook: argv is NAME OPERATION SUB-OPERATION EXTRA, standard input the XML. Returns the exit status."""
    if len(argv) < 2:
        sys.stderr.write("vnetd: a hook is called as NAME OPERATION SUB-OPERATION EXTRA, with XML on standard input\n")
        return 2
    payload, operation = _stdin(), argv[1]
    if verb == "network" and NETWORK_MARK not in payload and payload:
        return 0  # Somebody else's network: not even the daemon need know.
    status, text = _ask([verb, *argv], payload, python)
    if not status:
        return 0
    if text:
        sys.stderr.write(f"vnetd: {text}\n")
    # Any other operation must not fail, whatever happened: a failing "reconnect" kills a running guest.
    return status if operation in MAY_REFUSE else 0


def script(verb: str, path: str, argv: "list[str]", python: str) -> int:
    """QEMU's ifup or ifdown script: argument 1 is the tap, ``path`` what the script was called as. Returns the exit status."""
    if len(argv) != 1:
        sys.stderr.write("vnetd: write the tap's name as the only argument, as QEMU does\n")
        return 2
    status, text = _ask([verb, argv[0], os.path.basename(path)], _parent(), python)
    if text:
        sys.stderr.write(f"vnetd: {text}\n")
    return status


def _stdin() -> bytes:
    pieces = []
    size = 0
    while size <= frames.LIMIT:
        piece = os.read(0, 1 << 16)
        if not piece:
            break
        pieces.append(piece)
        size += len(piece)
    # One byte over XML's limit is enough for the reader to refuse it by name.
    return b"".join(pieces)[: 4 * 1024 * 1024 + 1]


def _parent() -> bytes:
    """The command line of whoever runs the script: QEMU's names the NIC's MAC."""
    try:
        with open(f"/proc/{os.getppid()}/cmdline", "rb") as file:
            return file.read(1 << 18)
    except OSError:
        return b""


def _ask(fields: "list[str]", payload: bytes, python: str) -> "tuple[int, str]":
    request = [os.fsencode(one) for one in fields] + [payload]
    return _daemon(request) or _pass_here(request, python)


def _daemon(request: "list[bytes]") -> "tuple[int, str] | None":
    """The daemon's answer, or None where there is no daemon."""
    import _socket

    client = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        # A blocking connect waits for its place where many hooks come at once, but no longer than this.
        bound = WAIT_SECONDS.to_bytes(8, sys.byteorder) + bytes(8)
        client.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, bound)
        client.connect(frames.SOCKET)
        client.settimeout(WAIT_SECONDS)
    except BlockingIOError:
        client.close()
        return 1, f"the daemon took nobody in for {WAIT_SECONDS} s; see vnetctl status"
    except OSError:
        client.close()
        return None
    try:
        client.sendall(frames.encode(request))
        status, text = frames.receive(client.recv)
        return int(status), text.decode("utf-8", "replace")
    except TimeoutError:
        return 1, f"the daemon did not answer within {WAIT_SECONDS} s; see vnetctl status"
    except (EOFError, ConnectionError):
        return None  # It was stopped between the question and the answer: the pass is repeatable, so do it here.
    except (OSError, ValueError) as error:
        return 1, f"the daemon cannot be understood ({error}); restart it"
    finally:
        client.close()


def _pass_here(request: "list[bytes]", python: str) -> "tuple[int, str]":
    """The pass, by a process that loads what it needs. The request goes through a memory file on its standard input."""
    memory = os.memfd_create("vnetd-request")
    with open(memory, "wb", closefd=False) as file:
        file.write(frames.encode(request))
    os.lseek(memory, 0, os.SEEK_SET)
    try:
        child = os.posix_spawn(python, [python, "-I", "-m", "vnetd.oneshot"], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, memory, 0)])
    except OSError as error:
        return 1, f"{python} cannot be run ({error.strerror}); run vnetctl install"
    import time

    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            # It says itself what is wrong; its status is judged here, where it is known who may be refused.
            return os.waitstatus_to_exitcode(status), ""
        time.sleep(0.005)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return 1, f"the pass was not done within {WAIT_SECONDS} s; is openvswitch-switch well?"
