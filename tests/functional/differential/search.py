"""Frames into a tap of a data plane that caches nothing, and what each parser reads in them."""

from __future__ import annotations

import struct
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from differential.classes import COMPLETED, UNKNOWN, classes_of
from differential.datapath import Datapath
from differential.readings import TAG, Reading, kernel_reading, switch_reading
from differential.tap import Header, Tap

TAGS = (b"\x81\x00", b"\x88\xa8")
STOP = b"\xff\xff"
"""An EtherType behind which neither parser looks."""


@dataclass(frozen=True, slots=True)
class Read:
    """A frame, and what the two read in it."""

    frame: bytes
    """As it was sent."""
    header: Header
    asked: bytes
    """As it was asked about, with the checksum completed."""
    kernel: Reading
    switch: Reading

    @property
    def classes(self) -> list[str]:
        """Of the difference, none if there is none."""
        return classes_of(self.kernel, self.switch) if self.kernel != self.switch else []


def pcap(frames: Iterable[bytes]) -> bytes:
    """A capture file with these frames."""
    made = [struct.pack("<IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 1 << 18, 1)]
    for frame in frames:
        made += [struct.pack("<IIII", 0, 0, len(frame), len(frame)), frame]
    return b"".join(made)


def one_tag(frame: bytes) -> bytes:
    """The frame as one whose second tag nobody reads: ovs-vswitchd reads one (vlan-limit=1), and ``ovs-ofctl`` two."""
    return frame[:16] + STOP + frame[18:] if frame[12:14] in TAGS and frame[16:18] in TAGS else frame


def switch_readings(frames: list[bytes]) -> list[Reading]:
    """What ovs-vswitchd reads in each of these."""
    with tempfile.NamedTemporaryFile(suffix=".pcap") as file:
        Path(file.name).write_bytes(pcap(one_tag(frame) for frame in frames))
        done = subprocess.run(["ovs-ofctl", "parse-pcap", file.name], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == len(frames), f"{len(lines)} flows of {len(frames)} frames"
    found = [switch_reading(line) for line in lines]
    for frame, reading in zip(frames, found, strict=True):
        if one_tag(frame) != frame:
            reading["eth_type"] = TAG
    return found


class Bench:
    """A tap in a data plane of its own."""

    def __init__(self, name: str = "difsearch") -> None:
        self.tap = Tap(f"{name}0", offloads=0)
        for command in (f"ip link set {name}0 mtu 9000", f"sysctl -qw net.ipv6.conf.{name}0.disable_ipv6=1", f"ip link set {name}0 up"):
            subprocess.run(command.split(), check=True)
        self.datapath = Datapath(name)
        self.datapath.add(f"{name}0")
        self.refused = 0
        """Frames that the tap or the kernel's parser threw away."""

    def close(self) -> None:
        self.datapath.close()

    def read(self, sent: Iterable[tuple[bytes, Header]]) -> Iterator[Read]:
        """What becomes of each frame; a large one with segments may be asked about in pieces."""
        asked = []
        for frame, header in sent:
            self.datapath.questions()
            try:
                self.tap.send(frame, header)
            except OSError:
                self.refused += 1
                continue
            questions = self.datapath.questions()
            self.refused += not questions
            asked += [(frame, header, packet, key) for key, packet in questions]
        switch = switch_readings([packet for _, _, packet, _ in asked])
        for (frame, header, packet, key), reading in zip(asked, switch, strict=True):
            yield Read(frame, header, packet, kernel_reading(key), reading)


def by_completion(found: list[Read]) -> list[tuple[Read, list[str]]]:
    """What differs, with its classes: where the two agree about the frame as it was sent, it is the checksum that was written into it."""
    differing = [one for one in found if one.classes]
    before = switch_readings([one.frame for one in differing])
    kinds = []
    for one, reading in zip(differing, before, strict=True):
        as_sent = classes_of(one.kernel, reading) if one.kernel != reading else []
        named = [COMPLETED, *as_sent] if any(name not in as_sent for name in one.classes) and not _unknown(as_sent) else one.classes
        kinds.append((one, named))
    return kinds


def _unknown(names: list[str]) -> bool:
    return any(name.startswith(UNKNOWN) for name in names)


@dataclass(slots=True)
class Findings:
    """How often which class was met, and the shortest frame of each."""

    frames: int = 0
    refused: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    shortest: dict[str, Read] = field(default_factory=dict)

    def enter(self, one: Read, names: list[str]) -> None:
        for name in names:
            self.counts[name] += 1
            if name not in self.shortest or len(one.frame) < len(self.shortest[name].frame):
                self.shortest[name] = one

    def lines(self) -> list[str]:
        """To read: each class, how often it was met, and an example."""
        return [f"{many:8} {name}: {self.shortest[name].frame.hex()}" for name, many in self.counts.most_common()]
