"""libvirt's definitions: all of them, whatever vanishes meanwhile."""

from __future__ import annotations

from dataclasses import dataclass

import libvirt
import pytest

from vnetd.adapters.libvirtd import read_definitions
from vnetd.errors import Unavailable


class Refusal(libvirt.libvirtError):  # type: ignore[misc]
    """What libvirt-python raises, with a code of one's choice."""

    def __init__(self, code: int) -> None:
        self.code = code

    def get_error_code(self) -> int:
        return self.code

    def __str__(self) -> str:
        return "no"


@dataclass
class Guest:
    """A guest that is asked about; ``code`` is libvirt's answer to whether it runs."""

    called: str
    code: int = 0

    def name(self) -> str:
        return self.called

    def XMLDesc(self, flags: int) -> str:  # noqa: N802
        return f"<domain flags='{flags}'/>"

    def isActive(self) -> bool:  # noqa: N802
        if self.code:
            raise Refusal(self.code)
        return True


@dataclass
class Connection:
    guests: list[Guest]

    def listAllNetworks(self, flags: int) -> list[object]:  # noqa: N802
        return []

    def listAllDomains(self) -> list[Guest]:  # noqa: N802
        return self.guests

    def close(self) -> None:
        pass


def test_a_guest_that_vanishes_takes_no_other_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A transient guest is no more when it is asked whether it runs."""
    guests = [Guest("gone", libvirt.VIR_ERR_NO_DOMAIN), Guest("web")]
    monkeypatch.setattr(libvirt, "openReadOnly", lambda uri: Connection(guests))
    assert list(read_definitions().running) == ["web"]
    guests[0].code = libvirt.VIR_ERR_INTERNAL_ERROR
    with pytest.raises(Unavailable):
        read_definitions()
