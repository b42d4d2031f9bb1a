"""A NIC's MAC address, read from QEMU's own command line.

QEMU tells its script only the tap's name. The command line is the operator's, not
the guest's, so the guard may rest on it. The forms are those of qemu-system(1):
``-device …,netdev=ID,mac=…`` with ``-netdev tap,id=ID``, and ``-nic tap,mac=…``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import PurePath

from vnetd.model import names
from vnetd.model.names import Mac

DEFAULT_MAC = "52:54:00:12:34:56"
"""What QEMU gives to the first NIC that has no mac= of its own."""


def is_qemu(argv: Sequence[str]) -> bool:
    """Whether this is a QEMU's command line, and not libvirt's or a shell's."""
    return bool(argv) and PurePath(argv[0]).name.startswith(("qemu-system-", "qemu-kvm", "kvm"))


def mac_of(argv: Sequence[str], tap: str, script: str) -> Mac | None:
    """The MAC of the NIC behind ``tap``, whose script has the file name ``script``; None where it cannot be told.

    Raises InputError for a MAC that no NIC can have.
    """
    found = [(options, macs) for options, macs in _taps(argv) if options.get("ifname") == tap]
    if not found:
        # The kernel chose the name, so QEMU's line does not have it: the script's own name must decide.
        found = [
            (options, macs)
            for options, macs in _taps(argv)
            if "ifname" not in options and PurePath(options.get("script", "")).name == script
        ]
    if len(found) != 1:
        return None
    mac = found[0][1]
    if mac is None and _nics(argv) == 1:
        mac = DEFAULT_MAC
    return names.mac(mac, "QEMU's mac=") if mac else None


def _nics(argv: Sequence[str]) -> int:
    """How many NICs the guest has: QEMU counts its default addresses up over all of them."""
    flags = [(flag.lstrip("-"), _options(value)) for flag, value in pairwise(argv)]
    return sum(
        (flag == "nic" and kind != "none") or (flag == "net" and kind == "nic") or (flag == "device" and "netdev" in options)
        for flag, (kind, options) in flags
    )


def _taps(argv: Sequence[str]) -> list[tuple[dict[str, str], str | None]]:
    """Each tap back end's options, with the MAC that its NIC has."""
    taps: list[tuple[dict[str, str], str | None]] = []
    devices: dict[str, str | None] = {}
    netdevs: list[dict[str, str]] = []
    for flag, value in pairwise(argv):
        kind, options = _options(value)
        match flag.lstrip("-"):
            case "netdev" if kind == "tap":
                netdevs.append(options)
            case "nic" if kind == "tap":
                taps.append((options, options.get("mac")))
            case "device" if "netdev" in options:
                devices[options["netdev"]] = options.get("mac")
    return taps + [(options, devices.get(options.get("id", ""))) for options in netdevs]


def _options(text: str) -> tuple[str, dict[str, str]]:
    kind, *rest = text.split(",")
    return kind, dict(piece.partition("=")[::2] for piece in rest)
