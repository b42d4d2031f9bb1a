"""A machine for classic BPF: what a program makes of a frame, as the kernel's own would (linux/filter.h, net/core/filter.c)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

TAG_TYPES = (0x8100, 0x88A8)
"""EtherTypes whose tag the kernel takes out of a frame's bytes before anybody judges it (skb_vlan_untag)."""


@dataclass(frozen=True)
class Received:
    """A frame as it meets a filter at a link's ingress."""

    data: bytes
    tag: int | None = None

    @classmethod
    def of(cls, frame: bytes) -> Received:
        """A frame from the wire; a tag of which not even the EtherType behind it is there is dropped by the kernel itself."""
        if len(frame) >= 18 and struct.unpack_from("!H", frame, 12)[0] in TAG_TYPES:
            return cls(frame[:12] + frame[16:], struct.unpack_from("!H", frame, 14)[0])
        return cls(frame)


@dataclass
class Machine:
    """The registers and the scratch memory; ``steps`` counts what was carried out."""

    program: bytes
    steps: int = 0
    memory: dict[int, int] = field(default_factory=dict)

    def run(self, frame: Received) -> int:
        """What the program returns: 0 where it loads from beyond the frame."""
        lines = list(struct.iter_unpack("=HBBI", self.program))
        a = x = at = 0
        self.memory = {}
        while True:
            code, yes, no, k = lines[at]
            at += 1
            self.steps += 1
            kind = code & 7
            if kind == 0:
                value = self._load(frame, code, k, x)
                if value is None:
                    return 0
                a = value
            elif kind == 1:
                value = 4 * (frame.data[k] & 15) if code & 0xE0 == 0xA0 and k < len(frame.data) else self.memory.get(k)
                if code & 0xE0 == 0xA0 and k >= len(frame.data):
                    return 0
                assert value is not None, "read before it was written"
                x = value
            elif kind == 2:
                self.memory[k] = a
            elif kind == 4:
                a = self._count(code & 0xF0, a, x if code & 8 else k)
            elif kind == 5:
                operand = x if code & 8 else k
                held = {0x10: a == operand, 0x20: a > operand, 0x30: a >= operand, 0x40: bool(a & operand)}
                at += k if code & 0xF0 == 0 else yes if held[code & 0xF0] else no
            elif kind == 6:
                return int(k)
            elif code & 0x80:
                a = x
            else:
                x = a

    def _load(self, frame: Received, code: int, k: int, x: int) -> int | None:
        mode, size = code & 0xE0, {0x00: 4, 0x08: 2, 0x10: 1}[code & 0x18]
        if mode == 0x00:
            return k
        if mode == 0x60:
            assert k in self.memory, "read before it was written"
            return self.memory[k]
        if mode == 0x80:
            return len(frame.data)
        if mode == 0x20 and k >= 0xFFFFF000:
            return {44: frame.tag or 0, 48: int(frame.tag is not None)}[k - 0xFFFFF000]
        place = k + (x if mode == 0x40 else 0)
        return int.from_bytes(frame.data[place : place + size], "big") if place + size <= len(frame.data) else None

    @staticmethod
    def _count(operation: int, a: int, operand: int) -> int:
        found = {0x00: a + operand, 0x10: a - operand, 0x50: a & operand, 0x60: a << (operand & 31)}[operation]
        return found & 0xFFFF_FFFF


def lines_of(program: bytes) -> int:
    """How many instructions a program has."""
    return len(program) // 8
