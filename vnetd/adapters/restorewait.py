"""other_config:flow-restore-wait, by which an ovs-vswitchd that starts leaves the kernel's flows as they are (ovs-vswitchd.conf.db(5)).

Strategy: ovs-ctl writes "true" when it restarts ovs-vswitchd, and takes exactly that away.
vnetd's own is "TRUE", which ovs-vswitchd reads alike: so neither ever undoes the other's.
A question of its own to ovsdb-server, since ovsdbapp waits until ovs-vswitchd has acted,
and this is written while there is none.
"""

from __future__ import annotations

from vnetd.adapters import jsonrpc
from vnetd.adapters.ovsdb import SOCKET
from vnetd.adapters.ovsrows import RESTORE_WAIT

OURS = "TRUE"
SECONDS = 5.0


class RestoreWait:
    """The key in the local OVSDB."""

    def __init__(self, socket: str = SOCKET) -> None:
        self._socket = socket

    def hold(self) -> None:
        """Let an ovs-vswitchd that starts wait; a key that somebody has put there stays his. Raises WorldError."""
        self._mutate("insert")

    def release(self) -> None:
        """Let it wait no longer, unless somebody else wants it to. Raises WorldError."""
        self._mutate("delete")

    def _mutate(self, how: str) -> None:
        """Both have no effect on a key whose value is another (RFC 7047, 5.1)."""
        mutation = ["other_config", how, ["map", [[RESTORE_WAIT, OURS]]]]
        operation = {"op": "mutate", "table": "Open_vSwitch", "where": [], "mutations": [mutation]}
        for one in jsonrpc.ask("ovsdb-server", self._socket, "transact", ["Open_vSwitch", operation], SECONDS):
            if isinstance(one, dict) and one.get("error"):
                raise jsonrpc.Refused(f"ovsdb-server refused to change {RESTORE_WAIT}: {one['error']}")
