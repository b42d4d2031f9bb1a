"""Labs of a test run's own, which are gone when it ends, however it ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from labkit.hypervisor import Lab
from world import World


@contextmanager
def empty_lab(letter: str) -> Iterator[Lab]:
    """A lab without hosts. Its letter and this process's number keep it apart from the other labs of this machine."""
    lab = Lab(f"{letter}{os.getpid() % 100000}")
    with lab.locked():
        lab.down()
    try:
        yield lab
    finally:
        with lab.locked():
            lab.down()


@contextmanager
def started_lab(letter: str, hosts: int, *networks: str, mtu: int = 1500) -> Iterator[World]:
    """A lab of so many hosts, each with these networks (libvirt's XML) defined and started; ``mtu`` is the underlay's."""
    with empty_lab(letter) as lab:
        with lab.locked():
            lab.up(hosts, mtu=mtu)
        world = World(lab)
        for network in networks:
            world.start_xml(network, *lab.names())
        yield world
