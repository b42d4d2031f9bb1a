"""``vnetctl install`` and ``uninstall``: hooks, scripts, the systemd unit and bash completion.

The hooks are copies with two lines filled in: where this vnetd is, and which
interpreter can import it. A file that vnetd did not write is never overwritten.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import vnetd
from vnetd.errors import WorldError

MARK = "vnetctl install"
"""Stands in every file that install writes."""

HOOK_LIBRARY = 'LIBRARY = ""'
HOOK_PYTHON = 'PYTHON = ""'


@dataclass(frozen=True, slots=True)
class Item:
    """One file to install."""

    path: Path
    text: str
    mode: int


def items(completion: str) -> Iterator[Item]:
    """Everything that install writes, with paths as on the finished host."""
    library, python = Path(vnetd.__file__).resolve().parent.parent, Path(sys.executable)
    for source, target in (
        ("hooks/qemu", "/etc/libvirt/hooks/qemu.d/vnetd"),
        ("hooks/network", "/etc/libvirt/hooks/network.d/vnetd"),
        ("scripts/ovs-ifup", "/etc/vnetd/ovs-ifup"),
        ("scripts/ovs-ifdown", "/etc/vnetd/ovs-ifdown"),
    ):
        text = (_share() / source).read_text(encoding="utf-8")
        text = text.replace(HOOK_LIBRARY, f"LIBRARY = {str(library)!r}").replace(HOOK_PYTHON, f"PYTHON = {str(python)!r}")
        yield Item(Path(target), text, 0o755)
    unit = (_share() / "packaging/vnetd.service").read_text(encoding="utf-8")
    yield Item(Path("/etc/systemd/system/vnetd.service"), unit.replace("/opt/vnetd/bin/vnetd", str(python.parent / "vnetd")), 0o644)
    yield Item(Path("/etc/bash_completion.d/vnetctl"), f"# vnetctl's completion, written by vnetctl install.\n{completion}", 0o644)


def install(root: Path, completion: str) -> list[Path]:
    """Write everything below ``root``; the paths written. Raises WorldError where a foreign file is in the way."""
    todo = [(root / item.path.relative_to("/"), item) for item in items(completion)]
    for path, _ in todo:
        if path.exists() and not _is_ours(path):
            raise WorldError(f"{path} is there already and vnetd did not write it; move it away, then install again")
    (root / "etc/vnetd/taps").mkdir(parents=True, exist_ok=True, mode=0o755)
    for path, item in todo:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        fresh.write_text(item.text, encoding="utf-8")
        fresh.chmod(item.mode)
        fresh.replace(path)
    return [path for path, _ in todo]


def uninstall(root: Path, completion: str) -> list[Path]:
    """Remove what install wrote; the paths removed. Tap files and settings, which people write, stay."""
    removed = []
    for item in items(completion):
        path = root / item.path.relative_to("/")
        if path.exists() and _is_ours(path):
            path.unlink()
            removed.append(path)
    taps = root / "etc/vnetd/taps"
    for folder in (taps, taps.parent):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    return removed


def _is_ours(path: Path) -> bool:
    try:
        return MARK in path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False


def _share() -> Path:
    """Where hooks, scripts and the unit are: beside the package in a checkout, else where setup.py put them."""
    checkout = Path(vnetd.__file__).resolve().parent.parent
    for place in (checkout, Path(sys.prefix) / "share/vnetd"):
        if (place / "hooks/qemu").is_file():
            return place
    raise WorldError(f"hooks and scripts are neither in {checkout} nor in {sys.prefix}/share/vnetd; install vnetd again")
