"""Which tests run on the kernel's data plane, in how many seconds there, and why the others do not."""

from __future__ import annotations

from collections.abc import Mapping

FOLDER = "tests/functional"

SECONDS: Mapping[str, int] = {
    "test_responder.py": 100,
    "test_overlay.py": 100,
}
"""On a quiet processor; kept about right, so that each kernel has as much to do as the other."""


def dealt(shares: int) -> list[list[str]]:
    """The selection in so many parts that take about as long; what runs longest is dealt first."""
    parts: list[list[str]] = [[] for _ in range(shares)]
    taken = [0] * shares
    for path, seconds in sorted(SECONDS.items(), key=lambda item: -item[1]):
        least = taken.index(min(taken))
        parts[least].append(f"{FOLDER}/{path}")
        taken[least] += seconds
    return [sorted(part) for part in parts]
