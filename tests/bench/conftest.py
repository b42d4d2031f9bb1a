"""Benches run in a lab of their own and print ratios, side by side in one run: a machine's own speed is no result."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lab"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "functional"))

from labkit.hypervisor import Lab
from world import World


@pytest.fixture
def bench() -> Iterator[World]:
    """One hypervisor with a network called blue."""
    lab = Lab(f"b{os.getpid() % 100000}")
    with lab.locked():
        lab.down()
        lab.up(1)
    world = World(lab)
    try:
        world.start_network("overlay-gre.xml", "hv1")
        yield world
    finally:
        with lab.locked():
            lab.down()
