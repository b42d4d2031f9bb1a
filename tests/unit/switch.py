"""A small switch of plain Python, which carries out the flows that vnetd renders, so that a policy can be tried frame by frame.

Strategy: a flow's match becomes conditions (field, value, mask) on a dictionary of
numbers, and its actions become a tree of words. Only what vnetd's pipelines use is
understood, and everything else raises, so that a new action cannot be overlooked.
Where Open vSwitch would take either of two flows, the switch here refuses to choose.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network

LOCAL = 0xFFFE
FIRST, LATER = 1, 3
"""The bits of ``nw_frag``: a fragment, and one that does not begin its packet."""

_PROTOCOLS = {
    "ip": {"dl_type": 0x0800},
    "ipv6": {"dl_type": 0x86DD},
    "arp": {"dl_type": 0x0806},
    "rarp": {"dl_type": 0x8035},
    "gre": {"dl_type": 0x0800, "nw_proto": 47},
    "udp": {"dl_type": 0x0800, "nw_proto": 17},
    "udp6": {"dl_type": 0x86DD, "nw_proto": 17},
    "icmp6": {"dl_type": 0x86DD, "nw_proto": 58},
    **{name: {"dl_type": 0x0800, "nw_proto": number} for name, number in (("icmp", 1), ("tcp", 6), ("sctp", 132))},
    **{name: {"dl_type": 0x86DD, "nw_proto": number} for name, number in (("tcp6", 6), ("sctp6", 132))},
}
_FRAGMENTS = {"no": (0, 3), "yes": (1, 1), "later": (3, 3), "first": (1, 3), "not_later": (0, 2)}
_WIDTHS = {
    **dict.fromkeys(("dl_src", "dl_dst", "arp_sha", "arp_tha", "nd_sll", "nd_tll"), 48),
    **dict.fromkeys(("ipv6_src", "ipv6_dst", "nd_target"), 128),
    **dict.fromkeys(("nw_src", "nw_dst", "arp_spa", "arp_tpa", "reg0", "reg1", "reg2", "reg3", "reg4", "reg5", "pkt_mark"), 32),
    "nd_reserved": 32,
    **dict.fromkeys(("nw_proto", "nw_ttl", "icmp_type", "icmp_code", "nd_options_type"), 8),
    **dict.fromkeys(("in_port", "vlan_tci", "dl_type", "tp_src", "tp_dst", "arp_op"), 16),
    "tun_id": 64,
}
_NAMES = {
    "NXM_OF_IN_PORT": "in_port",
    "OXM_OF_IN_PORT": "in_port",
    "NXM_OF_VLAN_TCI": "vlan_tci",
    "NXM_OF_ETH_SRC": "dl_src",
    "NXM_OF_ETH_DST": "dl_dst",
    "NXM_OF_ARP_SPA": "arp_spa",
    "NXM_OF_ARP_TPA": "arp_tpa",
    "NXM_NX_ARP_SHA": "arp_sha",
    "NXM_NX_ARP_THA": "arp_tha",
    "NXM_NX_IPV6_SRC": "ipv6_src",
    "NXM_NX_IPV6_DST": "ipv6_dst",
    "NXM_NX_ND_TARGET": "nd_target",
    "NXM_NX_ND_TLL": "nd_tll",
    "ERICOXM_OF_ICMPV6_ND_RESERVED": "nd_reserved",
    "ERICOXM_OF_ICMPV6_ND_OPTIONS_TYPE": "nd_options_type",
    "NXM_NX_REG0": "reg0",
    "NXM_NX_REG1": "reg1",
    "NXM_NX_REG2": "reg2",
    "NXM_NX_REG3": "reg3",
    "NXM_NX_REG4": "reg4",
    "NXM_NX_REG5": "reg5",
    "NXM_NX_PKT_MARK": "pkt_mark",
}
"""A register's or a field's name in actions, and in matches."""

Frame = dict[str, int]
"""The fields of a frame as Open vSwitch presents them; one that is missing is 0.

``vlan_tci`` has the bit 0x1000 where there is a tag. A second tag is not looked into
(vlan-limit=1): it is ``inner``, ``dl_type`` is the tag's own, and what stands behind it has
names that begin with "~". One that a flow has put a tag before is ``second``.
A packet's first fragment shows its ports and a later one none, as in the mode nx-match.
"""

AGAIN = 0x766E6574
"""The group with one bucket, chosen by hash, that leads to table 44: the frame is parsed again on its way there."""

APART = AGAIN + 1
"""The indirect group that leads to table 57; what its bucket ends is the bucket alone."""

ANEW = AGAIN + 2
"""The group of the tunnel bridge that leads to table 61 by way of the data plane."""

PEEK = AGAIN + 3
"""The group that leads to table 6 by way of the data plane."""

_PARSING = {AGAIN: 44, ANEW: 61, PEEK: 6}


class Exit(Exception):
    """Nothing more is done for a frame, up to the nearest bucket: it has gone through the data plane once more."""


Condition = tuple[str, int, int]


class Unknown(AssertionError):
    """A match or an action that no pipeline of vnetd's has used before."""


class Ambiguous(AssertionError):
    """Two flows of one priority match the same frame and do different things."""


@dataclass(frozen=True)
class Rule:
    """One flow, read from its line."""

    line: str
    table: int
    priority: int
    cookie: int
    conditions: tuple[Condition, ...]
    actions: tuple[str, ...]

    def matches(self, frame: Frame) -> bool:
        return all(frame.get(name, 0) & mask == value for name, value, mask in self.conditions)


@lru_cache(maxsize=65536)
def read_rule(line: str) -> Rule:
    """A flow from its line, as the switch prints it."""
    head, _, actions = line.partition(" actions=")
    cookie, table, priority, conditions = 0, 0, 32768, []
    for word in head.replace(", ", ",").split(","):
        name, _, value = word.partition("=")
        if name == "cookie":
            cookie = int(value, 16)
        elif name == "table":
            table = int(value)
        elif name == "priority":
            priority = int(value)
        elif name not in ("hard_timeout", "idle_timeout"):
            conditions.extend(_conditions(name, value))
    return Rule(line, table, priority, cookie, tuple(conditions), tuple(split(actions)))


def split(actions: str) -> Iterator[str]:
    """Actions one by one; commas inside of parentheses belong to one of them."""
    depth, begin = 0, 0
    for at, letter in enumerate(actions):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "," and not depth:
            yield actions[begin:at]
            begin = at + 1
    yield actions[begin:]


def _conditions(name: str, value: str) -> Iterator[Condition]:
    if not value:
        for one, number in _PROTOCOLS[name].items():
            yield one, number, (1 << _WIDTHS[one]) - 1
    elif name == "dl_vlan":
        yield "vlan_tci", 0x1000 | int(value), 0x1FFF
    elif name == "nw_frag":
        yield name, *_FRAGMENTS[value]
    elif name in _WIDTHS:
        known = {"icmp_type": "tp_src", "icmp_code": "tp_dst"}.get(name, name)
        yield known, *_value_and_mask(value, _WIDTHS[name])
    else:
        raise Unknown(f"the match {name}={value}")


def _value_and_mask(text: str, width: int) -> tuple[int, int]:
    whole = (1 << width) - 1
    value, _, mask = text.partition("/")
    if width == 128 or value.count(".") == 3:
        network = (IPv6Network if width == 128 else IPv4Network)(text)
        return int(network.network_address), int(network.netmask)
    return _number(value), _number(mask) if mask else whole


def _number(text: str) -> int:
    if text.count(":") == 5:
        return int(text.replace(":", ""), 16)
    return LOCAL if text == "LOCAL" else int(text, 0)


def parsed_again(frame: Frame) -> Frame:
    """A frame as it shows when it is looked at anew: what stood behind a tag that has gone comes to light."""
    if frame["vlan_tci"] or not frame.get("inner"):
        return frame
    seen = {name: value for name, value in frame.items() if not name.startswith("~")}
    hidden = {name[1:]: value for name, value in frame.items() if name.startswith("~")}
    return {**seen, **hidden, "vlan_tci": frame["inner"], "inner": 0}


@dataclass
class Journey:
    """What became of one frame: where it came out, by which rules it went, what was counted and learned."""

    outputs: list[tuple[int, Frame]] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    drops: list[tuple[int, int]] = field(default_factory=list)
    """(cookie, port number in reg1, or else the one it came from) of every flow that drops or says why."""
    meters: list[int] = field(default_factory=list)
    learned: list[str] = field(default_factory=list)

    @property
    def tables(self) -> list[int]:
        return [rule.table for rule in self.rules]


class Switch:
    """One bridge with its flows, and those that it makes itself."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._tables: dict[int, list[Rule]] = {}
        self.learned: dict[tuple[int, int, tuple[Condition, ...]], Rule] = {}
        for line in lines:
            rule = read_rule(line)
            self._tables.setdefault(rule.table, []).append(rule)
        for rules in self._tables.values():
            rules.sort(key=lambda rule: -rule.priority)

    def send(self, frame: Frame) -> Journey:
        """Let one frame through. What it makes the switch learn is there for the next one only, as in Open vSwitch."""
        run = _Run(self._find, dict(frame))
        with contextlib.suppress(Exit):
            run.table(0)
        for line in run.journey.learned:
            rule = read_rule(line)
            self.learned[rule.table, rule.priority, rule.conditions] = rule
        return run.journey

    def _find(self, table: int, frame: Frame) -> Rule | None:
        """The flow that matches with the highest priority."""
        learned = [rule for rule in self.learned.values() if rule.table == table]
        rules = sorted([*self._tables.get(table, ()), *learned], key=lambda rule: -rule.priority)
        best: Rule | None = None
        for rule in rules:
            if best is not None and rule.priority < best.priority:
                break
            if rule.matches(frame):
                if best is not None and best.actions != rule.actions:
                    raise Ambiguous(f"{best.line}\n{rule.line}")
                best = best or rule
        return best


class _Run:
    """One frame on its way: the actions change ``frame`` and write down the journey."""

    def __init__(self, find: Callable[[int, Frame], Rule | None], frame: Frame) -> None:
        self.find = find
        self.frame = frame
        self.journey = Journey()
        self.stack: list[int] = []
        self.learned_before: int | None = None
        """How much was learned when the frame first went through the data plane again."""

    def table(self, number: int) -> None:
        rule = self.find(number, self.frame)
        if len(self.journey.rules) > 200:
            raise AssertionError(f"a frame goes round for ever: {self.journey.tables[-20:]}")
        if rule is not None:
            self.journey.rules.append(rule)
            if rule.actions[0].startswith("learn(") and "load:" not in rule.actions[0] and "output:" not in rule.actions[0]:
                # A flow that is learned only to count says of this frame why it drops.
                self.journey.drops.append((rule.cookie, self.frame.get("reg1", 0)))
            self.do(rule.actions, rule)

    def do(self, actions: Iterable[str], rule: Rule) -> None:
        left = list(actions)
        while left:
            action = left.pop(0)
            word, _, rest = action.partition(":")
            if action.startswith(("resubmit(", "clone(", "learn(")):
                self._bracketed(action, rule)
            elif action == "drop":
                self.journey.drops.append((rule.cookie, self.frame.get("in_port", 0)))
            elif action.startswith("check_pkt_larger("):
                size, _, target = action.removeprefix("check_pkt_larger(").partition(")->")
                larger = self.frame.get("length", 0) > int(size)
                ends = self._imagine(target, int(not larger), left, rule)
                self._write(target, int(larger))
                self.do(left, rule)
                if ends:
                    raise Exit
                return
            elif action == "LOCAL":
                self._output(LOCAL)
            elif action == "pop_vlan":
                # What was not looked into is not parsed again: dl_type goes on saying that there is a tag.
                self.frame["vlan_tci"], self.frame["second"] = self.frame.get("second", 0), 0
            elif word in ("goto_table", "group", "meter", "output", "push_vlan", "push", "pop", "move", "load", "set_field"):
                getattr(self, f"_{word}")(rest)
            else:
                raise Unknown(f"the action {action}")

    def _imagine(self, target: str, answer: int, actions: list[str], rule: Rule) -> bool:
        """The way that the frame does not take, which Open vSwitch works out all the same, and learns by; whether it ends all."""
        other = _Run(self.find, dict(self.frame))
        other.stack = list(self.stack)
        other._write(target, answer)
        try:
            other.do(actions, rule)
        except Exit:
            return True
        finally:
            # What would come after the frame has been sent through the data plane again, only its coming brings.
            self.journey.learned += other.journey.learned[: other.learned_before]
        return False

    def _bracketed(self, action: str, rule: Rule) -> None:
        word, _, inside = action[:-1].partition("(")
        if word == "resubmit":
            self.table(int(inside.removeprefix(",")))
        elif word == "learn":
            self.journey.learned.append(self._learned(inside))
        else:
            before, stack = dict(self.frame), list(self.stack)
            self.do(split(inside), rule)
            self.frame, self.stack = before, stack

    def _goto_table(self, rest: str) -> None:
        self.table(int(rest))

    def _group(self, rest: str) -> None:
        before, stack = dict(self.frame), list(self.stack)
        if int(rest) == APART:
            with contextlib.suppress(Exit):
                self.table(57)
            self.frame, self.stack = before, stack
        elif int(rest) in _PARSING:
            self.learned_before = len(self.journey.learned) if self.learned_before is None else self.learned_before
            self.frame = parsed_again(self.frame)
            self.table(_PARSING[int(rest)])
            raise Exit
        else:
            raise Unknown(f"the group {rest}")

    def _meter(self, rest: str) -> None:
        self.journey.meters.append(int(rest))

    def _output(self, port: str | int) -> None:
        number = port if isinstance(port, int) else self._read(port) if "[" in port else int(port)
        if number != self.frame.get("in_port", 0):
            self.journey.outputs.append((number, dict(self.frame)))

    def _push_vlan(self, rest: str) -> None:
        if self.frame.get("second", 0):
            # Open vSwitch knows two tags at most, and would lose the last one.
            raise Unknown("push_vlan on a frame that has two tags")
        self.frame["second"], self.frame["vlan_tci"] = self.frame.get("vlan_tci", 0), 0x1000

    def _push(self, rest: str) -> None:
        self.stack.append(self._read(rest))

    def _pop(self, rest: str) -> None:
        self._write(rest, self.stack.pop())

    def _move(self, rest: str) -> None:
        source, _, target = rest.partition("->")
        self._write(target, self._read(source))

    def _load(self, rest: str) -> None:
        value, _, target = rest.partition("->")
        self._write(target, int(value, 0))

    def _set_field(self, rest: str) -> None:
        value, _, name = rest.partition("->")
        if name == "vlan_vid":
            self.frame["vlan_tci"] = int(value)
        elif name == "ip_dscp":
            if self.frame["dl_type"] not in (0x0800, 0x86DD):
                raise Unknown("set_field of ip_dscp on what is no IP packet")
            self.frame["ip_dscp"] = int(value)
        elif name in ("reg0", "reg1", "reg2", "reg3", "pkt_mark", "tun_id"):
            self.frame[name] = int(value, 0)
        elif name == "eth_dst":
            self.frame["dl_dst"] = _number(value)
        elif name == "arp_op":
            self._need(name, 0x0806)
            self.frame["arp_op"] = int(value)
        elif name == "icmpv6_type":
            self._need(name, 0x86DD, nw_proto=58)
            self.frame["tp_src"] = int(value)
        else:
            raise Unknown(f"set_field of {name}")

    def _need(self, field: str, kind: int, **more: int) -> None:
        """Open vSwitch refuses a flow whose match does not say that a frame has the field."""
        if self.frame["dl_type"] != kind or any(self.frame.get(name) not in (value, None) for name, value in more.items()):
            raise Unknown(f"{field} of what has none")

    def _read(self, text: str) -> int:
        name, begin, width = _place(text)
        return self.frame.get(name, 0) >> begin & (1 << width) - 1

    def _write(self, text: str, value: int) -> None:
        name, begin, width = _place(text)
        if name.startswith("arp_"):
            self._need(name, 0x0806)
        elif name.startswith("nd_"):
            self._need(name, 0x86DD, nw_proto=58, tp_dst=0, **({"tp_src": 136} if name == "nd_tll" else {}))
        mask = (1 << width) - 1 << begin
        self.frame[name] = self.frame.get(name, 0) & ~mask | value << begin & mask

    def _learned(self, inside: str) -> str:
        """The line of the flow that a learn action makes of this frame."""
        head, match, actions = {"priority": "32768"}, [], []
        for word in split(inside):
            if found := re.fullmatch(r"(table|hard_timeout|priority|cookie|limit)=(\w+)", word):
                head[found[1]] = found[2]
            elif word == "load:NXM_OF_IN_PORT[]->NXM_NX_REG1[0..15]":
                actions.append(f"load:0x{self.frame['in_port']:x}->NXM_NX_REG1[0..15]")
            elif word == "output:OXM_OF_IN_PORT[]":
                actions.append(f"output:{self.frame['in_port']}")
            elif word.startswith("in_port="):
                match.append(word)
            else:
                target, _, source = word.partition("=")
                match.append(self._learned_match(target, source or target))
        timeout = f"hard_timeout={head['hard_timeout']}, " if "hard_timeout" in head else ""
        start = f"cookie={head['cookie']}, table={head['table']}, {timeout}priority={head['priority']}"
        return f"{start},{','.join(match)} actions={','.join(actions) or 'drop'}"

    def _learned_match(self, target: str, source: str) -> str:
        name, begin, width = _place(target)
        value, mask = self._read(source) << begin, (1 << width) - 1 << begin
        if name == "dl_dst":
            return f"dl_dst={value.to_bytes(6, 'big').hex(':')}"
        return f"{name}=0x{value:x}" + ("" if width == _WIDTHS[name] else f"/0x{mask:x}")


@lru_cache(maxsize=1024)
def _place(text: str) -> tuple[str, int, int]:
    """(field, first bit, bits) of a subfield such as ``NXM_NX_REG1[0..15]``."""
    found = re.fullmatch(r"(\w+)\[(?:(\d+)(?:\.\.(\d+))?)?\]", text)
    if found is None or found[1] not in _NAMES:
        raise Unknown(f"the field {text}")
    name = _NAMES[found[1]]
    if found[2] is None:
        return name, 0, _WIDTHS[name]
    begin = int(found[2])
    return name, begin, int(found[3] or begin) - begin + 1
