"""ovs-vswitchd's control socket without a process: a question takes a tenth of a millisecond (ovs-appctl(8))."""

from __future__ import annotations

import os
from pathlib import Path

from vnetd.adapters import jsonrpc


def pid(rundir: Path) -> str:
    """The process of ovs-vswitchd's, as its pid file says; "" where there is none."""
    try:
        descriptor = os.open(f"{rundir}/ovs-vswitchd.pid", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(descriptor, 32).decode(errors="replace").strip()
    finally:
        os.close(descriptor)


def ask(rundir: Path, method: str, *arguments: str) -> str:
    """What ``ovs-appctl METHOD ARGUMENTS`` prints. Raises Unavailable where nobody answers, and Refused."""
    return str(jsonrpc.ask("ovs-vswitchd", f"{rundir}/ovs-vswitchd.{pid(rundir)}.ctl", method, arguments))
