"""Names and their addresses, with a getaddrinfo of the test's own that answers, fails or hangs as told."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from itertools import pairwise

import pytest

from vnetd.adapters import resolver as module
from vnetd.adapters.resolver import WORKERS, Resolver

PACE = 0.01
"""A minute takes 0.6 seconds."""
UNKNOWN = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
AWAY = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


class Names:
    """What getaddrinfo says of each name: addresses, an error, or nothing until ``release``."""

    def __init__(self) -> None:
        self.said: dict[str, list[str] | Exception | None] = {}
        self.asked: list[tuple[float, str]] = []
        self.release = threading.Event()
        self.hanging = 0

    def __call__(self, name: str, port: object, **more: object) -> list[tuple[object, object, object, object, tuple[str, int]]]:
        self.asked.append((time.monotonic(), name))
        said = self.said.get(name, UNKNOWN)
        if said is None:
            self.hanging += 1
            self.release.wait(20)
            raise AWAY
        if isinstance(said, Exception):
            raise said
        return [(0, 0, 0, "", (one, 0)) for one in said]

    def times(self, name: str) -> list[float]:
        return [at for at, one in self.asked if one == name]


@pytest.fixture
def names() -> Iterator[Names]:
    found = Names()
    yield found
    found.release.set()


@pytest.fixture
def start(names: Names) -> Iterator[Callable[..., Resolver]]:
    started: list[Resolver] = []

    def begin(changed: Callable[[], None] = lambda: None, **more: object) -> Resolver:
        found = Resolver(changed, getaddrinfo=names, pace=PACE, **more)  # type: ignore[arg-type]
        started.append(found)
        found.start()
        return found

    yield begin
    for one in started:
        one.close()
        one.join(5)
        assert not one.is_alive()


def until(condition: Callable[[], object], seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_name_has_its_unicast_addresses_in_order(names: Names, start: Callable[..., Resolver]) -> None:
    names.said["hv1"] = ["2001:db8::1", "192.0.2.20", "192.0.2.3", "192.0.2.20", "224.0.0.1", "127.0.1.1", "::1", "fe80::1%eth0", "0.0.0.0"]
    resolver = start()
    resolver.watch(["hv1"])
    until(resolver.known)
    assert resolver.known() == {"hv1": (ip_address("192.0.2.3"), ip_address("192.0.2.20"), ip_address("2001:db8::1"))}
    assert resolver.failing() == {}


def test_who_asked_is_told_of_changes_only(names: Names, start: Callable[..., Resolver]) -> None:
    names.said["hv1"] = ["192.0.2.1", "192.0.2.2"]
    told: list[float] = []
    resolver = start(lambda: told.append(time.monotonic()))
    resolver.watch({"hv1"})
    until(lambda: len(told) == 1)
    names.said["hv1"] = ["192.0.2.2", "192.0.2.1"]
    until(lambda: len(names.asked) == 3)
    assert len(told) == 1, "in another order they are the same"
    names.said["hv1"] = ["192.0.2.9"]
    until(lambda: len(told) == 2)
    assert resolver.known() == {"hv1": (ip_address("192.0.2.9"),)}


def test_a_name_that_fails_keeps_what_it_had(names: Names, start: Callable[..., Resolver]) -> None:
    names.said["hv1"] = ["192.0.2.1"]
    told: list[int] = []
    resolver = start(lambda: told.append(1))
    resolver.watch({"hv1"})
    until(resolver.known)
    names.said["hv1"] = AWAY
    until(resolver.failing)
    assert "no name server answers" in resolver.failing()["hv1"]
    assert resolver.known() == {"hv1": (ip_address("192.0.2.1"),)}
    names.said["hv1"] = ["192.0.2.1"]
    until(lambda: not resolver.failing())
    assert len(told) == 1


def test_a_failing_name_is_asked_for_ever_more_rarely(names: Names, start: Callable[..., Resolver]) -> None:
    resolver = start()
    resolver.watch({"hv1"})
    until(lambda: len(names.times("hv1")) == 7)
    times = names.times("hv1")
    gaps = [(later - earlier) / PACE for earlier, later in pairwise(times)]
    for gap, least in zip(gaps, (1, 2, 5, 10, 10, 10), strict=True):
        assert gap >= least
    assert "no such name" in resolver.failing()["hv1"]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (UNKNOWN, "there is no such name"),
        (socket.gaierror(socket.EAI_FAIL, "Non-recoverable failure"), "does not resolve: Non-recoverable failure"),
        (UnicodeError("label empty or too long"), "no host name: label empty or too long"),
        (OSError(24, "Too many open files"), "Too many open files"),
        (RuntimeError("odd"), "a fault of vnetd's own (RuntimeError)"),
        (["127.0.1.1", "::1"], "it resolves to 127.0.1.1, ::1, which no other host can reach"),
        ([], "it has no address"),
    ],
)
def test_a_failure_is_told_in_words(names: Names, start: Callable[..., Resolver], said: list[str] | Exception, words: str) -> None:
    names.said["hv1"] = said
    resolver = start()
    resolver.watch({"hv1"})
    until(resolver.failing)
    assert words in resolver.failing()["hv1"]
    assert resolver.known() == {}


def test_a_hanging_name_holds_up_nobody(names: Names, start: Callable[..., Resolver]) -> None:
    names.said |= {"dead": None, **{f"hv{number}": [f"192.0.2.{number}"] for number in range(1, 50)}}
    resolver = start()
    resolver.watch(names.said)
    until(lambda: len(resolver.known()) == 49, 3)
    until(lambda: "no answer; see" in resolver.failing().get("dead", ""))
    assert set(resolver.failing()) == {"dead"}


def test_many_hanging_names_hold_up_no_name_that_resolves(names: Names, start: Callable[..., Resolver]) -> None:
    names.said["hv1"] = ["192.0.2.1"]
    resolver = start()
    resolver.watch({"hv1"})
    until(resolver.known)
    dead = [f"dead{number}" for number in range(20)]
    names.said |= dict.fromkeys(dead)
    resolver.watch({"hv1", *dead})
    until(lambda: names.hanging >= 3)
    names.said["hv1"] = ["192.0.2.2"]
    until(lambda: resolver.known() == {"hv1": (ip_address("192.0.2.2"),)})
    assert names.hanging < WORKERS
    names.release.set()
    until(lambda: set(resolver.failing()) == set(dead))


def test_names_that_no_longer_matter_are_forgotten(names: Names, start: Callable[..., Resolver]) -> None:
    names.said |= {"hv1": ["192.0.2.1"], "hv2": ["192.0.2.2"]}
    resolver = start()
    resolver.watch({"hv1", "hv2", "none"})
    until(lambda: len(resolver.known()) == 2 and resolver.failing())
    resolver.watch({"hv2"})
    assert set(resolver.known()) == {"hv2"}
    assert resolver.failing() == {}
    before = len(names.times("hv1"))
    until(lambda: len(names.times("hv2")) > 2)
    assert len(names.times("hv1")) <= before + 1


def test_what_was_known_before_stands_until_there_is_an_answer(names: Names, start: Callable[..., Resolver]) -> None:
    old = (ip_address("192.0.2.1"),)
    names.said |= {"hv1": None, "hv2": ["192.0.2.1"]}
    told: list[int] = []
    resolver = start(lambda: told.append(1), known={"hv1": old, "hv2": old, "hv3": old})
    assert resolver.known() == {}, "nobody has asked yet"
    resolver.watch({"hv1", "hv2"})
    assert resolver.known() == {"hv1": old, "hv2": old}
    until(lambda: names.times("hv2"))
    assert told == []


def test_whoever_is_told_may_fail(names: Names, start: Callable[..., Resolver]) -> None:
    names.said["hv1"] = ["192.0.2.1"]

    def changed() -> None:
        raise RuntimeError

    resolver = start(changed)
    resolver.watch({"hv1"})
    until(resolver.known)
    names.said["hv1"] = ["192.0.2.2"]
    until(lambda: resolver.known() == {"hv1": (ip_address("192.0.2.2"),)})


def test_an_idle_resolver_sleeps(names: Names, start: Callable[..., Resolver], monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[float | None] = []
    send_off = Resolver._send_off

    def counted(self: Resolver) -> float | None:
        turns.append(send_off(self))
        return turns[-1]

    monkeypatch.setattr(Resolver, "_send_off", counted)
    names.said |= {f"hv{number}": None for number in range(10)}
    start().watch(names.said)
    time.sleep(0.3)
    assert len(turns) <= 4


def test_the_intervals_are_those_that_are_promised() -> None:
    assert (module.AGAIN_SECONDS, module.RETRY_SECONDS) == (60, (1, 2, 5, 10))


def test_the_resolver_of_this_host_answers() -> None:
    resolver = Resolver(lambda: None)
    resolver.start()
    resolver.watch({"192.0.2.7", "no..name", "localhost"})
    until(lambda: resolver.known() and len(resolver.failing()) == 2)
    assert resolver.known() == {"192.0.2.7": (ip_address("192.0.2.7"),)}
    assert "no host name" in resolver.failing()["no..name"]
    resolver.close()
