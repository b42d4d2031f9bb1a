"""The data plane asked what it can do: once for each run of ovs-vswitchd, since passes wait for no such question.

Strategy: Open vSwitch has tried the kernel's module itself when it has made the first
bridge, and tells by its control socket; OpenFlow tells of meters; the kernel is tried
for what Open vSwitch makes there only when it is needed.
"""

from __future__ import annotations

import logging
import os
import re
import time
from dataclasses import replace
from pathlib import Path

from vnetd.adapters import appctl, jsonrpc, meters, scratch
from vnetd.adapters.rtnl import Rtnl
from vnetd.errors import WorldError
from vnetd.model.dataplane import KERNEL, DataPlane

LOG = logging.getLogger("vnetd")
IDLE_SECONDS = 20
"""No ovs-vswitchd waits for so long for its flows, if it is vnetd's to put them back."""
MODULE = Path("/sys/module/openvswitch")

_VERSION = re.compile(r"\(Open vSwitch\) (\S+)")
_THREAD = re.compile(r"\d+: \(keys ")


class DataPlanes:
    """What is known of this host's data plane, for as long as the same ovs-vswitchd runs."""

    def __init__(self, rundir: Path) -> None:
        self._rundir = rundir
        self._known: tuple[str, str, DataPlane] = "", "", DataPlane()
        self._idle: tuple[str, float] = "", 0.0
        self._told = ""

    def forget(self) -> None:
        """A lack of threads may end by itself; nothing else does."""
        if not self._known[2].threads:
            self._known = "", "", DataPlane()

    def of(self, bridge: str, kind: str) -> DataPlane:
        """The data plane of this kind, by one of its bridges; an empty value where nobody can tell yet, as before the bridge is made."""
        pid = appctl.pid(self._rundir)
        if pid and self._known[:2] == (pid, kind):
            return self._known[2]
        try:
            found = self._find_out(bridge, kind)
        except WorldError as error:
            LOG.debug("the data plane cannot be asked yet: %s", error)
            return DataPlane()
        if self._told != pid:
            LOG.info("%s", found.words())
            self._told = pid
        if found.deaf and not self._long_idle(pid):
            found = replace(found, threads=None)
        self._known = pid, kind, found
        return found

    def _long_idle(self, pid: str) -> bool:
        """Whether this process has had no threads for a while: it makes them only when it waits for nobody's flows any more."""
        if self._idle[0] != pid:
            self._idle = pid, time.monotonic()
        return time.monotonic() >= self._idle[1] + IDLE_SECONDS

    def _find_out(self, bridge: str, kind: str) -> DataPlane:
        """All of it takes some milliseconds."""
        version = _VERSION.search(appctl.ask(self._rundir, "version"))
        rtnl = Rtnl()
        try:
            return DataPlane(
                kind,
                version[1] if version else "",
                os.uname().release,
                _module(),
                read_features(self._optional("dpif/show-dp-features", bridge)),
                meters.most_meters(self._rundir / f"{bridge}.mgmt"),
                read_threads(self._optional("upcall/show"), kind),
                scratch.kernel_links(rtnl) if kind == KERNEL else {},
                scratch.kernel_tc(rtnl, bridge),
            )
        finally:
            rtnl.close()

    def _optional(self, method: str, *arguments: str) -> str:
        """What a version that does not know the question leaves unknown."""
        try:
            return appctl.ask(self._rundir, method, *arguments)
        except jsonrpc.Refused:
            return ""


def read_features(text: str) -> dict[str, str]:
    """What ``ovs-appctl dpif/show-dp-features`` prints: a name and a word in each line."""
    return {name.strip(): word.strip() for name, colon, word in (line.partition(":") for line in text.splitlines()) if colon}


def read_threads(text: str, kind: str) -> int | None:
    """How many threads ``ovs-appctl upcall/show`` names for a data plane: those that revalidate, without which none takes packets."""
    parts = re.split(rf"^({KERNEL}|netdev)@\S+:$", text, flags=re.M)
    return next((len(_THREAD.findall(part)) for name, part in zip(parts[1::2], parts[2::2], strict=True) if name == kind), None)


def _module() -> str:
    if not MODULE.exists():
        return ""
    try:
        return (MODULE / "version").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return "in-tree"
