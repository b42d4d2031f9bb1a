"""What all unit tests share: a host to try things on, and a quiet place for hypothesis to keep its notes."""

from __future__ import annotations

import tempfile

import pytest
from fakes import FakeHost
from hypothesis import configuration

configuration.set_hypothesis_home_dir(tempfile.gettempdir() + "/vnetd-hypothesis")


@pytest.fixture
def host() -> FakeHost:
    """A hypervisor with two NICs, eth0 with the default route and eth1 without, on which nothing has been made."""
    return FakeHost(links={"lo": True, "eth0": True, "eth1": False}, default_route={"eth0"})
