"""The matrix's frames: what each sender sends, and what must become of it by the rules of ``rules``."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from vlans.ports import Arena, Port
from vlans.rules import C_TAG, S_TAG, Tags, admitted, shown, vid

BROADCAST = "ff:ff:ff:ff:ff:ff"
STRANGER = "52:54:00:b4:ff:ff"
EXPERIMENT = 0x88B5
"""IEEE 802, table 4: an EtherType for local experiments."""

KINDS: dict[str, Tags] = {
    "untagged": (),
    "10": ((C_TAG, 10),),
    "20": ((C_TAG, 5 << 13 | 20),),
    "30": ((C_TAG, 30),),
    "priority": ((C_TAG, 3 << 13),),
    "100/10": ((C_TAG, 100), (C_TAG, 10)),
    "100/30": ((C_TAG, 100), (C_TAG, 30)),
    "10/10": ((C_TAG, 10), (C_TAG, 10)),
    "10/20": ((C_TAG, 10), (C_TAG, 20)),
    "ad 100/10": ((S_TAG, 100), (C_TAG, 10)),
    "ad 10/10": ((S_TAG, 10), (C_TAG, 10)),
}
"""By how they are tagged; one has a priority in its tag. "ad" is IEEE 802.1ad's tag outside."""

_MARK = b"matrix"
_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Shot:
    """One frame: from which port, in which tags, to whom."""

    number: int
    sender: Port
    kind: str
    cast: str
    target: Port | None = None

    @property
    def tags(self) -> Tags:
        return KINDS[self.kind]

    @property
    def inside(self) -> Tags | None:
        return admitted(self.sender.mode, self.tags)

    @property
    def frame(self) -> bytes:
        dst = self.target.mac if self.target else BROADCAST if self.cast == "broadcast" else STRANGER
        return ether(dst, self.sender.mac, self.tags, _MARK + b"%07d." % self.number)

    def at(self, port: Port) -> Tags | None:
        """How it must arrive at a port; None where it must not."""
        if self.inside is None or port is self.sender or not (self.cast == "broadcast" or self.target is port):
            return None
        return shown(port.mode, self.inside)

    @property
    def on_the_wire(self) -> range:
        """How often it may be seen between the hosts. What is for a guest of the sender's host may be flooded until that has spoken."""
        if self.inside is None:
            return range(1)
        if self.target is not None and self.target.host == self.sender.host:
            return range(1) if self.cast == "known" and self.at(self.target) is not None else range(2)
        return range(1, 2)

    def __str__(self) -> str:
        to = f" to {self.target.name}" if self.target else ""
        return f"{self.sender.name}, {self.kind}, {self.cast}{to}"


def shots(sender: Port, arena: Arena, cast: str) -> Iterator[Shot]:
    """Frames of every kind from one port: to all or a stranger, or to each port that does not send."""
    targets: Sequence[Port | None] = [None]
    if cast not in ("broadcast", "stranger"):
        targets = [port for port in arena.ports if not port.sends]
    for kind in KINDS:
        for target in targets:
            yield Shot(next(_numbers), sender, kind, cast, target)


def ether(dst: str, src: str, tags: Tags, payload: bytes) -> bytes:
    """An Ethernet frame of the least size that has one."""
    head = b"".join(bytes.fromhex(mac.replace(":", "")) for mac in (dst, src))
    head += b"".join(struct.pack("!HH", tpid, tci) for tpid, tci in tags)
    return (head + struct.pack("!H", EXPERIMENT) + payload).ljust(60, b"\0")


def tags_of(frame: bytes) -> Tags:
    """The tags that a frame has."""
    found, at = [], 12
    while (tpid := struct.unpack_from("!H", frame, at)[0]) in (C_TAG, S_TAG):
        found.append((tpid, struct.unpack_from("!H", frame, at + 2)[0]))
        at += 4
    return tuple(found)


def number_of(frame: bytes) -> int | None:
    """Which shot of the matrix's a frame is."""
    start = frame.find(_MARK)
    return int(frame[start + len(_MARK) : start + len(_MARK) + 7]) if start >= 0 else None


def alike(seen: Tags, wanted: Tags) -> bool:
    """Whether tags are the wanted ones. A priority that the guest wrote must stay; for its own tags the switch may choose one."""
    return len(seen) == len(wanted) and all(
        tpid == other and vid(tci) == vid(right) and (tci == right or right == vid(right))
        for (tpid, tci), (other, right) in zip(seen, wanted, strict=True)
    )


def written(tags: Tags) -> str:
    """Tags to read."""
    return "/".join(f"{'' if tpid == C_TAG else 'ad '}{vid(tci)}{f'.{tci >> 13}' if tci >> 13 else ''}" for tpid, tci in tags) or "untagged"
