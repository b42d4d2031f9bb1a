"""A peer that comes and goes: what is borne, how long it must prove itself afterwards, and what is remembered of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from ipaddress import ip_address

import pytest
from fakes import FakeHost, uuid_of

from vnetd.health import FLAPS, HELD, NOTHING, OVER_SECONDS, RESTART_SECONDS, SIGNALLED, STABLE_SECONDS, Health, Watched
from vnetd.model.names import IfName
from vnetd.model.network import Inventory, Network, Overlay, OverlayType, Peer
from vnetd.model.state import Port, Role, Rows, SeenPort
from vnetd.reconcile import Rim, look, reconcile

MIDNIGHT = 1_000_000.0
"""What the clock on the wall shows when the other one shows 0."""
BFD = (("enable", "true"),)
TUNNEL = Port("gre-a", "br-tun", Role.TUNNEL, "gre", bfd=BFD)


def rows(state: str, name: str = "gre-a", **more: object) -> Rows:
    """OVSDB with one tunnel, of which Open vSwitch says this."""
    port = replace(TUNNEL, name=name, **more)  # type: ignore[arg-type]
    return Rows(ports={name: SeenPort(port, marked=True, ofport=1, bfd_state=state)})


@dataclass
class Watch:
    """Somebody who looks at one tunnel, and a clock that is turned by hand. The first look, without any tunnel, has been."""

    time: float = 0.0
    state: str = "down"
    looked: bool = True
    health: Health = field(init=False)

    def __post_init__(self) -> None:
        self.health = Health(lambda: self.time, lambda: MIDNIGHT + self.time)
        if self.looked:
            self.health.judged(Rows())

    def sees(self, state: str) -> str:
        """What a look now takes the tunnel for, when Open vSwitch says ``state``."""
        self.state = state
        return self.health.judged(rows(state)).ports["gre-a"].bfd_state

    def after(self, seconds: float) -> str:
        """The same state, so much later."""
        self.time += seconds
        return self.sees(self.state)

    def session(self, seconds: float, pause: float = 1) -> None:
        """The peer comes, stays for this long and goes."""
        self.sees("up")
        self.time += seconds
        self.sees("down")
        self.time += pause

    @property
    def left(self) -> float:
        """Seconds until the next tunnel has proved itself."""
        return self.health.end - self.time


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def flapped(watch: Watch) -> Watch:
    """A tunnel that may not fall again without being held."""
    watch.sees("down")
    for _ in range(FLAPS):
        watch.session(1)
    return watch


# What is borne.


def test_a_peer_that_comes_is_taken_at_once(watch: Watch) -> None:
    assert watch.sees("down") == "down"
    assert watch.sees("up") == "up"
    assert watch.health.end == math.inf


@pytest.mark.parametrize("state", ["admin_down", "down", "init"])
def test_a_peer_that_is_not_up_is_shown_as_open_vswitch_says(watch: Watch, state: str) -> None:
    assert watch.sees(state) == state
    watch.sees("up")
    assert watch.sees(state) == state


def test_a_session_that_has_no_state_is_as_it_was(watch: Watch) -> None:
    """ovsdb-server has been restarted, and ovs-vswitchd has not said anything again."""
    assert watch.sees("") == ""
    watch.sees("up")
    assert watch.sees("") == "up"
    assert watch.after(STABLE_SECONDS) == "up"
    assert watch.sees("down") == "down"
    assert watch.sees("") == ""


def test_what_is_held_stays_so_without_a_state(flapped: Watch) -> None:
    flapped.sees("up")
    assert flapped.sees("") == HELD
    assert flapped.after(10) == "up"


def test_long_sessions_are_no_flaps_however_many(watch: Watch) -> None:
    for _ in range(10):
        watch.session(STABLE_SECONDS)
        assert watch.sees("up") == "up"


def test_some_short_sessions_are_borne(watch: Watch) -> None:
    for _ in range(FLAPS):
        assert watch.sees("up") == "up"
        watch.session(STABLE_SECONDS - 0.25)


def test_after_them_it_must_prove_itself(flapped: Watch) -> None:
    assert flapped.sees("up") == HELD
    assert flapped.left == 10


def test_short_sessions_with_a_long_one_between_them_are_borne(watch: Watch) -> None:
    for _ in range(3):
        watch.session(1)
        watch.session(1)
        watch.session(STABLE_SECONDS)
        assert watch.sees("up") == "up"


def test_whoever_was_away_for_long_begins_anew(watch: Watch) -> None:
    for pause, state in ((OVER_SECONDS - 1, HELD), (OVER_SECONDS, "up")):
        for _ in range(FLAPS):
            watch.session(1, pause=pause)
        assert watch.sees("up") == state
        watch.session(3600)


def test_on_its_way_up_it_is_not_up(watch: Watch) -> None:
    """A session that never got beyond "init" was none, and one that falls to it has ended."""
    for _ in range(10):
        watch.sees("down")
        watch.after(1)
        watch.sees("init")
        watch.after(1)
    assert watch.sees("up") == "up"
    for _ in range(FLAPS):
        watch.sees("init")
        watch.after(1)
        watch.sees("up")
        watch.after(1)
    watch.sees("init")
    assert watch.sees("up") == HELD


def test_looking_often_changes_nothing(watch: Watch) -> None:
    for _ in range(FLAPS):
        watch.sees("up")
        for _ in range(40):
            assert watch.after(0.1) == "up"
        watch.sees("down")
        for _ in range(5):
            assert watch.after(0.1) == "down"
    assert watch.sees("up") == HELD


# Proving itself.


def test_each_flap_more_costs_longer_up_to_a_minute(flapped: Watch) -> None:
    found = []
    for _ in range(6):
        flapped.sees("up")
        found.append(flapped.left)
        flapped.session(1)
    assert found == [10, 20, 40, 60, 60, 60]


def test_it_is_taken_when_it_has_stayed(flapped: Watch) -> None:
    flapped.sees("up")
    assert flapped.after(9.9) == HELD
    assert flapped.after(0.1) == "up"
    assert flapped.health.end == math.inf


def test_whoever_falls_while_it_proves_itself_begins_anew(flapped: Watch) -> None:
    """However long it has been up: it was not yet taken."""
    flapped.session(9)
    flapped.sees("up")
    assert flapped.left == 20


def test_whoever_falls_just_after_it_was_taken_has_not_been_stable(flapped: Watch) -> None:
    """Or a peer that falls every eleven seconds would come and go for ever."""
    flapped.session(11)
    flapped.sees("up")
    assert flapped.left == 20
    flapped.session(20 + STABLE_SECONDS - 0.25)
    flapped.sees("up")
    assert flapped.left == 40


def test_whoever_was_stable_after_it_was_taken_has_no_past(flapped: Watch) -> None:
    flapped.session(10 + STABLE_SECONDS)
    for _ in range(FLAPS):
        assert flapped.sees("up") == "up"
        flapped.session(1)
    flapped.sees("up")
    assert flapped.left == 10


def test_nobody_need_have_looked_while_it_was_stable(flapped: Watch) -> None:
    """A quiet host makes few passes: between two of them a session may come and be long."""
    flapped.session(3600)
    assert flapped.sees("up") == "up"


def test_a_session_that_falls_for_a_moment_while_it_is_held_is_another_one(flapped: Watch) -> None:
    flapped.sees("up")
    flapped.after(5)
    flapped.sees("down")
    flapped.sees("up")
    assert flapped.after(19.9) == HELD
    assert flapped.after(0.1) == "up"


def test_the_end_is_that_of_the_first_of_those_that_prove_themselves(watch: Watch) -> None:
    def both(one: str, other: str) -> None:
        watch.health.judged(Rows(ports={**rows(one).ports, **rows(other, "gre-b").ports}))

    for _ in range(FLAPS):
        both("up", "up")
        both("down", "down")
    both("up", "down")
    watch.time += 4
    both("up", "up")
    assert watch.left == 6
    watch.time += 6
    assert watch.left == 0, "nobody has looked since"
    both("up", "up")
    assert watch.left == 4, "one that has proved itself wakes nobody"
    both("up", "down")
    assert watch.health.end == math.inf, "nor does one that is down"


# What it begins with, and what it forgets.


def test_of_what_the_first_look_finds_nobody_knows_how_long_it_has_been_so() -> None:
    """A daemon that starts must not take a tunnel's long session for a short one."""
    watch = Watch(looked=False)
    assert watch.sees("up") == "up"
    assert watch.health.since("gre-a") is None
    watch.after(1)
    watch.sees("down")
    assert watch.health.since("gre-a") == MIDNIGHT + 1
    for _ in range(FLAPS):
        assert watch.sees("up") == "up"
        watch.session(1)
    assert watch.sees("up") == HELD


def test_a_tunnel_that_goes_is_forgotten(flapped: Watch) -> None:
    flapped.sees("up")
    flapped.health.judged(Rows())
    assert flapped.health.end == math.inf
    assert flapped.health.since("gre-a") is None
    assert flapped.sees("up") == "up"


@pytest.mark.parametrize(
    "seen",
    [
        SeenPort(replace(TUNNEL, bfd=()), marked=True, ofport=1),
        SeenPort(TUNNEL, marked=False, ofport=1, bfd_state="up"),
        SeenPort(Port("gre-a", "br-tun", Role.PATCH, bfd=BFD), marked=True, ofport=1, bfd_state="up"),
    ],
)
def test_what_nobody_watches_or_is_not_vnetds_is_left_as_it_is(flapped: Watch, seen: SeenPort) -> None:
    """A tunnel whose watch is switched off has no past either."""
    found = Rows(ports={"gre-a": seen})
    assert flapped.health.judged(found) == found
    assert flapped.health.since("gre-a") is None
    assert flapped.sees("up") == "up"


def test_only_the_held_tunnel_is_shown_otherwise(flapped: Watch) -> None:
    found = Rows(ports={**rows("up").ports, **rows("up", "gre-b").ports}, stray_shapes=2)
    judged = flapped.health.judged(found)
    assert judged == replace(found, ports={"gre-b": found.ports["gre-b"], "gre-a": replace(found.ports["gre-a"], bfd_state=HELD)})


# Since when.


def test_the_time_is_that_of_the_change_that_people_see(flapped: Watch) -> None:
    """Down, held and up: that a peer on its way up does not hear this host yet is no change, and that a held one is taken is one."""
    watch = flapped
    watch.sees("down")
    fell = watch.health.since("gre-a")
    assert fell == MIDNIGHT + watch.time - 1
    watch.after(5)
    watch.sees("init")
    assert watch.health.since("gre-a") == fell
    watch.after(5)
    watch.sees("up")
    assert watch.health.since("gre-a") == MIDNIGHT + watch.time
    watch.after(4)
    assert watch.health.since("gre-a") == MIDNIGHT + watch.time - 4
    watch.after(6)
    assert watch.health.since("gre-a") == MIDNIGHT + watch.time
    watch.after(60)
    assert watch.health.since("gre-a") == MIDNIGHT + watch.time - 60


def test_a_tunnel_that_is_made_is_as_it_is_since_then(watch: Watch) -> None:
    watch.time = 7
    watch.sees("")
    watch.time = 8
    watch.sees("down")
    assert watch.health.since("gre-a") == MIDNIGHT + 7
    assert watch.health.since("gre-z") is None


# In a pass.

HV1, HV2 = ip_address("192.0.2.11"), ip_address("192.0.2.12")
BLUE = Network("blue", uuid_of(1), IfName("br-blue"), overlay=Overlay(OverlayType.GRE, 100, (Peer("hv1", HV1), Peer("hv2", HV2))))
ALL = Inventory((BLUE,), complete=True)


def test_a_pass_wires_a_held_peer_as_a_dead_one_until_it_has_proved_itself(host: FakeHost) -> None:
    watch = Watch()
    rim = Rim(Watched(host, watch.health), host, host)

    def floods() -> bool:
        """Whether guests' floods go to the peer after a pass."""
        assert not reconcile(ALL, rim).left
        return any("table=40" in line and "output:gre-" in line for line in host.flows("br-tun"))

    host.addresses = {HV1}
    assert floods(), "what a pass wants is written to the database, and a new tunnel is taken at once"
    for number in range(FLAPS):
        host.dead.add(str(HV2))
        assert not floods()
        host.dead.clear()
        assert floods() is (number < FLAPS - 1)
    _, observed, plan = look(ALL, rim)
    assert not plan
    assert [seen.bfd_state for seen in observed.rows.ports.values() if seen.port.role is Role.TUNNEL] == [HELD]
    watch.time += 10
    assert floods()


def test_each_tunnel_is_judged_by_itself(watch: Watch) -> None:
    """One that the underlay lets through only now and then takes nothing from another type's to the same peer."""
    options = (("remote_ip", "192.0.2.12"),)

    def look(gre: str, vxlan: str) -> list[str]:
        ports = {**rows(gre, options=options).ports, **rows(vxlan, "vxl-a", options=options).ports}
        seen = watch.health.judged(Rows(ports=ports)).ports
        return [seen[name].bfd_state for name in ("gre-a", "vxl-a")]

    for _ in range(FLAPS):
        assert look("up", "up") == ["up", "up"]
        watch.time += 1
        assert look("down", "up") == ["down", "up"]
        watch.time += 1
    assert look("up", "up") == [HELD, "up"]
    assert look("up", "down") == [HELD, "down"]
    watch.time += 10
    assert look("up", "up") == ["up", "up"]


def test_whoever_looked_when_a_tunnel_had_proved_itself_leaves_that_to_be_seen(flapped: Watch) -> None:
    """A look of somebody's who changes nothing takes the end of the trial away, and would leave the peer cut off."""
    flapped.sees("up")
    flapped.after(9)
    assert not flapped.health.released
    flapped.after(1)
    assert (flapped.health.end, flapped.health.released) == (math.inf, True)
    flapped.health.released = False
    flapped.after(1)
    flapped.sees("down")
    assert not flapped.health.released


# An ovs-vswitchd that restarts, here or at the peer's.

EXPIRED = "Control Detection Time Expired"


def anew(watch: Watch, why: str, heard: str, state: str = "down") -> str:
    """What a look takes the tunnel for whose session is not up, for reasons that this end and the other one give."""
    seen = replace(rows(state).ports["gre-a"], bfd_why=why, bfd_heard=heard)
    return watch.health.judged(Rows(ports={"gre-a": seen})).ports["gre-a"].bfd_state


@pytest.mark.parametrize("why", [NOTHING, SIGNALLED], ids=["here", "there"])
def test_a_session_that_one_end_begins_anew_is_no_death(watch: Watch, why: str) -> None:
    watch.session(100)
    watch.sees("up")
    watch.time += 100
    assert anew(watch, why, NOTHING) == "up"
    assert watch.left == RESTART_SECONDS, "somebody looks again then"
    watch.time += 2
    assert anew(watch, why, NOTHING, "init") == "up"
    assert watch.sees("up") == "up"
    assert watch.health.past["gre-a"].flaps == 0


def test_one_that_does_not_come_up_again_is_dead_after_a_while(watch: Watch) -> None:
    watch.sees("up")
    watch.time += 100
    anew(watch, NOTHING, NOTHING)
    watch.time += RESTART_SECONDS
    assert anew(watch, NOTHING, NOTHING) == "down"
    watch.time += STABLE_SECONDS + 1
    assert anew(watch, NOTHING, NOTHING) == "down", "it was not up in between"


@pytest.mark.parametrize(("why", "heard"), [(EXPIRED, NOTHING), (SIGNALLED, EXPIRED), (NOTHING, EXPIRED), ("", "")])
def test_a_peer_that_is_silent_or_does_not_hear_is_dead_at_once(watch: Watch, why: str, heard: str) -> None:
    watch.sees("up")
    watch.time += 100
    assert anew(watch, why, heard) == "down"


def test_a_peer_that_has_never_been_up_is_not_taken_for_one_that_restarts(watch: Watch) -> None:
    assert anew(watch, NOTHING, NOTHING) == "down"


def test_who_restarts_again_and_again_is_borne_only_now_and_then(watch: Watch) -> None:
    watch.sees("up")
    watch.time += 100
    assert anew(watch, SIGNALLED, NOTHING) == "up"
    watch.time += 1
    watch.sees("up")
    watch.time += RESTART_SECONDS
    assert anew(watch, SIGNALLED, NOTHING) == "down"
