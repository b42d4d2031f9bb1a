"""One request, answered by this process: what a hook or script becomes where no daemon runs.

It knows what the spool knows and asks libvirt nothing, since libvirt is waiting for it.
A NIC that is announced to a running guest (hotplug) gets its tap only after the
hook has ended, so a child stays behind for a few seconds to wire it.
"""

from __future__ import annotations

import logging
import os
import sys
import time

from vnetd import frames
from vnetd.adapters.learned import Memory
from vnetd.adapters.netlink import Netlink
from vnetd.adapters.openflow import OpenFlow
from vnetd.adapters.ovsdb import Ovsdb
from vnetd.client import ask_daemon
from vnetd.errors import VnetdError
from vnetd.model.network import Nic
from vnetd.reconcile import Rim
from vnetd.requests import Answer, Request, may_refuse
from vnetd.service import Service
from vnetd.settings import read_settings
from vnetd.store import Entry, Kind, Store
from vnetd.xmlread import read_network_hook

HOTPLUG_SECONDS = 10


def open_rim() -> Rim:
    """The real world, opened once. Raises Unavailable."""
    return Rim(Ovsdb(), OpenFlow(), Netlink(read_settings(), Memory().read))


class LazyRim:
    """Opens the adapters when a pass first needs them: many hooks change nothing."""

    def __init__(self) -> None:
        self._rim: Rim | None = None

    def __call__(self) -> Rim:
        if self._rim is None:
            self._rim = open_rim()
        return self._rim


def local_service(remember: bool = True) -> Service:
    """A service of this process's own, on what the spool knows. Without ``remember`` it writes nothing there."""
    store = Store(remember=remember)
    store.load()
    return Service(store, LazyRim())


def _deaf_service() -> Service:
    service = local_service()
    service.deaf = True
    return service


def main() -> int:
    """Read one message from standard input, answer by exit status and one line on standard error."""
    logging.basicConfig(level=logging.CRITICAL)
    verb, *arguments, payload = frames.receive(lambda size: os.read(0, size))
    request = Request(verb.decode(errors="replace"), tuple(one.decode(errors="replace") for one in arguments), payload)
    answer = _answer(request)
    if not may_refuse(request):
        return 0
    if answer.text:
        sys.stderr.write(f"vnetd: {answer.text}\n")
    return answer.status


def _answer(request: Request) -> Answer:
    try:
        service = _deaf_service()
        answer = service.serve([request])[0]
        iface_id = _hotplugged(service.store, request)
        if iface_id is not None:
            _stay_behind(iface_id)
        return answer
    except VnetdError as error:
        return Answer(error.status, str(error))
    except Exception as error:  # noqa: BLE001 - no traceback may reach the user of virsh.
        return Answer(1, f"a fault of vnetd's own: {type(error).__name__}: {error}")


def _hotplugged(store: Store, request: Request) -> str | None:
    """The interfaceid of a NIC that is being plugged into a guest that runs already."""
    if request.verb != "network" or request.arguments[1:2] != ("port-created",):
        return None
    data = read_network_hook(request.payload).port
    nic = Entry(Kind.PORT, "", data or b"", 0).value if data else None
    if isinstance(nic, Nic) and nic.owner_uuid and store.get(Kind.DOMAIN, nic.owner_uuid):
        return nic.iface_id
    return None


def _stay_behind(iface_id: str) -> None:
    """A child, cut loose from libvirt's pipes, that wires the NIC when its tap is in OVSDB."""
    sys.stdout.flush()
    if os.fork():
        return
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for handle in (0, 1, 2):
        os.dup2(null, handle)
    os.execv(sys.executable, [sys.executable, "-I", "-m", "vnetd.oneshot", iface_id])


def wire_when_there(iface_id: str) -> int:
    """Wait, bounded, for the tap with this interfaceid, then make one pass."""
    end = time.monotonic() + HOTPLUG_SECONDS
    rim = open_rim()
    while time.monotonic() < end and ask_daemon("version") is None:
        rows = rim.database.rows()
        if any(("iface-id", iface_id) in seen.port.ids and seen.live for seen in rows.ports.values()):
            _deaf_service().run()
            return 0
        time.sleep(0.05)
    return 1


if __name__ == "__main__":
    try:
        sys.exit(wire_when_there(sys.argv[1]) if len(sys.argv) > 1 else main())
    except VnetdError as fault:
        sys.exit(f"vnetd: {fault}")
