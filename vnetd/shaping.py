"""Whether the kernel's tc does what a guest port's row asks for: the read-back of limits.

OVSDB only says what ovs-vswitchd is to do. It sets a limit up once and does not look
again, so that what somebody takes away by tc stays away, and what somebody adds stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from vnetd.model.network import Problem
from vnetd.model.shaping import TICK, HtbClass, SeenTap
from vnetd.model.state import Desired, Observed, Role, Shape

HARMLESS = frozenset(
    {"", "noqueue", "pfifo_fast", "pfifo", "bfifo", "fq", "fq_codel", "fq_pie", "codel", "pie", "sfq", "mq", "multiq", "prio", "clsact"}
)
"""Qdiscs that put frames in order and limit nothing by themselves."""

_FIRST, _WHOLE = 1, 0xFFFE
"""Minor numbers of the two classes that Open vSwitch makes: the one for queue 0, inside the one for the port."""

_LEAST_RATE = 1500
"""bytes/s: Open vSwitch guarantees no less, or the port's limit where that is lower (htb_parse_class_details__ in netdev-linux.c)."""

_LEAST_BURST = 65535 + 64
"""bytes: Open vSwitch lets at least a frame of the port's MTU pass at once, of which none is larger."""


class Tc(Protocol):
    """netlink: what tc has on taps. Raises WorldError or Unavailable."""

    def taps(self, wanted: Mapping[str, int]) -> Mapping[str, SeenTap]: ...


def guest_links(desired: Desired, observed: Observed) -> dict[str, int]:
    """The taps of guests' ports that are there, with their indexes: what to ask tc about."""
    links = observed.host.links
    return {name: links[name].index for name, port in desired.ports.items() if port.role is Role.GUEST and name in links}


def limited_links(desired: Desired, observed: Observed) -> dict[str, int]:
    """Those of them that are limited, and whose rows say how: of another row tc rightly makes something else."""
    ports, rows = desired.ports, observed.rows.ports
    links = guest_links(desired, observed).items()
    return {
        name: index
        for name, index in links
        if ports[name].shape and name in rows and rows[name].live and rows[name].port.shape == ports[name].shape
    }


def shaping_problems(desired: Desired, seen_by_tap: Mapping[str, SeenTap]) -> list[Problem]:
    """What tc does otherwise than the rows of guests' ports say. A tap that was not looked at is none."""
    found = []
    for name, port in sorted(desired.ports.items()):
        seen = seen_by_tap.get(name)
        if port.role is Role.GUEST and seen is not None:
            found += [Problem("port", name, text) for text in _faults(name, port.shape, seen)]
    return found


def _faults(tap: str, wanted: Shape | None, seen: SeenTap) -> Iterator[str]:
    strangers = sorted({kind for kind in seen.others if kind not in HARMLESS})
    if wanted is None:
        if seen.root not in HARMLESS:
            yield f"tc limits what it gets by a qdisc {seen.root} that nothing asks for; tc qdisc del dev {tap} root takes it away"
    elif (unlike := _unlike(wanted, seen)) is not None:
        again = f"ovs-vsctl clear Port {tap} qos; vnetctl apply puts it there anew"
        yield f"what it gets should be limited to {_words(wanted.max_rate / 8)}, but {unlike}; {again}"
    elif extra := sorted(set(seen.classes) - {_FIRST, _WHOLE}):
        names = ", ".join(f"1:{minor:x}" for minor in extra)
        yield f"tc has classes on it that nothing asks for ({names}); tc class del dev {tap} classid 1:… takes one away"
    if strangers and seen.root == "htb":
        yield f"tc has a second limiter below its own on what it gets ({', '.join(strangers)}); tc qdisc show dev {tap} shows its place"
    for one in seen.filters:
        kind, _, direction = one.partition(" on ")
        way = "it sends" if direction == "ingress" else "it gets"
        yield f"tc has a filter {kind} on what {way}, besides vnetd's limits; tc filter show dev {tap} {direction} shows it"


def _unlike(wanted: Shape, seen: SeenTap) -> str | None:
    """In words, what tc has in place of ``wanted``; None where it is that."""
    if seen.root != "htb":
        return f"tc has no limit there (its qdisc is {seen.root or 'none'})" if seen.root in HARMLESS else f"tc has a qdisc {seen.root}"
    first, whole = seen.classes.get(_FIRST), seen.classes.get(_WHOLE)
    if first is None or whole is None:
        return "tc has an htb without its class, which limits nothing"
    ceil = wanted.max_rate // 8
    rate = min(max(wanted.min_rate // 8, _LEAST_RATE), ceil)
    if not (_near(first.ceil, ceil) and _near(whole.ceil, ceil)):
        return f"tc lets {_words(min(first.ceil, whole.ceil))} pass"
    if not _near(first.rate, rate):
        return f"tc guarantees it {_words(first.rate)} instead of {_words(rate)}"
    burst = (wanted.burst or 0) // 8
    if not _burst_fits(burst, first):
        return f"tc lets {first.burst:.0f} bytes pass at once instead of {burst}"
    return None


def _near(one: int, other: int) -> bool:
    """Equal but for the bytes that are lost when bit/s become bytes/s."""
    return abs(one - other) <= 1


def _burst_fits(wanted: int, seen: HtbClass) -> bool:
    """Bursts are counted in ticks, of which two may be lost by rounding; a small one becomes a frame of the port's MTU."""
    slack = 2 * TICK * seen.rate + 8
    if wanted <= _LEAST_BURST:
        return wanted - slack <= seen.burst <= _LEAST_BURST + slack
    return abs(seen.burst - wanted) <= slack


def _words(rate: float) -> str:
    """bytes/s as people say it."""
    kbit = rate * 8 / 1000
    return f"{kbit / 1000:g} Mbit/s" if kbit >= 1000 else f"{kbit:g} kbit/s"
