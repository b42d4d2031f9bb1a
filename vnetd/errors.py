"""What can go wrong, named by who must act.

Each message is one plain sentence that a person at a shell can act on; it is
printed as it stands, with "vnetd: " or "vnetctl: " before it.
"""

from __future__ import annotations


class VnetdError(Exception):
    """The root of vnetd's own errors; ``status`` is the exit status of a command."""

    status = 1


class InputError(VnetdError):
    """Whoever wrote the XML, the name or the argument must change it."""

    status = 2


class WorldError(VnetdError):
    """Whoever runs this host must act: something outside vnetd refused."""


class Unavailable(WorldError):
    """A service (OVSDB, the switch, libvirt, the daemon) is away; waiting may help."""
