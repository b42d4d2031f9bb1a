"""What a bridge makes of IP fragments: a property of the running switch, which is no flow and in no database.

In Open vSwitch's mode "normal" no flow sees the ports or the ICMP type of any fragment, the
first one included, so that a DHCP server's answer need only be sent in two pieces. In
"nx-match" the first one shows them (ovs-fields(7), nw_frag). A restart of ovs-vswitchd loses it,
as it does the flows, so it is looked at with the flows and set before them.
"""

from __future__ import annotations

import struct
from pathlib import Path

from vnetd.adapters.conversation import Conversation
from vnetd.errors import WorldError

# Message types (7.1.1) and ofp_switch_config (7.3.2): flags, bytes of a packet to be sent to a controller.
_GET_REQUEST, _GET_REPLY, _SET = 7, 8, 9
_CONFIG = struct.Struct("!HH")
_MODES = ("normal", "drop", "reassemble", "nx-match")
"""The lowest two bits of the flags, in ovs-ofctl's words; the last is Nicira's."""


def read_mode(path: Path) -> str:
    """How the bridge with this management socket handles fragments, in the words of ``ovs-ofctl get-frags``."""
    with Conversation(path) as switch:
        return _MODES[_config(switch)[0] & 3]


def set_mode(path: Path, mode: str) -> None:
    """Set how it handles them. Raises WorldError when the switch will not."""
    with Conversation(path) as switch:
        flags, length = _config(switch)
        switch.tell([(_SET, _CONFIG.pack(flags & ~3 | _MODES.index(mode), length))])
        if _config(switch)[0] & 3 != _MODES.index(mode):
            raise WorldError(f"the switch cannot handle fragments as {mode}; its Open vSwitch is older than 1.3")


def _config(switch: Conversation) -> tuple[int, int]:
    for body in switch.ask(_GET_REQUEST, b"", _GET_REPLY):
        flags, length = _CONFIG.unpack_from(body)
        return flags, length
    raise WorldError("the switch does not tell how it handles fragments")
