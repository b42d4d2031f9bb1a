"""OpenFlow by ``ovs-ofctl``: flows of one bridge as the switch prints them, and bundles of changes; meters and groups without a process.

Strategy: the text of ``dump-flows`` is what flow values render to, so a table is a
set of lines. A change is one bundle (OpenFlow 1.4), atomic: traffic meets the old
flows or the new ones, and flows that stay are not touched. A table that was read, or
changed with the switch's consent, is remembered, since reading costs a process; whoever
has a reason to doubt it (a restarted switch, an audit, a person asking) says ``forget``.
"""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from vnetd.adapters import fragments, groups, meters
from vnetd.adapters.conversation import NoSuchBridge
from vnetd.adapters.dataplane import DataPlanes
from vnetd.drops import FlowCount
from vnetd.errors import Unavailable, WorldError
from vnetd.model.dataplane import DataPlane
from vnetd.model.state import FRAGMENTS, Meter, Table
from vnetd.plan import ChangeFlows, ChangeGroups, ChangeMeters, flow_key
from vnetd.tunnels import PortCount

RUNDIR = Path("/run/openvswitch")
TIMEOUT = 10

_COOKIE = re.compile(r"^cookie=(0x[0-9a-f]+)")
_ALL_BUT_TOP = "0x7fffffffffffffff"
_COUNTERS = re.compile(r"cookie=0x([0-9a-f]+), .*n_packets=(\d+), n_bytes=(\d+),.*?(?:in_port=(\d+)|reg1=0x([0-9a-f]+)|actions=)")
_SENDER = re.compile(r",reg5=0x([0-9a-f]+)/0xffff,in_port=")
_COUNT = r"(\d+|\?)"
_PORT_COUNTS = re.compile(
    rf"port +(\d+): rx pkts={_COUNT}, bytes={_COUNT}, drop={_COUNT}.*\n +tx pkts={_COUNT}, bytes={_COUNT}, drop={_COUNT}"
)


class OpenFlow:
    """The local ovs-vswitchd, by its management sockets."""

    def __init__(self) -> None:
        self._known: dict[str, Table] = {}
        self._planes = DataPlanes(RUNDIR)

    def forget(self, bridge: str | None = None) -> None:
        """Read this bridge's table, or all of them, anew when next asked."""
        if bridge is None:
            self._known.clear()
            self._planes.forget()
        else:
            self._known.pop(bridge, None)

    def table(self, bridge: str) -> Table:
        """All flows, meters and groups of ``bridge``; an empty table where the switch has no such bridge yet."""
        if bridge not in self._known:
            self._known[bridge] = self._read(bridge)
        return self._known[bridge]

    def _read(self, bridge: str) -> Table:
        try:
            flows = _ofctl("dump-flows", bridge, "--no-stats")
        except NoSuchBridge:
            return Table()
        lines = frozenset(line.strip() for line in flows.splitlines() if " actions=" in line)
        path = _management(bridge)
        return Table(lines, self._meters(bridge), fragments.read_mode(path), groups.read_groups(path))

    def dataplane(self, bridge: str, kind: str) -> DataPlane:
        """What the data plane of this bridge can do, asked once for each run of ovs-vswitchd."""
        return self._planes.of(bridge, kind)

    def _meters(self, bridge: str) -> dict[int, Meter]:
        return meters.read_meters(_management(bridge))

    def change_flows(self, step: ChangeFlows) -> None:
        """Remove and add in one bundle. Raises WorldError when the switch refuses it; nothing has changed then."""
        lines = [f"delete_strict {_cookie_of(line)}{flow_key(line)}" for line in step.remove]
        lines += [f"add {line.replace(' actions=', ',actions=')}" for line in step.add_lines]
        known = self._known.pop(step.bridge, None)
        _ofctl("--bundle", "add-flows", step.bridge, "-", stdin="\n".join(lines) + "\n")
        if known is not None:
            # An added flow takes the place of one with the same key, as it did in the switch.
            keys = {flow_key(line) for line in step.add_lines}
            kept = known.flows.difference(step.remove)
            replaced = {line for line in kept if flow_key(line) in keys} if keys & set(map(flow_key, kept)) else frozenset()
            self._known[step.bridge] = replace(known, flows=kept.difference(replaced).union(step.add_lines))

    def match_fragments(self, bridge: str) -> None:
        """Let flows see what the first fragment of a packet shows. Raises WorldError."""
        self.forget(bridge)
        fragments.set_mode(_management(bridge), FRAGMENTS)

    def put_groups(self, step: ChangeGroups) -> None:
        """Make groups; flows that name them come afterwards. Raises WorldError for one that the switch cannot have."""
        self.forget(step.bridge)
        groups.put_groups(_management(step.bridge), step.put)

    def drop_groups(self, step: ChangeGroups) -> None:
        """Delete groups; one that is gone is success."""
        self.forget(step.bridge)
        groups.drop_groups(_management(step.bridge), step.drop)

    def put_meters(self, step: ChangeMeters) -> None:
        """Set meters; flows that name them come afterwards. Raises WorldError for one that the switch cannot have."""
        self.forget(step.bridge)
        _complain(meters.put_meters(_management(step.bridge), step.put, step.change))

    def drop_meters(self, step: ChangeMeters) -> None:
        """Delete meters; one that is gone is success."""
        self.forget(step.bridge)
        _complain(meters.drop_meters(_management(step.bridge), step.drop))

    def unlearn(self, bridge: str) -> None:
        """Forget all that NORMAL has learned on ``bridge``, of which OpenFlow knows nothing; a bridge that is gone is success."""
        try:
            _run(["ovs-appctl", f"--timeout={TIMEOUT}", "fdb/flush", bridge])
        except NoSuchBridge:
            return

    def meter_drops(self, bridge: str) -> dict[int, tuple[int, int]]:
        """(packets, bytes) that each meter of ``bridge`` has dropped. Raises NoSuchBridge where there is no such bridge yet."""
        return meters.read_drops(_management(bridge))

    def counters(self, bridge: str) -> list[FlowCount]:
        """What each flow of ``bridge`` has counted."""
        found = []
        for line in _ofctl("dump-flows", bridge).splitlines():
            if match := _COUNTERS.search(line):
                cookie, packets, octets, port, register = match.groups()
                number = int(port) if port else int(register, 16) if register else None
                sender = _SENDER.search(line)
                found.append(FlowCount(int(cookie, 16), number, int(packets), int(octets), int(sender[1], 16) if sender else None))
        return found

    def port_counts(self, bridge: str) -> dict[int, PortCount]:
        """What each port of ``bridge`` has counted, by its number; what a port does not count is 0."""
        return read_port_counts(_ofctl("dump-ports", bridge))


def read_port_counts(text: str) -> dict[int, PortCount]:
    """What ``ovs-ofctl dump-ports`` prints, as values; a question mark stands for what is not counted."""
    found = {}
    for match in _PORT_COUNTS.finditer(text):
        number, *counts = (int(count) if count != "?" else 0 for count in match.groups())
        found[number] = PortCount(*counts)
    return found


def _management(bridge: str) -> Path:
    """Where ovs-vswitchd listens for this bridge's OpenFlow (ovs-vswitchd(8))."""
    return RUNDIR / f"{bridge}.mgmt"


def _complain(refused: Mapping[int, str]) -> None:
    if refused:
        raise WorldError("; ".join(f"meter {number}: {why}" for number, why in sorted(refused.items())))


def _cookie_of(line: str) -> str:
    """The flow's cookie as a condition, so that a flow somebody has just put in its place is left alone.

    By the whole cookie Open vSwitch goes through all flows that have it, for each that it deletes: thousands that it has
    learned held its main thread for so long that BFD sessions ended. Without the top bit, which no flow of vnetd's has, it does not.
    """
    match = _COOKIE.match(line)
    return f"cookie={match[1]}/{_ALL_BUT_TOP}," if match else ""


def _ofctl(*arguments: str, stdin: str | None = None) -> str:
    # With names, ovs-ofctl first asks for every port and table of the bridge, which takes twice as long as the work itself.
    return _run(["ovs-ofctl", "-O", "OpenFlow14", "--no-names", f"--timeout={TIMEOUT}", *arguments], stdin)


def _run(command: Sequence[str], stdin: str | None = None) -> str:
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, close_fds=False, check=False, timeout=TIMEOUT + 5)
    except FileNotFoundError:
        raise Unavailable(f"{command[0]} is not installed; apt-get install openvswitch-switch") from None
    except subprocess.TimeoutExpired:
        raise Unavailable(f"ovs-vswitchd did not answer within {TIMEOUT} s") from None
    if done.returncode == -signal.SIGALRM:
        raise Unavailable(f"ovs-vswitchd did not answer within {TIMEOUT} s")
    if done.returncode != 0:
        text = " ".join(done.stderr.split()) or f"{command[0]} ended with {done.returncode}"
        if "is not a bridge or a socket" in text or "no such bridge" in text:
            raise NoSuchBridge(f"ovs-vswitchd does not run, or has not made the bridge yet: {text}")
        if "version negotiation failed" in text:
            raise WorldError(f"the bridge does not speak OpenFlow 1.4: {text}")
        if "Connection refused" in text or "failed to connect" in text or "cannot connect" in text or "cannot read pidfile" in text:
            raise Unavailable(f"ovs-vswitchd does not answer: {text}")
        raise WorldError(f"the switch refused: {text}")
    return done.stdout


class Pulse(threading.Thread):
    """Says when ovs-vswitchd goes or comes: its flows go with it, and OVSDB need not show that at all.

    A connection to its control socket is held open; the kernel closes it when the process ends.
    """

    def __init__(self, came: Callable[[], None], went: Callable[[], None], rundir: Path = RUNDIR) -> None:
        super().__init__(name="switch-pulse", daemon=True)
        self._came, self._went = came, went
        self._rundir = rundir
        self._stop = threading.Event()

    def stop(self) -> None:
        self._stop.set()

    def run(self) -> None:
        while not self._stop.is_set():
            pulse = self._connect()
            if pulse is None:
                self._stop.wait(0.05)
                continue
            self._came()
            with pulse:
                self._wait(pulse)
            self._went()

    def _wait(self, pulse: socket.socket) -> None:
        pulse.settimeout(1)
        while not self._stop.is_set():
            try:
                if not pulse.recv(4096):
                    return
            except TimeoutError:
                continue
            except OSError:
                return

    def _connect(self) -> socket.socket | None:
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            pid = int((self._rundir / "ovs-vswitchd.pid").read_text())
            client.connect(str(self._rundir / f"ovs-vswitchd.{pid}.ctl"))
        except (OSError, ValueError):
            client.close()
            return None
        return client
