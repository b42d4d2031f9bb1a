"""The messages on the control socket: what goes in comes out, and nothing else does."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vnetd import frames


def dribble(message: bytes, piece: int) -> list[bytes]:
    """Read a message from a stream that hands out a few bytes at a time."""
    stream = io.BytesIO(message)
    return frames.receive(lambda size: stream.read(min(size, piece)))


@given(st.lists(st.binary(max_size=300), max_size=8), st.integers(1, 400))
def test_what_is_sent_arrives_however_it_is_cut(fields: list[bytes], piece: int) -> None:
    assert dribble(frames.encode(fields), piece) == fields


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=4), st.data())
def test_a_message_that_is_cut_off_is_no_message(fields: list[bytes], data: st.DataObject) -> None:
    message = frames.encode(fields)
    with pytest.raises(EOFError):
        dribble(message[: data.draw(st.integers(0, len(message) - 1))], 1000)


@given(st.binary(max_size=200))
def test_garbage_is_a_value_error_or_reads_as_what_it_says(body: bytes) -> None:
    try:
        fields = frames.decode(body)
    except ValueError:
        return
    assert frames.decode(frames.encode(fields)[4:]) == fields


@pytest.mark.parametrize("body", [b":,", b"1:a", b"1:ab,", b"9:a,", b"-1:,", b"+1:a,", b" 1:a,", b"1,a:", b"123456789:a,", b"1:a,2", b"x"])
def test_a_field_that_does_not_say_its_length_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"field|not found"):
        frames.decode(body)


def test_a_message_longer_than_the_limit_is_not_read() -> None:
    asked: list[int] = []

    def read(size: int) -> bytes:
        asked.append(size)
        return (frames.LIMIT + 1).to_bytes(4, "big")

    with pytest.raises(ValueError, match="too long"):
        frames.receive(read)
    assert asked == [4]


def test_a_message_at_the_limit_is_read() -> None:
    payload = b"x" * (frames.LIMIT - 9)
    assert dribble(frames.encode([payload]), 1 << 16) == [payload]


def test_nothing_is_read_beyond_the_message() -> None:
    stream = io.BytesIO(frames.encode([b"a"]) + b"the next one")
    frames.receive(stream.read)
    assert stream.read() == b"the next one"


def test_an_empty_message_has_no_fields() -> None:
    assert dribble(frames.encode([]), 10) == []
    assert dribble(frames.encode([b""]), 10) == [b""]
