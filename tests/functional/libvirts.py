"""What the libvirt of this machine does otherwise than other releases: each difference a property, named and explained once."""

from __future__ import annotations

from dataclasses import dataclass

import libvirt


@dataclass(frozen=True)
class Libvirt:
    """A release of libvirt."""

    version: tuple[int, int, int]

    @classmethod
    def here(cls) -> Libvirt:
        """The installed one, which is the lab hosts' too."""
        number = libvirt.getVersion()
        return cls((number // 1_000_000, number // 1000 % 1000, number % 1000))

    @property
    def moves_nics_between_portgroups(self) -> bool:
        """Whether ``update-device --live`` takes another portgroup for a NIC.

        Before 10.6.0 libvirt did so where the VLAN or a limit changed with it, and otherwise took no notice. Since then
        it refuses, whatever else changes: a NIC changes its portgroup by being unplugged and plugged again.
        """
        return self.version < (10, 6, 0)


LIBVIRT = Libvirt.here()
