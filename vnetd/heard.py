"""What the switch has learned by itself, and which of it stays: who is behind which port, and what is counted for whom.

No plan wants such flows. They stay while what they name is there; with a peer that is dead, or
no longer one, all goes that was learned to be behind it: on the tunnel bridge, and on the
network's bridge what leads there, or frames for those who are gone would be sent to all
other peers without the limit on what is sent to everybody.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from vnetd.model.state import Desired, Observed, SegmentWire
from vnetd.pipeline import LOCAL_NUMBER, is_count, is_learned, is_learned_here, is_place, referenced_ports

_BEHIND_TUNNEL = re.compile(r",in_port=(\d+),(vlan_tci=\S+,dl_dst=\S+) actions=load:0x([0-9a-f]+)->")
_BEHIND_PORT = re.compile(r",(vlan_tci=\S+,dl_dst=\S+) actions=load:0x([0-9a-f]+)->")
_COUNT = re.compile(r"reg5=0x([0-9a-f]+)/0xffff,in_port=(\d+) ")


Station = tuple[str, int, str]
"""A network's bridge, the number of its patch to the tunnels, and a VLAN and MAC address behind that, as flows match them."""


class Heard:
    """The learned flows of one look at all bridges. ``before`` are stations that an earlier look of this pass has found lost.

    What is remembered of one bridge may be older than of another, so one look does not show all.
    """

    def __init__(self, desired: Desired, observed: Observed, before: frozenset[Station] = frozenset()) -> None:
        self._desired, self._observed = desired, observed
        self._tunnel_numbers = observed.rows.numbers(desired.tunnel_bridge)
        self._patches = {self._tunnel_numbers.get(one.patch, 0): one for one in desired.segments}
        self._alive = {one.patch: self._living(one) for one in desired.segments}
        self._ports: dict[str, dict[str, int]] = {}
        self._senders: dict[str, frozenset[int]] = {}
        found = dict(self._stations())
        self.lost = frozenset({one for one, lives in found.items() if not lives} | {one for one in before if not found.get(one)})

    def kept(self, bridge: str, numbers: Mapping[str, int]) -> set[str]:
        """The learned flows of a bridge of vnetd's that stay; ``numbers`` are those of its ports."""
        table = self._observed.tables.get(bridge)
        learned = [line for line in table.flows if is_learned(line)] if table and bridge in self._desired.bridges else []
        if bridge == self._desired.tunnel_bridge:
            return {line for line in learned if self._leads_to_life(line) or self._counts(line)}
        if bridge in self._desired.bond_bridges:
            return set()
        ports = set(numbers.values())
        here = (line for line in learned if is_learned_here(line) and referenced_ports(line) <= ports)
        return {line for line in here if not self._is_lost(bridge, line)}

    def _leads_to_life(self, line: str) -> bool:
        """Whether a flow of the tunnel bridge leads from a network's patch to a living peer of that network."""
        found = _BEHIND_TUNNEL.search(line) if is_place(line) else None
        segment = self._patches.get(int(found[1])) if found else None
        if found is None or segment is None:
            return False
        return int(found[3], 16) in self._alive[segment.patch]

    def _living(self, segment: SegmentWire) -> set[int]:
        """The port numbers of the tunnels to a network's living peers."""
        living = (name for name in segment.tunnels if self._desired.tunnels[name].wire.alive)
        return {self._tunnel_numbers[name] for name in living if name in self._tunnel_numbers}

    def _numbers(self, bridge: str) -> dict[str, int]:
        """The port numbers of a bridge; there may be thousands of learned flows, and of ports."""
        if bridge not in self._ports:
            self._ports[bridge] = self._observed.rows.numbers(bridge)
        return self._ports[bridge]

    def _stations(self) -> Iterator[tuple[Station, bool]]:
        """Who is behind a tunnel, each with whether its peer lives."""
        table = self._observed.tables.get(self._desired.tunnel_bridge)
        for line in table.flows if table else ():
            found = _BEHIND_TUNNEL.search(line) if is_place(line) else None
            segment = self._patches.get(int(found[1])) if found else None
            if found is not None and segment is not None:
                here = dict(self._desired.ports[segment.patch].options)["peer"]
                bridge = self._desired.behind(segment.patch)
                yield (bridge, self._numbers(bridge).get(here, 0), found[2]), self._leads_to_life(line)

    def _is_lost(self, bridge: str, line: str) -> bool:
        found = _BEHIND_PORT.search(line) if self.lost else None
        return found is not None and (bridge, int(found[2], 16), found[1]) in self.lost

    def _counts(self, line: str) -> bool:
        """Whether a flow of the tunnel bridge counts for a port that is there, behind one of its patches."""
        found = _COUNT.search(line) if is_count(line) else None
        segment = self._patches.get(int(found[2])) if found else None
        if found is None or segment is None:
            return False
        behind = self._desired.behind(segment.patch)
        if behind not in self._senders:
            self._senders[behind] = frozenset({LOCAL_NUMBER, *self._numbers(behind).values()})
        return int(found[1], 16) in self._senders[behind]
