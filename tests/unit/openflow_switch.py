"""A small OpenFlow 1.4 switch with state, on a management socket of its own."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from pathlib import Path

HELLO = bytes.fromhex("05 00 0010 00000001 0001 0008 00000020")


def error(xid: int, kind: int, code: int) -> bytes:
    return struct.pack("!BBHIHH", 5, 1, 12, xid, kind, code)


class FakeSwitch(threading.Thread):
    """A bridge's management socket. It answers as Open vSwitch does, and its meters are (flags, bands) as they came."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self.meters: dict[int, tuple[int, bytes]] = {}
        self.drops: dict[int, tuple[int, int]] = {}
        self.config = 0
        """The flags of ofp_switch_config: how fragments are handled."""
        self.groups: dict[int, bytes] = {}
        """What follows the command in the message that made each: its type, number and buckets."""
        self.stubborn = False
        self.room = 100000
        self.hello = HELLO
        self.echo = b""
        self.mute = False
        self.hangs_up = False
        self.vanish: set[int] = set()
        """Meters that go as soon as somebody is told that they exist."""
        self.heard: list[bytes] = []
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(path))
        self.listener.listen()
        self.start()

    def run(self) -> None:
        with self.listener, contextlib.suppress(OSError):  # The listener ends when it is shut down.
            while True:
                client, _ = self.listener.accept()
                # A client may hang up before it has read its answer, which ends its conversation and not the switch.
                with client, contextlib.suppress(OSError):
                    self.serve(client)

    def stop(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.join(5)

    def serve(self, client: socket.socket) -> None:
        client.sendall(self.hello)
        stream = client.makefile("rb")
        while len(header := stream.read(8)) == 8:
            _, kind, length, xid = struct.unpack("!BBHI", header)
            body = stream.read(length - 8)
            self.heard.append(header + body)
            if self.hangs_up and kind != 0:
                return
            if self.mute:
                continue
            # Not more is read than what is answered: a client that only writes would wait for ever.
            client.sendall(self.answer(kind, xid, body))

    def answer(self, kind: int, xid: int, body: bytes) -> bytes:
        if kind == 7:
            return struct.pack("!BBHIHH", 5, 8, 12, xid, self.config, 128)
        if kind == 9:
            self.config = self.config if self.stubborn else struct.unpack_from("!H", body)[0]
            return b""
        if kind == 29:
            return self.change(xid, body)
        if kind == 15:
            command, number = struct.unpack("!H2xI", body[:8])
            if self.stubborn or (command != 2 and (command == 0) == (number in self.groups)):
                return error(xid, 6, 0 if command == 0 else 8)
            if command == 2:
                self.groups.pop(number, None)
            else:
                self.groups[number] = body[2:]
            return b""
        if kind == 18:
            return self.tell(xid, struct.unpack_from("!H", body)[0])
        if kind == 20:
            echo = struct.pack("!BBHI", 5, 2, 8 + len(self.echo), 0xABCD) + self.echo if self.echo else b""
            return echo + struct.pack("!BBHI", 5, 21, 8, xid)
        return b""

    def change(self, xid: int, body: bytes) -> bytes:
        command, flags, number = struct.unpack_from("!HHI", body)
        if command == 0 and number in self.meters:
            if number in self.vanish:
                del self.meters[number]
            return error(xid, 12, 1)
        if command == 0 and len(self.meters) >= self.room:
            return error(xid, 12, 10)
        if command in (1, 2) and number not in self.meters:
            return error(xid, 12, 3)
        if command == 2:
            del self.meters[number]
        else:
            self.meters[number] = flags, body[8:]
        return b""

    def tell(self, xid: int, kind: int) -> bytes:
        if kind == 7:
            entries = [struct.pack("!H", 2 + len(group)) + group for group in self.groups.values()]
        elif kind == 11:
            entries = [struct.pack("!IIIBB2x", self.room, 2, 15, 1, 0)]
        elif kind == 10:
            entries = [struct.pack("!HHI", 8 + len(bands), flags, number) + bands for number, (flags, bands) in sorted(self.meters.items())]
        else:
            entries = [
                struct.pack("!IH6xIQQIIQQ", number, 56, 1, 99, 999, 1, 1, *self.drops.get(number, (0, 0))) for number in sorted(self.meters)
            ]
        # In parts of a thousand, each but the last with the flag that more follow (7.3.5).
        parts = [b"".join(entries[at : at + 1000]) for at in range(0, max(len(entries), 1), 1000)]
        heads = [struct.pack("!BBHIHHI", 5, 19, 16 + len(part), xid, kind, part is not parts[-1], 0) for part in parts]
        return b"".join(head + part for head, part in zip(heads, parts, strict=True))
