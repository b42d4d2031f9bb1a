"""With another vlan-limit than 1 no second tag hides: Open vSwitch's cache alone would not tell it from none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from attacks import tables
from attacks.cast import HOSTS
from attacks.judge import play_class
from attacks.rows import TABLES
from attacks.stage import Stage
from attacks.test_openers import leaks, pairs

TAGGED = ("tags", "priority tags", "a trunk", "from another VLAN", "what the host would unpack")


@pytest.fixture(scope="module", params=[0, 2])
def hiding(request: pytest.FixtureRequest, stage: Stage) -> Iterator[Stage]:
    """Open vSwitch looks at as many tags as it can, or at two, and vnetd has seen that."""
    world = stage.world
    for host in HOSTS:
        world.on(host, f"ovs-vsctl set open_vswitch . other_config:vlan-limit={request.param}")
        settle(stage, host, "notice")
    yield stage
    for host in HOSTS:
        world.on(host, "ovs-vsctl remove open_vswitch . other_config vlan-limit")
        settle(stage, host, "")


def settle(stage: Stage, host: str, wanted: str) -> None:
    def seen() -> bool:
        groups = stage.world.on(host, "ovs-ofctl -O OpenFlow14 dump-groups br-arena")
        return ("group_id=1986946423" in groups) == bool(wanted)

    stage.world.until(seen, 10, f"vnetd on {host} has seen the new vlan-limit")


@pytest.mark.parametrize("name", TAGGED)
def test_tags_are_judged_as_ever(hiding: Stage, name: str) -> None:
    wrong = play_class(hiding, TABLES[name]())
    assert not wrong, "\n" + "\n".join(wrong)


def test_no_second_tag_comes_behind_a_frame_with_the_first_one_alone(hiding: Stage) -> None:
    hiding.introduce()
    found = [pair for name in tables.NAMES for pair in pairs(name, "the first tag alone")]
    wrong = leaks(hiding, found)
    print(f"{len(found)} pairs, {len(wrong)} leaked")
    assert found
    assert not wrong, f"{len(wrong)} of {len(found)}\n" + "\n".join(wrong)
