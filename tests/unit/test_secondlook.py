"""The look that follows a change, in case that Open vSwitch acts on it later than vnetd."""

from __future__ import annotations

from vnetd.secondlook import AGAIN_SECONDS, SecondLook


def test_it_comes_once_after_the_last_change() -> None:
    clock = [100.0]
    look = SecondLook(lambda: clock[0])
    assert not look.take()
    look.changed()
    clock[0] += AGAIN_SECONDS / 2
    look.changed()
    clock[0] += AGAIN_SECONDS / 2
    assert not look.take()
    clock[0] += AGAIN_SECONDS / 2
    assert look.take()
    assert not look.take()


def test_one_that_is_spared_does_not_come_and_the_next_does() -> None:
    clock = [100.0]
    look = SecondLook(lambda: clock[0])
    look.changed()
    look.spare()
    clock[0] += 2 * AGAIN_SECONDS
    assert not look.take()
    look.changed()
    clock[0] += AGAIN_SECONDS
    assert look.take()
