"""Which patches between bridges may be made: no circle, and one way out of all that are joined.

Strategy: bridges are united patch by patch (union-find), the oldest patch first, so that
a new one which would close a circle is refused and not one that is in use. Nothing here
runs the spanning tree protocol: what has no circle by its making needs none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Joint:
    """A patch wanted between a network's bridge and another; a ``foreign`` one is no network's, and leads anywhere."""

    one: str
    other: str
    foreign: bool = False

    @property
    def ends(self) -> frozenset[str]:
        return frozenset({self.one, self.other})


def refused(joints: Iterable[Joint], exits: Mapping[str, Sequence[str]]) -> dict[Joint, str]:
    """The joints that must not be made, each with why. ``exits`` are the ways out that bridges have by themselves, in words."""
    groups = _Groups(exits)
    made: set[frozenset[str]] = set()
    found: dict[Joint, str] = {}
    for joint in joints:
        if joint.ends in made:
            continue  # Both networks name the other's bridge, and one patch serves both.
        if why := groups.objection(joint):
            found[joint] = why
        else:
            groups.unite(joint)
            made.add(joint.ends)
    return found


def toward(joints: Iterable[Joint], ends: Collection[str]) -> dict[str, str]:
    """For each bridge from which made joints lead to one of ``ends``, the next bridge on the way there. There is one end to a group."""
    near: dict[str, list[str]] = {}
    for joint in joints:
        if not joint.foreign:
            near.setdefault(joint.one, []).append(joint.other)
            near.setdefault(joint.other, []).append(joint.one)
    found: dict[str, str] = {}
    waiting = list(ends)
    while waiting:
        bridge = waiting.pop()
        further = [one for one in near.get(bridge, ()) if one not in found and one not in ends]
        found.update(dict.fromkeys(further, bridge))
        waiting += further
    return found


class _Groups:
    """Bridges that are joined, by one of them that stands for all, and each group's members and ways out."""

    def __init__(self, exits: Mapping[str, Sequence[str]]) -> None:
        self._exits = exits
        self._above: dict[str, str] = {}
        self._members: dict[str, list[str]] = {}
        self._ways: dict[str, list[str]] = {}

    def objection(self, joint: Joint) -> str:
        """Why the joint must not be made, or nothing."""
        one = self._find(joint.one)
        members, ways = self._members[one], list(self._ways[one])
        if joint.foreign:
            ways.append(f"bridge {joint.other}")
        else:
            other = self._find(joint.other)
            if other == one:
                return (
                    f"its patch to {joint.other} would close a circle, in which frames go round for ever: "
                    f"{joint.one} and {joint.other} are joined already; remove a <vnet:patch>"
                )
            members, ways = [*members, *self._members[other]], [*ways, *self._ways[other]]
        if len(ways) > 1:
            return (
                f"its patch to {joint.other} would give what it joins ({', '.join(sorted(members))}) more than one way out: "
                f"{', '.join(ways)}; frames could come back by another one, so keep one of them"
            )
        return ""

    def unite(self, joint: Joint) -> None:
        one = self._find(joint.one)
        if joint.foreign:
            self._ways[one].append(f"bridge {joint.other}")
            return
        other = self._find(joint.other)
        self._above[other] = one
        self._members[one] += self._members.pop(other)
        self._ways[one] += self._ways.pop(other)

    def _find(self, bridge: str) -> str:
        """The bridge that stands for this one's group."""
        if bridge not in self._above:
            self._above[bridge] = bridge
            self._members[bridge] = [bridge]
            self._ways[bridge] = [f"{way} of {bridge}" for way in self._exits.get(bridge, ())]
        while self._above[bridge] != bridge:
            self._above[bridge] = bridge = self._above[self._above[bridge]]
        return bridge
