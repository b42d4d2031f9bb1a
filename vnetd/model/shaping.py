"""What the kernel's tc does with what goes over a tap, and the links' MTUs: as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vnetd.model.names import IpAddress

TICK = 64e-9
"""Seconds: how finely tc counts a burst (PSCHED_SHIFT in linux/net/pkt_sched.h), as the time that it takes at its rate."""


@dataclass(frozen=True, slots=True)
class HtbClass:
    """One class of a linux-htb: bytes/s, bytes/s and bytes."""

    rate: int
    ceil: int
    burst: float


@dataclass(frozen=True, slots=True)
class SeenTap:
    """What tc has on one link.

    ``root`` is the kind of its root qdisc, ``others`` are the kinds below it, ``classes`` those of an htb
    by their minor number. ``filters`` are the kinds of filters on what comes from the guest ("ingress") and
    goes to it ("egress") that vnetd did not put there, each with its direction: policers, most of all.
    """

    root: str = ""
    others: tuple[str, ...] = ()
    classes: Mapping[int, HtbClass] = field(default_factory=dict)
    filters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Leaf:
    """The queue below the one class of a link that Open vSwitch limits by linux-htb.

    ``limit`` is how many frames it holds, None where it is the kernel's own, or no pfifo, or the class around lends no burst.
    ``mtu`` is the link's.
    """

    limit: int | None
    mtu: int = 1500


@dataclass(frozen=True, slots=True)
class Mtus:
    """The MTU of each link, and the link that has each address."""

    links: Mapping[str, int] = field(default_factory=dict)
    homes: Mapping[IpAddress, str] = field(default_factory=dict)
