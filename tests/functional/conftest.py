"""The functional tests' lab: two hypervisors, one network, four guests in two VLANs, shared by all tests.

Each test puts back what it took away; `settled` after each test holds every host
against its plan, so that a second pass is empty wherever a test has been.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.config import Config
from _pytest.config.argparsing import Parser

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lab"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from dataplane import PLANES, USERSPACE, choose, chosen
from labkit.guest import GuestSpec
from labkit.hypervisor import Lab
from labs import empty_lab, started_lab
from world import XML, World

ADDRESSES = {"a1": "10.0.0.1", "a2": "10.0.0.2", "b1": "10.0.0.3", "b2": "10.0.0.4"}
"""Guests a… are in VLAN 10, b… in VLAN 20; …1 starts on hv1, …2 on hv2. All share one subnet, so only VLANs part them."""


def pytest_addoption(parser: Parser) -> None:
    words = "what carries the lab's frames (default: %(default)s); the kernel's needs a kernel with Open vSwitch's module"
    parser.addoption("--data-plane", choices=sorted(PLANES), default=USERSPACE.name, help=words)


def pytest_configure(config: Config) -> None:
    choose(config.getoption("--data-plane"))
    for name in PLANES:
        config.addinivalue_line("markers", f"{name}(reason): only the {name} data plane has what this test is about")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What only another data plane has is skipped, for the reason that its marker gives."""
    for item in items:
        for name in PLANES.keys() - {chosen().name}:
            if marker := item.get_closest_marker(name):
                item.add_marker(pytest.mark.skip(reason=f"only on the {name} data plane: {marker.args[0]}"))


@pytest.fixture(scope="session")
def shared() -> Iterator[World]:
    """The lab itself; started once."""
    with started_lab("f", 2, (XML / "overlay-gre.xml").read_text(encoding="utf-8")) as world:
        for name, address in ADDRESSES.items():
            group = "vlan-10" if name.startswith("a") else "vlan-20"
            world.guest(f"hv{name[1]}", GuestSpec(name, "blue", group, addresses=[f"{address}/24"], mtu=1400), wait=False)
        world.wait_up(*ADDRESSES)
        yield world


@pytest.fixture
def world(shared: World) -> Iterator[World]:
    """The shared lab, checked afterwards: nothing is left to do on any host."""
    yield shared
    for host in shared.lab.names():
        shared.assert_settled(host)


@pytest.fixture
def fresh_lab() -> Iterator[Lab]:
    """An empty lab of a test's own, whose hosts the test starts."""
    with empty_lab("g") as lab:
        yield lab
