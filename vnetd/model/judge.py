"""The judge of a link: what the kernel holds each frame to, before Open vSwitch or the host's own stack sees it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

DETOUR = "vnetd-sums"
"""The device by which frames of ``Way.COMPLETE`` go, on every host; it is there as long as there are judges."""


class Way(StrEnum):
    """What becomes of the frames that a filter picks.

    A guest's NIC may ask for a checksum over any bytes at any place of a frame (virtio's NEEDS_CSUM), and
    the kernel writes it when it sends the frame on, after all have judged it. So no frame passes with such a wish.
    """

    DROP = "drop"
    OPEN = "open"
    """As it is: nobody can have wished for anything."""
    SUM = "sum"
    """With the checksum of its TCP, UDP or ICMP at the place where that stands; real segments of TCP keep their wish."""
    COMPLETE = "complete"
    """By a detour on which what was wished for is done, so that Open vSwitch judges the bytes that are delivered."""


@dataclass(frozen=True, slots=True)
class Filter:
    """One filter: what becomes of the frames that ``program`` picks; ``reason`` is a number of the pipeline's ``Reason``.

    ``program`` is classic BPF as the kernel takes it.
    """

    program: bytes = field(repr=False)
    way: Way = Way.DROP
    reason: int | None = None


@dataclass(frozen=True)
class Judge:
    """The filters of one link in their order, and what they stand for, in words."""

    filters: tuple[Filter, ...]
    words: str

    @cached_property
    def digest(self) -> str:
        """What tells it from any other; "" is no judge at all."""
        return digest_of(self.filters)


def digest_of(filters: tuple[Filter, ...]) -> str:
    """The digest of a judge that has these filters."""
    made = hashlib.blake2s(digest_size=16)
    for one in filters:
        made.update(f"{one.way} {0 if one.reason is None else int(one.reason)} {len(one.program)}\n".encode())
        made.update(one.program)
    return made.hexdigest()


JudgeCounts = dict[str, dict[int, tuple[int, int]]]
"""(packets, bytes) that the judge of each link has dropped, by the number of the reason."""
