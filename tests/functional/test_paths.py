"""Path MTUs as they are measured through a router, in network namespaces: with ICMP errors and without, exact to the byte."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from labkit.shell import ip, run, try_run

from vnetd.adapters import paths
from vnetd.adapters.ceilings import Ceilings
from vnetd.adapters.paths import PathProbe
from vnetd.model.state import Path as State
from vnetd.pathmtu import Pace

PROBE = Path(__file__).with_name("path_probe.py")
ROOT = PROBE.parents[2]
CONFIRM, GROW = 1, 4
NEAR = {4: "10.77.1.1", 6: "2001:db8:1::1"}
FAR = {4: "10.77.2.1", 6: "2001:db8:2::1"}
NOBODY = {4: "10.77.2.99", 6: "2001:db8:2::99"}
ERRORS = {"iptables": ("icmp", "--icmp-type", "fragmentation-needed"), "ip6tables": ("icmpv6", "--icmpv6-type", "packet-too-big")}
ECHOES = {"iptables": ("icmp", "--icmp-type", "echo-request"), "ip6tables": ("icmpv6", "--icmpv6-type", "echo-request")}


FAR_AWAY = """
import collections, select, socket, sys, time
wire = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
waiting = collections.deque()
while True:
    if select.select([wire], [], [], max(waiting[0][0] - time.monotonic(), 0) if waiting else None)[0]:
        data, sender = wire.recvfrom(65535)
        if data[20] == 8:
            # With the type set to that of an answer, the checksum grows by as much as the type has become less (RFC 1624).
            total = int.from_bytes(data[22:24], "big") + 0x800
            answer = bytes([0, 0]) + ((total & 0xffff) + (total >> 16)).to_bytes(2, "big") + data[24:]
            waiting.append((time.monotonic() + float(sys.argv[1]), answer, sender))
    while waiting and waiting[0][0] <= time.monotonic():
        wire.sendto(*waiting.popleft()[1:])
"""
"""A host that answers as late as one does that is so many seconds away."""


@dataclass
class Way:
    """A near and a far host with a router between them."""

    near: str
    router: str
    far: str

    def set_mtu(self, mtu: int) -> None:
        """Let the link behind the router carry no more than this."""
        ip("-n", self.router, "link", "set", "r1", "mtu", str(mtu))
        ip("-n", self.far, "link", "set", "e0", "mtu", str(mtu))

    def mute(self, what: dict[str, tuple[str, ...]], where: str, chain: str) -> None:
        """Drop these ICMP messages in one of the hosts."""
        for command, (protocol, *match) in what.items():
            run("ip", "netns", "exec", where, command, "-A", chain, "-p", protocol, *match, "-j", "DROP")


@pytest.fixture
def way() -> Iterator[Way]:
    mark = f"p{os.getpid() % 100000}"
    found = Way(f"{mark}-near", f"{mark}-router", f"{mark}-far")
    spaces = (found.near, found.router, found.far)
    try:
        for space in spaces:
            try_run("ip", "netns", "del", space)
            ip("netns", "add", space)
            ip("-n", space, "link", "set", "lo", "up")
            run("ip", "netns", "exec", space, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        ip("link", "add", "e0", "netns", found.near, "type", "veth", "peer", "name", "r0", "netns", found.router)
        ip("link", "add", "e0", "netns", found.far, "type", "veth", "peer", "name", "r1", "netns", found.router)
        for number, (space, device) in enumerate([(found.near, "r0"), (found.far, "r1")], 1):
            for version, length in ((4, 24), (6, 64)):
                address, gateway = (NEAR, FAR)[number - 1][version], {4: f"10.77.{number}.254", 6: f"2001:db8:{number}::254"}[version]
                more = ("nodad",) if version == 6 else ()
                ip("-n", space, "addr", "add", f"{address}/{length}", "dev", "e0", *more)
                ip("-n", found.router, "addr", "add", f"{gateway}/{length}", "dev", device, *more)
                ip("-n", space, "link", "set", "e0", "up")
                ip("-n", found.router, "link", "set", device, "up")
                ip("-n", space, f"-{version}", "route", "add", "default", "via", gateway)
        yield found
    finally:
        for space in spaces:
            try_run("ip", "netns", "del", space)


@dataclass
class Probing:
    """A process that probes, and what it has said so far."""

    process: subprocess.Popen[str]
    lines: list[dict[str, Any]] = field(default_factory=list)

    def listen(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(json.loads(line) for line in self.process.stdout)

    def mtus(self, version: int) -> list[int]:
        """The path MTUs to the far host, one after the other as they were found."""
        found = [line["paths"].get(FAR[version], [0])[0] for line in self.lines]
        return [mtu for at, mtu in enumerate(found) if mtu and mtu != (found[at - 1] if at else 0)]

    def ask(self) -> dict[str, Any]:
        """What is known now."""
        assert self.process.stdin is not None
        before = len(self.lines)
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        until(lambda: len(self.lines) > before, 5)
        return self.lines[-1]

    def until_mtu(self, mtu: int, seconds: float) -> None:
        """Wait until this is what was measured last, in both address families."""
        until(lambda: all(self.mtus(version)[-1:] == [mtu] for version in FAR), seconds, lambda: {v: self.mtus(v) for v in FAR})


def until(condition: Callable[[], bool], seconds: float, words: Callable[[], object] = str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {words()}"
        time.sleep(0.02)


@pytest.fixture
def probing(way: Way) -> Iterator[Callable[..., Probing]]:
    """Starts a process that probes the far host, and whatever else is given."""
    started: list[tuple[Probing, threading.Thread]] = []

    def start(*more: str, confirm: float = CONFIRM) -> Probing:
        pairs = [f"{NEAR[version]}={FAR[version]}" for version in FAR] + list(more)
        command = ["ip", "netns", "exec", way.near, sys.executable, str(PROBE), str(confirm), str(GROW), *pairs]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        found = Probing(process)
        thread = threading.Thread(target=found.listen, daemon=True)
        thread.start()
        started.append((found, thread))
        return found

    yield start
    for found, thread in started:
        assert found.process.stdin is not None
        found.process.stdin.close()
        assert found.process.wait(5) == 0
        thread.join(5)


@pytest.mark.parametrize("told", [True, False], ids=["with ICMP errors", "without ICMP errors"])
def test_the_measured_path_mtu_is_exact(way: Way, probing: Callable[..., Probing], told: bool) -> None:
    if not told:
        way.mute(ERRORS, way.router, "OUTPUT")
    probes = probing()
    probes.until_mtu(1500, 5)
    way.set_mtu(1400)
    probes.until_mtu(1400, 20)
    way.set_mtu(1433)
    probes.until_mtu(1433, 20)
    way.set_mtu(1500)
    probes.until_mtu(1500, 20)
    for version in FAR:
        assert probes.mtus(version) == [1500, 1400, 1433, 1500], "nothing in between is told"
        assert 0 < probes.ask()["paths"][FAR[version]][1] < 100


@pytest.mark.parametrize("told", [True, False], ids=["with ICMP errors", "without ICMP errors"])
def test_a_search_takes_seconds(way: Way, probing: Callable[..., Probing], told: bool) -> None:
    """From 9000 bytes at this host's interface, though the kernel remembers of the path what is no longer true."""
    if not told:
        way.mute(ERRORS, way.router, "OUTPUT")
    for space, device in ((way.near, "e0"), (way.router, "r0"), (way.router, "r1"), (way.far, "e0")):
        ip("-n", space, "link", "set", device, "mtu", "9000")
    way.set_mtu(1280)
    try_run("ip", "netns", "exec", way.near, "ping", "-c", "2", "-i", "0.2", "-W", "1", "-M", "do", "-s", "1300", FAR[4])
    way.set_mtu(8951)
    probes = probing()
    began = time.monotonic()
    probes.until_mtu(8951, 10)
    assert time.monotonic() - began < 6, "with the start of Python in it"


def test_a_remote_far_away_is_measured_too(way: Way, probing: Callable[..., Probing]) -> None:
    way.mute(ERRORS, way.router, "OUTPUT")
    way.set_mtu(1437)
    run("ip", "netns", "exec", way.far, "sysctl", "-qw", "net.ipv4.icmp_echo_ignore_all=1")
    answering = subprocess.Popen(["ip", "netns", "exec", way.far, sys.executable, "-c", FAR_AWAY, "0.1"])
    try:
        probes = probing()
        probes.until_mtu(1437, 10)
        assert 100 < probes.ask()["paths"][FAR[4]][1] < 150
        time.sleep(3 * CONFIRM)
        assert probes.mtus(4) == [1437]
    finally:
        answering.kill()
        answering.wait()


def test_the_interface_of_this_host_is_followed(way: Way, probing: Callable[..., Probing]) -> None:
    probes = probing()
    probes.until_mtu(1500, 5)
    ip("-n", way.near, "link", "set", "e0", "mtu", "1300")
    probes.until_mtu(1300, 15)
    ip("-n", way.near, "link", "set", "e0", "mtu", "1500")
    probes.until_mtu(1500, 20)


def test_who_does_not_answer_is_named(way: Way, probing: Callable[..., Probing]) -> None:
    way.mute(ECHOES, way.far, "INPUT")
    probes = probing(*(f"{NEAR[version]}={NOBODY[version]}" for version in FAR))
    everybody = {*FAR.values(), *NOBODY.values()}
    until(lambda: set(probes.ask()["silent"]) == everybody, 15, probes.ask)
    assert probes.ask()["paths"] == {}
    for command in ECHOES:
        run("ip", "netns", "exec", way.far, command, "-F", "INPUT")
    probes.until_mtu(1500, 15)
    assert set(probes.ask()["silent"]) == set(NOBODY.values())


def test_other_programs_pings_are_not_taken_for_probes(way: Way, probing: Callable[..., Probing]) -> None:
    probes = probing(confirm=0.2)
    flood = ["ip", "netns", "exec", way.near, "ping", "-q", "-f", "-w", "4", "-M", "do", "-s", "2000", FAR[4]]
    small = ["ip", "netns", "exec", way.near, "ping", "-q", "-i", "0.002", "-w", "4", "-s", "600", FAR[4]]
    others = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for command in (flood, small)]
    try:
        probes.until_mtu(1500, 5)
        way.set_mtu(1444)
        probes.until_mtu(1444, 20)
    finally:
        for other in others:
            other.wait()
    assert probes.mtus(4) == [1500, 1444]


def test_an_administrators_route_lowers_the_ceiling(way: Way, probing: Callable[..., Probing]) -> None:
    """ip-route(8), ``mtu``: tunnels heed it, so no more than that is asked for."""
    ip("-n", way.near, "route", "add", "10.77.2.0/24", "via", "10.77.1.254", "mtu", "1422")
    ip("-n", way.near, "-6", "route", "add", "2001:db8:2::/64", "via", "2001:db8:1::254", "mtu", "1422")
    probing().until_mtu(1422, 5)


HERE = [ip_address("127.0.0.1"), ip_address("127.0.0.2"), ip_address("127.0.0.3")]
"""This machine's loopback interface, where a packet may be as large as IP can say."""


def test_the_way_to_this_host_itself_has_a_ceiling() -> None:
    ceilings = Ceilings()
    try:
        assert ceilings.of(HERE[0], HERE[1]) == 65535
        assert ceilings.of(ip_address("198.51.100.1"), ip_address("198.51.100.2")) is None, "that address is not this host's"
    finally:
        ceilings.close()


def test_what_was_found_outlasts_the_watching() -> None:
    told: list[int] = []
    local, near, far = HERE
    probe = PathProbe(lambda: told.append(len(probe.paths())), Pace(0.2, 1), known={far: 1400})
    assert probe.paths() == {far: State(1400)}, "from before"
    probe.start()
    try:
        probe.watch([(local, near)])
        until(lambda: near in probe.paths(), 5)
        assert probe.paths()[near].mtu == 65535
        probe.watch([])
        until(lambda: probe._remotes == {}, 5)
        assert probe.paths()[near].mtu == 65535
        probe.watch([(local, far), (local, near)])
        until(lambda: probe.paths()[far].mtu == 65535, 5)
        until(lambda: probe._remotes[near].search is not None and probe._remotes[near].search.mtu is not None, 5)
        assert len(told) == 2, "what is found again is nothing new"
    finally:
        probe.close()
        probe.join(5)
    assert not probe.is_alive()
    assert {path.mtu for path in probe.paths().values()} == {65535}
    probe.watch([])
    probe.close()


def test_no_fault_ends_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither whoever is told of a change, nor the kernel; and after it everything goes on."""
    monkeypatch.setattr(paths, "RETRY_SECONDS", 0.1)
    faults = iter([RuntimeError("told"), OSError("no route"), MemoryError()])

    def fail() -> None:
        for fault in faults:
            raise fault

    probe = PathProbe(fail, Pace(0.2, 1))
    real = Ceilings.of

    def of(self: Ceilings, *pair: Any) -> int | None:
        fail()
        return real(self, *pair)

    monkeypatch.setattr(Ceilings, "of", of)
    probe.watch([(HERE[0], remote) for remote in HERE[1:]])
    probe.start()
    try:
        until(lambda: len(probe.paths()) == 2, 5)
        assert next(faults, None) is None
    finally:
        probe.close()
        probe.join(5)
    assert not probe.is_alive()


def test_a_probe_that_never_started_can_be_closed() -> None:
    probe = PathProbe(lambda: None)
    probe.watch([(HERE[0], HERE[1])])
    assert (probe.paths(), probe.silent()) == ({}, frozenset())
    probe.close()
