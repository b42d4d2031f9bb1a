"""The attacks' own lab, started once for all of their tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from labs import started_lab

from attacks.cast import HOSTS
from attacks.stage import Stage


@pytest.fixture(scope="package")
def stage() -> Iterator[Stage]:
    """Two hosts, their networks, and every port of the cast."""
    with started_lab("k", len(HOSTS)) as world:
        made = Stage(world.lab)
        made.build()
        yield made
        made.end()
        for host in HOSTS:
            world.assert_settled(host)
