"""The rates' own lab: one hypervisor, whose networks and stations each test makes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from labs import started_lab
from world import World


@pytest.fixture(scope="package")
def rates() -> Iterator[World]:
    """A hypervisor without networks; in the end nothing is left to do there."""
    with started_lab("r", 1) as world:
        yield world
        world.assert_settled("hv1")
