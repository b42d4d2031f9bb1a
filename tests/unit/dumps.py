"""Flows as text to hold against what a test expects."""

from __future__ import annotations

from collections.abc import Iterable

from vnetd.pipeline import Cookie, Flow
from vnetd.pipeline.catalogue import reason_of


def word_of(cookie: int) -> str:
    """The cookie's name, or the reason that it counts."""
    reason = reason_of(cookie, "direct") or reason_of(cookie, "total")
    return reason.name.lower() if reason else Cookie(cookie).name.lower()


def dump(flows: Iterable[Flow]) -> str:
    """Flows by table and falling priority, with the cookie's name at the end of the line."""
    ordered = sorted(flows, key=lambda one: (one.table, -one.priority, one.text()))
    return "\n".join(f"{one.text().partition(', ')[2]}  # {word_of(one.cookie)}" for one in ordered)


def changed(before: str, after: str) -> str:
    """The lines that are only in one of two dumps, marked as diff does."""
    old, new = before.splitlines(), after.splitlines()
    return "\n".join([*(f"-{line}" for line in old if line not in new), *(f"+{line}" for line in new if line not in old)])
