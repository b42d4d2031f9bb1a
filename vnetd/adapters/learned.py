"""What was learned, in ``/run/vnetd/learned.json``: it survives a restart of the daemon, and hooks that run without one see it.

The file holds nothing that could not be found out anew, so whatever is wrong with it makes it say less, never an error.
``/run`` is emptied at boot: the next boot may have another network.
"""

from __future__ import annotations

import json
import logging
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from vnetd.errors import InputError
from vnetd.model import names
from vnetd.model.names import IpAddress
from vnetd.model.state import Learned

LOG = logging.getLogger("vnetd.learned")
FILE = Path("/run/vnetd/learned.json")
FORMAT = 1
_LEAST_MTU, _MOST_MTU = 576, 65535
_MOST_BYTES = 16 << 20


class Memory:
    """The file, as one process writes it."""

    def __init__(self, path: Path = FILE) -> None:
        self._path = path
        self._written: Learned | None = None

    def read(self) -> Learned:
        """What the file says. One that is broken, in another format, or that another user could write to says nothing."""
        try:
            found = json.loads(_bytes_of(self._path))
        except (OSError, ValueError, RecursionError) as error:
            LOG.debug("%s: %s", self._path, error)
            return Learned()
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            return Learned()
        return Learned(_paths(found.get("paths")), _names(found.get("names")))

    def write(self, learned: Learned) -> None:
        """Have the file say this, if it does not. Where it cannot be written, the next change tries again."""
        if self._written is None:
            self._written = self.read()
        if learned == self._written:
            return
        data = {
            "format": FORMAT,
            "paths": {str(remote): mtu for remote, mtu in learned.paths.items()},
            "names": {name: [str(one) for one in addresses] for name, addresses in learned.names.items()},
        }
        try:
            _replace(self._path, json.dumps(data, indent=1, sort_keys=True) + "\n")
        except OSError as error:
            LOG.debug("%s: %s", self._path, error)
            self._written = None
        else:
            self._written = learned


def _bytes_of(path: Path) -> bytes:
    """The content of a plain file of this user's or root's. Raises OSError."""
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(file, "rb") as stream:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode) or status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o022:
            raise PermissionError("others could have written it")
        if status.st_size > _MOST_BYTES:
            raise OSError("it is too large to be vnetd's")
        return stream.read(_MOST_BYTES)


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    # Made with mode 0600, under a name that no other process has.
    file, fresh = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(file, "w", encoding="utf-8") as stream:
            stream.write(text)
        Path(fresh).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(fresh).unlink()
        raise


def _paths(found: object) -> dict[IpAddress, int]:
    pairs = found.items() if isinstance(found, dict) else ()
    known = ((_address(remote), mtu) for remote, mtu in pairs)
    return {remote: mtu for remote, mtu in known if remote is not None and type(mtu) is int and _LEAST_MTU <= mtu <= _MOST_MTU}


def _names(found: object) -> dict[str, tuple[IpAddress, ...]]:
    pairs = found.items() if isinstance(found, dict) else ()
    lists = ((name, map(_address, texts if isinstance(texts, list) else ())) for name, texts in pairs)
    known = ((name, tuple(one for one in addresses if one is not None)) for name, addresses in lists)
    return {name: addresses for name, addresses in known if addresses}


def _address(text: object) -> IpAddress | None:
    """A unicast address, as it stands in the file."""
    try:
        return names.address(text, "") if isinstance(text, str) else None
    except InputError:
        return None
