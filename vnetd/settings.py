"""``/etc/vnetd/vnetd.toml``: what is particular to this host. Every key has a default and the file may be missing."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vnetd.errors import InputError
from vnetd.model import names
from vnetd.model.names import IpAddress

FILE = Path("/etc/vnetd/vnetd.toml")
DATAPATHS = ("system", "netdev")


@dataclass(frozen=True, slots=True)
class Settings:
    """``local_address`` picks this host in every overlay's list of peers; without it, its interfaces' addresses do.

    ``log_drops`` is how many lines a minute the log may have about dropped frames; 0 is none.
    """

    local_address: IpAddress | None = None
    datapath_type: str = "system"
    tunnel_bridge: str = "br-tun"
    control_group: str = "root"
    log_drops: int = 0


def read_settings(path: Path = FILE) -> Settings:
    """The settings in ``path``. Raises InputError for an unknown key or value."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Settings()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path}: {error}") from None
    known: dict[str, Callable[[str, str], object]] = {
        "local_address": names.address,
        "datapath_type": _datapath,
        "tunnel_bridge": names.ifname,
        "control_group": names.label,
        "log_drops": _lines_a_minute,
    }
    values = {}
    for key, value in data.items():
        where = f"{path}: {key}"
        if key not in known:
            raise InputError(f"{where} is unknown; it takes {', '.join(known)}")
        wants_number = isinstance(getattr(Settings(), key), int)
        if wants_number and (isinstance(value, bool) or not isinstance(value, int)):
            raise InputError(f"{where} takes a number; write it without quotes")
        if not wants_number and not isinstance(value, str):
            raise InputError(f"{where} takes a string; write it in quotes")
        values[key] = known[key](str(value), where)
    return Settings(**values)  # type: ignore[arg-type]


def _lines_a_minute(text: str, where: str) -> int:
    return names.number(text, 0, 6000, where)


def _datapath(text: str, where: str) -> str:
    if text not in DATAPATHS:
        raise InputError(f"{where}: {names.shown(text)} is unknown; write {' or '.join(map(repr, DATAPATHS))}")
    return text
