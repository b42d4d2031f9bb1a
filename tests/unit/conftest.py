"""What all unit tests share: a host to try things on, and a quiet place for hypothesis to keep its notes."""

from __future__ import annotations

import os
import tempfile

import pytest
from fakes import FakeHost
from hypothesis import configuration, settings

configuration.set_hypothesis_home_dir(tempfile.gettempdir() + "/vnetd-hypothesis")

# A commit has one verdict, so `make test` draws the same examples each time; `make explore` draws others, to find what nobody thought of.
# How long an example takes is a matter of what else the machine does, and no test's verdict.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("other", derandomize=False, deadline=None)
settings.load_profile("other" if os.environ.get("VNETD_EXPLORE") else "same")


@pytest.fixture
def host() -> FakeHost:
    """A hypervisor with two NICs, eth0 with the default route and eth1 without, on which nothing has been made."""
    return FakeHost(links={"lo": True, "eth0": True, "eth1": False}, default_route={"eth0"})
