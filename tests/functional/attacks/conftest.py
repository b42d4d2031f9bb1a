"""The attacks' own lab, started once for all of their tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from labkit.hypervisor import Lab

from attacks.stage import Stage


@pytest.fixture(scope="package")
def stage() -> Iterator[Stage]:
    """Two hosts, their networks, and every port of the cast."""
    lab = Lab(f"k{os.getpid() % 100000}")
    with lab.locked():
        lab.down()
        lab.up(2)
    made = Stage(lab)
    try:
        made.build()
        yield made
        made.end()
        for host in lab.names():
            made.world.assert_settled(host)
    finally:
        with lab.locked():
            lab.down()
