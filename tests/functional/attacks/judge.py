"""What a class of rows came to, held against what the tables want, as complaints to read."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from dataplane import chosen

from attacks.rows import Row
from attacks.stage import Outcome, Stage

Prelude = Callable[[Stage, Row], None]
COUNTER_SECONDS = 3.0 * chosen().patience
LOST_AT_MOST = 3
"""Rows whose sentinels are lost before a class is given up: each costs seconds."""
DIAGNOSIS_SECONDS = 6.0 * chosen().patience
"""For finding out which rows a wrong sum comes from."""

_TAGS = (b"\x81\x00", b"\x88\xa8", b"\x91\x00", b"\x92\x00", b"\x93\x00")


def bare(frame: bytes) -> bytes:
    """The frame without any tag."""
    head, rest = frame[:12], frame[12:]
    while rest[:2] in _TAGS and len(rest) >= 6:
        rest = rest[4:]
    return head + rest


def is_of(frame: bytes, row: Row) -> bool:
    """Whether a frame that showed up is the row's, in whatever tags, or at least carries its mark."""
    start = row.frame.find(b"mark")
    mark = row.frame[start : start + 11]
    return bare(frame) == bare(row.frame) or (start >= 0 and len(mark) == 11 and mark in frame)


def where_wrong(row: Row, outcome: Outcome) -> str:
    """What is wrong with where the row's frame showed up, or nothing."""
    shown = [(name, frame) for name, frame in outcome.seen if is_of(frame, row)]
    at = {name for name, _ in shown}
    words = [outcome.trouble] if outcome.trouble else []
    if leaked := at - row.arrives - row.may:
        words.append(f"leaked to {_names(leaked)}")
    if lost := row.arrives - at:
        words.append(f"did not reach {_names(lost)}")
    form = row.becomes or row.frame
    exact = row.arrives or (row.may if row.becomes else frozenset())
    if changed := {name for name, frame in shown if name in exact and frame != form}:
        words.append(f"arrived in another form at {_names(changed)}")
    if twice := {name for name, many in Counter(name for name, _ in shown).items() if many > 1 and name in row.arrives}:
        words.append(f"arrived more than once at {_names(twice)}")
    return "; ".join(words)


def how_counted(rows: Iterable[Row], growth: Counter[tuple[str, str]]) -> list[str]:
    """What is wrong with the growth of the counters over all of these rows."""
    wanted = [row for row in rows if row.reasons]
    words = []
    for port in sorted({row.counter for row in wanted} | {name for name, _ in growth}):
        mine = [row for row in wanted if row.counter == port]
        sure = [row for row in mine if row.surely]
        total = sum(many for (name, _), many in growth.items() if name == port)
        if not len(sure) <= total <= len(mine):
            words.append(f"{port}: {total} packets counted for {_range(len(sure), len(mine))} frames")
        reasons = {reason for row in mine for reason in row.reasons} | {reason for name, reason in growth if name == port}
        for reason in sorted(reasons):
            least = sum(1 for row in sure if row.reasons == {reason})
            most = sum(1 for row in mine if reason in row.reasons)
            if not least <= growth[port, reason] <= most:
                words.append(f"{port}: {reason}: {growth[port, reason]} counted, {_range(least, most)} wanted")
    return words


def play_class(stage: Stage, rows: Sequence[Row], introduce: bool = True, before_each: Prelude | None = None) -> list[str]:
    """Play all rows of a class, each after what is to come ``before_each``; what was wrong, one line for each row or counter."""
    if introduce:
        stage.introduce()
    ports = {row.counter for row in rows} | {row.sender for row in rows}
    before = drops_now(stage, ports)
    wrong, lost = {}, 0
    for row in rows:
        if before_each is not None:
            before_each(stage, row)
        outcome = stage.play(row)
        if words := where_wrong(row, outcome):
            wrong[row.name] = words
        lost += "sentinel" in outcome.trouble
        if lost > LOST_AT_MOST:
            return [*_lines(rows, wrong, {}), "given up: too many sentinels are lost"]
    growth, complaints = _growth(stage, rows, ports, before)
    counted = _one_by_one(stage, rows, ports) if complaints else {}
    return [*_lines(rows, wrong, counted), *complaints, *(_table(before, growth) if complaints else [])]


def _growth(
    stage: Stage, rows: Sequence[Row], ports: set[str], before: Counter[tuple[str, str]]
) -> tuple[Counter[tuple[str, str]], list[str]]:
    """The counters' growth and what is wrong with it, as soon as nothing is; counters come with a delay."""
    end = time.monotonic() + COUNTER_SECONDS
    while True:
        growth = drops_now(stage, ports) - before
        complaints = how_counted(rows, growth)
        if not complaints or time.monotonic() > end:
            return growth, complaints


def _one_by_one(stage: Stage, rows: Sequence[Row], ports: set[str]) -> dict[str, str]:
    """Which rows the wrong sums come from: each played again with the counters read before and after."""
    found = {}
    end = time.monotonic() + DIAGNOSIS_SECONDS
    before = drops_now(stage, ports)
    for row in rows:
        if time.monotonic() > end:
            break
        stage.play(row)
        after = drops_now(stage, ports)
        growth, before = after - before, after
        if how_counted([row], growth):
            found[row.name] = ", ".join(f"{many} {reason} ({port})" for (port, reason), many in sorted(growth.items())) or "nothing"
    return found


def drops_now(stage: Stage, ports: set[str]) -> Counter[tuple[str, str]]:
    """The counters without their delay: a switch that forgets its cache hands in what the cache has counted."""
    for host in stage.agents:
        stage.world.on(host, "ovs-appctl revalidator/purge")
    return stage.drops(ports)


def _lines(rows: Sequence[Row], wrong: dict[str, str], counted: dict[str, str]) -> list[str]:
    found = []
    for row in rows:
        words = [wrong[row.name]] if row.name in wrong else []
        if row.name in counted:
            words.append(f"counted: {counted[row.name]}; wanted: {' or '.join(sorted(row.reasons)) or 'nothing'}")
        if words:
            found.append(f"{row.verdict} {row.sender}: {row.name}: {'; '.join(words)}")
    return found


def _table(before: Counter[tuple[str, str]], growth: Counter[tuple[str, str]]) -> list[str]:
    """The counters that grew, before and after."""
    return [f"counter {port}: {reason}: {before[port, reason]} -> {before[port, reason] + many}" for (port, reason), many in growth.items()]


def _range(least: int, most: int) -> str:
    return str(least) if least == most else f"{least} to {most}"


def _names(ports: Iterable[str]) -> str:
    return ", ".join(sorted(ports))
