"""Classic BPF, written with labels: the instructions of the kernel's packet filter, as tc's classifier ``bpf`` takes them.

Strategy: code is written once, and ends in outcomes with names. ``assemble`` makes the
program that picks the frames of some of these outcomes: it leaves out every instruction
from which no picked outcome can be reached, so that a program that looks for one rare
thing is short. Jumps go forward only, and a program always ends; a load from beyond the
frame ends it with 0, which picks nothing (Documentation/networking/filter.rst).
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass

PICKED, PASSED_BY = 0xFFFF_FFFF, 0
"""What a program returns: -1 is a match with the filter's own class, 0 none (net/sched/cls_bpf.c)."""

MOST = 4096
"""BPF_MAXINSNS."""

BYTE, HALF, WORD = 0x10, 0x08, 0x00
"""How much a load takes: 1, 2 and 4 bytes, in network order."""

VLAN_TAG, VLAN_TAG_PRESENT = 0xFFFFF000 + 44, 0xFFFFF000 + 48
"""What stands beside the frame (linux/filter.h): the kernel takes the outermost 802.1Q or 802.1ad tag out of the bytes."""

_LD, _LDX, _ST, _STX, _ALU, _JMP, _RET, _MISC = range(8)
_ABS, _IND, _MEM, _LEN, _MSH = 0x20, 0x40, 0x60, 0x80, 0xA0
_X = 0x08
_ADD, _SUB, _AND, _LSH = 0x00, 0x10, 0x50, 0x60
_JA, _JEQ, _JGT, _JGE, _JSET = 0x00, 0x10, 0x20, 0x30, 0x40
_TAX, _TXA = 0x00, 0x80
_INSTRUCTION = struct.Struct("=HBBI")
_NUMBER = struct.Struct("=I")
_NEAR = 255

ALL, NONE = _INSTRUCTION.pack(_RET, 0, 0, PICKED), _INSTRUCTION.pack(_RET, 0, 0, PASSED_BY)
"""The programs that pick every frame, and no frame."""


Operand = int | str
"""A number, or the name of one that is filled in later."""


@dataclass(frozen=True, slots=True)
class Template:
    """A program in which some numbers are still to be filled in: (place in bytes, name) of each."""

    program: bytes
    blanks: tuple[tuple[int, str], ...] = ()

    def filled(self, values: Mapping[str, int]) -> bytes:
        """The program with these numbers in it."""
        if not self.blanks:
            return self.program
        made = bytearray(self.program)
        for at, name in self.blanks:
            _NUMBER.pack_into(made, at, values[name])
        return bytes(made)


@dataclass(frozen=True, slots=True)
class _Line:
    """One instruction. ``yes`` and ``no`` are where a jump leads, -1 of anything else."""

    code: int
    k: Operand = 0
    yes: int = -1
    no: int = -1


class Assembler:
    """The code of one decision. A is the accumulator, X the index register, slots 0 to 15 are scratch memory."""

    def __init__(self) -> None:
        self._lines: list[tuple[int, Operand, str, str]] = []
        self._labels: dict[str, int] = {}
        self._fresh = 0

    def fresh(self) -> str:
        """A label that nobody has used."""
        self._fresh += 1
        return f".{self._fresh}"

    def label(self, name: str) -> None:
        """The next instruction is called so."""
        self._labels[name] = len(self._lines)

    def load(self, size: int, at: int) -> None:
        """A is what stands at a place of the frame."""
        self._lines.append((_LD | size | _ABS, at, "", ""))

    def load_at_x(self, size: int, at: int) -> None:
        """A is what stands ``at`` bytes behind the place X."""
        self._lines.append((_LD | size | _IND, at, "", ""))

    def beside(self, what: int) -> None:
        """A is something that the kernel keeps beside the frame."""
        self._lines.append((_LD | WORD | _ABS, what, "", ""))

    def length(self) -> None:
        """A is the frame's length in bytes."""
        self._lines.append((_LD | WORD | _LEN, 0, "", ""))

    def header_length(self, at: int) -> None:
        """X is four times the lower half of the byte at a place: the length of an IPv4 header."""
        self._lines.append((_LDX | BYTE | _MSH, at, "", ""))

    def recall(self, slot: int) -> None:
        self._lines.append((_LD | _MEM, slot, "", ""))

    def recall_x(self, slot: int) -> None:
        self._lines.append((_LDX | _MEM, slot, "", ""))

    def keep(self, slot: int) -> None:
        self._lines.append((_ST, slot, "", ""))

    def constant(self, value: int) -> None:
        self._lines.append((_LD, value, "", ""))

    def add(self, value: int) -> None:
        self._lines.append((_ALU | _ADD, value, "", ""))

    def add_x(self) -> None:
        self._lines.append((_ALU | _ADD | _X, 0, "", ""))

    def subtract(self, value: int) -> None:
        self._lines.append((_ALU | _SUB, value, "", ""))

    def subtract_x(self) -> None:
        self._lines.append((_ALU | _SUB | _X, 0, "", ""))

    def mask(self, value: int) -> None:
        self._lines.append((_ALU | _AND, value, "", ""))

    def shift_left(self, bits: int) -> None:
        self._lines.append((_ALU | _LSH, bits, "", ""))

    def to_x(self) -> None:
        self._lines.append((_MISC | _TAX, 0, "", ""))

    def from_x(self) -> None:
        self._lines.append((_MISC | _TXA, 0, "", ""))

    def jump(self, to: str) -> None:
        self._lines.append((_JMP | _JA, 0, to, to))

    def equal(self, value: Operand, yes: str = "", no: str = "") -> None:
        """Go to ``yes`` where A is the value and to ``no`` where it is not; "" goes on."""
        self._branch(_JEQ, value, yes, no)

    def above(self, value: Operand, yes: str = "", no: str = "") -> None:
        self._branch(_JGT, value, yes, no)

    def above_x(self, yes: str = "", no: str = "") -> None:
        self._branch(_JGT | _X, 0, yes, no)

    def at_least(self, value: Operand, yes: str = "", no: str = "") -> None:
        self._branch(_JGE, value, yes, no)

    def any_bit(self, bits: int, yes: str = "", no: str = "") -> None:
        self._branch(_JSET, bits, yes, no)

    def _branch(self, kind: int, value: Operand, yes: str, no: str) -> None:
        on = self.fresh()
        self._lines.append((_JMP | kind, value, yes or on, no or on))
        self.label(on)

    def assemble(self, picked: Collection[str]) -> Template:
        """The program that picks the frames whose outcome, the label that they end at, is one of these.

        Raises ValueError where it is longer than the kernel takes.
        """
        last = len(self._lines)
        places = {**dict.fromkeys(picked, last), **self._labels}
        lines = [
            _Line(code, k, places.get(yes, last + 1), places.get(no, last + 1)) if yes else _Line(code, k)
            for code, k, yes, no in self._lines
        ]
        return _encoded(_pruned(lines))


def _pruned(lines: list[_Line]) -> list[_Line]:
    """Without what leads to no picked outcome, and with two lines behind the rest: one that picks, and one that does not."""
    last = len(lines)
    picks, passes = last, last + 1
    # Where one is led who comes to each line: there, or wherever all that it does is to lead on.
    ways = [passes] * last + [picks, passes]
    for at in range(last - 1, -1, -1):
        line = lines[at]
        if line.yes < 0:
            ways[at] = at if ways[at + 1] != passes else passes
        else:
            ways[at] = at if ways[line.yes] != ways[line.no] else ways[line.yes]
    if ways[0] == passes:
        return [_Line(_RET, PASSED_BY)]
    kept: list[_Line] = []
    seats = {}
    wanted = {ways[0]}
    reached = False
    for at, line in enumerate(lines):
        if reached and ways[at] != at:
            # What comes by itself from the line above is led on by a jump.
            wanted.add(ways[at])
            kept.append(_Line(_JMP | _JA, 0, ways[at], ways[at]))
            reached = False
        if not reached and at not in wanted:
            continue
        seats[at] = len(kept)
        reached = line.yes < 0
        if reached:
            kept.append(line)
        else:
            yes, no = ways[line.yes], ways[line.no]
            wanted |= {yes, no}
            kept.append(_Line(line.code, line.k, yes, no))
    seats[picks], seats[passes] = len(kept), len(kept) + 1
    kept += [_Line(_RET, PICKED), _Line(_RET, PASSED_BY)]
    return [line if line.yes < 0 else _Line(line.code, line.k, seats[line.yes], seats[line.no]) for line in kept]


def _encoded(lines: list[_Line]) -> Template:
    """The instructions. A conditional jump reaches 255 lines far; one that goes farther gets jumps of its own behind it."""
    far: set[int] = set()
    while True:
        starts = [0]
        for at in range(len(lines)):
            starts.append(starts[-1] + (3 if at in far else 1))
        if starts[-1] > MOST:
            raise ValueError(f"{starts[-1]} instructions, where the kernel takes {MOST}")
        more = {
            at
            for at, line in enumerate(lines)
            if line.yes >= 0 and line.code != _JMP | _JA and at not in far and starts[max(line.yes, line.no)] - starts[at] - 1 > _NEAR
        }
        if not more:
            break
        far |= more
    made = b"".join(_instructions(line, starts, at, at in far) for at, line in enumerate(lines))
    blanks = tuple((starts[at] * _INSTRUCTION.size + 4, line.k) for at, line in enumerate(lines) if isinstance(line.k, str))
    return Template(made, blanks)


def _instructions(line: _Line, starts: list[int], at: int, far: bool) -> bytes:
    here = starts[at]
    k = 0 if isinstance(line.k, str) else line.k
    if line.yes < 0:
        return _INSTRUCTION.pack(line.code, 0, 0, k)
    yes, no = starts[line.yes], starts[line.no]
    if line.code == _JMP | _JA:
        return _INSTRUCTION.pack(line.code, 0, 0, yes - here - 1)
    if not far:
        return _INSTRUCTION.pack(line.code, yes - here - 1, no - here - 1, k)
    jumps = (_INSTRUCTION.pack(_JMP | _JA, 0, 0, to - here - behind) for to, behind in ((yes, 2), (no, 3)))
    return _INSTRUCTION.pack(line.code, 0, 1, k) + b"".join(jumps)
