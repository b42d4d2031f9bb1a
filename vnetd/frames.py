"""The messages between hooks, scripts, vnetctl and the daemon: a length, then fields as netstrings.

A request is a verb, its arguments and a payload, all bytes; an answer is an exit
status and a text. The format needs no import, since a hook pays for each, and no
quoting, since names and XML are foreign.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SOCKET = "/run/vnetd/control.sock"
LIMIT = 5 * 1024 * 1024
"""Bytes a message may have: an XML at its limit, with the names around it."""


def encode(fields: list[bytes]) -> bytes:
    """A whole message."""
    body = b"".join(b"%d:%s," % (len(one), one) for one in fields)
    return len(body).to_bytes(4, "big") + body


def decode(body: bytes) -> list[bytes]:
    """The fields of a message without its length. Raises ValueError for anything else."""
    fields, at = [], 0
    while at < len(body):
        colon = body.index(b":", at, at + 9)
        digits = body[at:colon]
        if not digits.isdigit():
            raise ValueError("no length before a field")
        end = colon + 1 + int(digits)
        if body[end : end + 1] != b",":
            raise ValueError("a field does not end where it says")
        fields.append(body[colon + 1 : end])
        at = end + 1
    return fields


def receive(read: "Callable[[int], bytes]", limit: int = LIMIT) -> list[bytes]:
    """The fields of the next message from ``read(n)``, a socket's recv. Raises ValueError or EOFError."""
    head = _exactly(read, 4)
    size = int.from_bytes(head, "big")
    if size > limit:
        raise ValueError("the message is too long")
    return decode(_exactly(read, size))


def _exactly(read: "Callable[[int], bytes]", size: int) -> bytes:
    pieces = []
    while size:
        piece = read(min(size, 1 << 16))
        if not piece:
            raise EOFError("the other side went away")
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)
