"""What became of the frames, held against the rules: faults to read, one line each, and the matrix as a table."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from vlans.frames import alike, number_of, tags_of, written
from vlans.ports import HOSTS, Arena
from vlans.rules import Mode
from vlans.stage import Outcome


@dataclass(slots=True)
class Cell:
    """All frames from ports of one mode to ports of another."""

    wanted: int = 0
    right: int = 0
    wrong: int = 0

    def __str__(self) -> str:
        if not (self.wanted or self.right or self.wrong):
            return "-"
        return f"{self.right}/{self.wanted}" + (f" {self.wrong} wrong" if self.wrong else "")


@dataclass(slots=True)
class Verdict:
    """The matrix of one network."""

    cells: dict[tuple[str, Mode, Mode], Cell] = field(default_factory=lambda: defaultdict(Cell))
    faults: list[str] = field(default_factory=list)
    frames: int = 0
    on_the_wire: int = 0

    def table(self, arena: Arena, host: str) -> str:
        """Frames that arrived as they must, of all that must: from hv1's ports (rows) to those of a host (columns)."""
        modes = list(dict.fromkeys(port.mode for port in arena.ports))
        lines = ["".join(name.rjust(16) for name in ("", *(mode.name for mode in modes)))]
        for sender in modes:
            lines.append("".join(text.rjust(16) for text in (sender.name, *(str(self.cells[host, sender, mode]) for mode in modes))))
        return "\n".join(lines)


def judged(arena: Arena, outcome: Outcome) -> Verdict:
    """Every frame at every port, and on the wire."""
    verdict = Verdict(frames=len(outcome.shots))
    arrived: dict[tuple[int, str], list[bytes]] = defaultdict(list)
    for tap, frame in outcome.seen:
        if (number := number_of(frame)) is not None:
            arrived[number, tap].append(frame)
    for shot in outcome.shots:
        for port in arena.ports:
            wanted, seen = shot.at(port), arrived.get((shot.number, port.tap), [])
            cell = verdict.cells[port.host, shot.sender.mode, port.mode]
            cell.wanted += wanted is not None
            right = wanted is not None and len(seen) == 1 and alike(tags_of(seen[0]), wanted)
            cell.right += right
            if not right and (seen or wanted is not None):
                cell.wrong += 1
                must = "nothing" if wanted is None else written(wanted)
                verdict.faults.append(f"{arena.name}: {shot}: at {port.name} came {_came(seen)}, must be {must}")
    _judge_wire(arena, outcome, verdict)
    return verdict


def _judge_wire(arena: Arena, outcome: Outcome, verdict: Verdict) -> None:
    frames: dict[int, list[bytes]] = defaultdict(list)
    for frame in outcome.wire:
        if (number := number_of(frame)) is not None:
            frames[number].append(frame)
    for shot in outcome.shots:
        seen, inside = frames.get(shot.number, []), shot.inside
        verdict.on_the_wire += len(seen)
        if len(seen) not in shot.on_the_wire or not all(inside is not None and alike(tags_of(frame), inside) for frame in seen):
            must = "nothing" if inside is None else f"{written(inside)}, {' or '.join(map(str, shot.on_the_wire))} times"
            verdict.faults.append(f"{arena.name}: {shot}: on the wire was {_came(seen)}, must be {must}")


def _came(seen: list[bytes]) -> str:
    found = Counter(written(tags_of(frame)) for frame in seen)
    return ", ".join(f"{tags}{f' {many} times' if many > 1 else ''}" for tags, many in found.items()) or "nothing"


def report(arena: Arena, verdict: Verdict) -> str:
    """The matrix of one network, to read."""
    lines = [f"{arena.name}: {verdict.frames} frames, {verdict.on_the_wire} seen on the wire, {len(verdict.faults)} faults"]
    for host in HOSTS:
        lines += [f"from hv1 to {'the same host' if host == 'hv1' else f'{host} by {arena.way}'}:", verdict.table(arena, host)]
    return "\n".join(lines)
