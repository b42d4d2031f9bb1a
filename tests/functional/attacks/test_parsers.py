"""Frames that the kernel and ovs-vswitchd read differently, from guarded ports: none of a class that could open a way gets through.

The classes are those of docs/internals/parsers.md. What the table calls harmless may pass, and is sent before forbidden frames instead.
"""

from __future__ import annotations

from itertools import count

import pytest
from differential.classes import table
from differential.shapes import SHAPES, End, Make, Pair

from attacks.cast import PORTS
from attacks.judge import bare, drops_now
from attacks.stage import Stage

SENDERS = ("P", "M")
"""A strict port, and one with guard='mac'."""
_numbers = count(1)


def end(nick: str) -> End:
    port = PORTS[nick]
    return End(port.mac, port.ip, port.ip6)


def shapes(name: str) -> list[tuple[str, Make]]:
    return list(SHAPES[name].items())


def marked(frame: bytes) -> bytes:
    """What a frame is known by where it shows up; all of it where there is no room for a mark."""
    at = frame.find(b"shape")
    return frame[at : at + 12] if at >= 0 else bare(frame)


def cases() -> list[tuple[str, str]]:
    """Every class that must not pass, from each port whose guard it must not pass."""
    return [
        (name, sender) for name, entry in table().items() if name in SHAPES for sender in SENDERS if not entry.may_pass(PORTS[sender].guard)
    ]


@pytest.mark.parametrize(("name", "sender"), cases())
def test_nothing_of_a_class_reaches_a_victim(stage: Stage, name: str, sender: str) -> None:
    stage.introduce()
    before = drops_now(stage, {sender})
    frames = []
    for words, make in shapes(name):
        frames += [(f"{words} to {to}", make(Pair(end(sender), end(to)), next(_numbers))) for to in ("V1", "V2", "S1")]
    seen = stage.play_many([(sender, frame) for _, frame in frames])
    wrong = []
    for words, frame in frames:
        at = sorted({where for where, arrived in seen if marked(frame) in arrived})
        wrong += [f"{words}: reached {', '.join(at)}"] if at else []
    assert not wrong, "\n" + "\n".join(wrong)
    counted = sum((drops_now(stage, {sender}) - before).values())
    assert counted == len(frames), f"{counted} drops counted of {len(frames)} frames"
