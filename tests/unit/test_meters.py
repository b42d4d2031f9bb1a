"""Meters on the wire: literal bytes of OpenFlow 1.4, and whole conversations with a small switch that has state."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from openflow_switch import HELLO, FakeSwitch

from vnetd.adapters import meters, openflow
from vnetd.adapters.conversation import Conversation, NoSuchBridge
from vnetd.adapters.meters import ADD, DELETE, MODIFY, decode_config, decode_stats, encode_mod
from vnetd.adapters.openflow import OpenFlow
from vnetd.errors import Unavailable, WorldError
from vnetd.model.state import Meter
from vnetd.plan import ChangeMeters

KBPS_BAND = bytes.fromhex("0001 0010 000003e8 00000064 00000000")


@pytest.fixture
def switch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSwitch]:
    fake = FakeSwitch(tmp_path / "br-blue.mgmt")
    monkeypatch.setattr(openflow, "RUNDIR", tmp_path)
    yield fake
    fake.stop()


def put(*meters: tuple[int, Meter]) -> ChangeMeters:
    return ChangeMeters("br-blue", meters, (), ())


def change(*meters: tuple[int, Meter]) -> ChangeMeters:
    return ChangeMeters("br-blue", (), meters, ())


def drop(*numbers: int) -> ChangeMeters:
    return ChangeMeters("br-blue", (), (), numbers)


# The bytes.


def test_a_meter_of_bandwidth_is_kbps_burst_stats_with_one_band() -> None:
    assert encode_mod(ADD, 7, Meter(1000, 100)) == bytes.fromhex("0000 000d 00000007") + KBPS_BAND


def test_a_meter_of_packets_is_pktps_burst_stats_with_one_band() -> None:
    wanted = bytes.fromhex("0001 000e 00010002 0001 0010 00000032 0000000a 00000000")
    assert encode_mod(MODIFY, 0x10002, Meter(50, 10, "pktps")) == wanted


def test_a_deletion_has_no_band() -> None:
    assert encode_mod(DELETE, 7) == bytes.fromhex("0002 0000 00000007")


def test_the_configuration_is_read_and_another_form_is_a_rate_of_0() -> None:
    body = (
        bytes.fromhex("0018 000d 00000007") + KBPS_BAND
        + bytes.fromhex("0018 000e 00000008 0001 0010 00000032 0000000a 00000000")
        + bytes.fromhex("0018 0001 00000009") + KBPS_BAND  # no burst, no stats
        + bytes.fromhex("0028 000d 0000000a") + KBPS_BAND + KBPS_BAND
        + bytes.fromhex("0018 000d 0000000b 0002 0010 000003e8 00000064 01000000")  # marks, does not drop
        + bytes.fromhex("0008 000d 0000000c")
    )  # fmt: skip
    assert dict(decode_config(body)) == {
        7: Meter(1000, 100),
        8: Meter(50, 10, "pktps"),
        **dict.fromkeys((9, 10, 11, 12), Meter(0, 0)),
    }


def test_drops_are_those_of_the_bands() -> None:
    totals = "00000001 0000000000000063 00000000000003e7 00000001 00000002"
    body = bytes.fromhex(
        f"00000007 0038 000000000000 {totals} 0000000000000005 00000000000001f4"
        f"00000008 0048 000000000000 {totals} 0000000000000001 000000000000000a 0000000000000002 0000000000000014"
        f"00000009 0028 000000000000 {totals}"
    )
    assert dict(decode_stats(body)) == {7: (5, 500), 8: (3, 30), 9: (0, 0)}


@pytest.mark.parametrize("text", ["0018 000d 0000", "0004 000d 00000007", "0018 000d 00000007 0001"])
def test_an_answer_that_breaks_off_is_no_meter(text: str) -> None:
    with pytest.raises(Unavailable, match="breaks off"):
        dict(decode_config(bytes.fromhex(text)))


# Conversations.


def test_what_is_sent_is_hello_mods_and_a_barrier(switch: FakeSwitch) -> None:
    OpenFlow().put_meters(put((7, Meter(1000, 100)), (8, Meter(50, 10, "pktps"))))
    assert switch.heard == [
        HELLO,
        bytes.fromhex("051d 0020 00000002 0000 000d 00000007") + KBPS_BAND,
        bytes.fromhex("051d 0020 00000003 0000 000e 00000008 0001 0010 00000032 0000000a 00000000"),
        bytes.fromhex("0514 0008 00000004"),
    ]


def test_what_was_put_is_read_back_changed_and_dropped(switch: FakeSwitch) -> None:
    flows = OpenFlow()
    wanted = {number: Meter(number, 10, "pktps" if number % 2 else "kbps") for number in range(1, 2501)}
    flows.put_meters(put(*wanted.items()))
    assert flows._meters("br-blue") == wanted
    flows.put_meters(change((3, Meter(4, 5))))
    assert flows._meters("br-blue") == {**wanted, 3: Meter(4, 5)}
    switch.drops[2500] = 12, 1200
    assert flows.meter_drops("br-blue") == {**dict.fromkeys(wanted, (0, 0)), 2500: (12, 1200)}
    flows.drop_meters(drop(*wanted))
    assert flows._meters("br-blue") == {}
    assert flows.meter_drops("br-blue") == {}


def test_all_that_exist_are_changed_and_all_that_are_gone_are_added(switch: FakeSwitch) -> None:
    """Thousands of errors, which the switch must get rid of before it reads on."""
    flows = OpenFlow()
    numbers = range(1, 3001)
    flows.put_meters(put(*((number, Meter(1, 1)) for number in numbers)))
    flows.put_meters(put(*((number, Meter(2, 2)) for number in numbers)))
    assert flows._meters("br-blue") == dict.fromkeys(numbers, Meter(2, 2))
    switch.meters.clear()
    flows.put_meters(change(*((number, Meter(3, 3)) for number in numbers)))
    assert flows._meters("br-blue") == dict.fromkeys(numbers, Meter(3, 3))
    switch.meters.clear()
    flows.drop_meters(drop(*numbers))


def test_a_meter_that_goes_between_two_attempts_is_added_after_all(switch: FakeSwitch) -> None:
    flows = OpenFlow()
    flows.put_meters(put((7, Meter(1, 1))))
    switch.vanish = {7}
    flows.put_meters(put((7, Meter(2, 2))))
    assert flows._meters("br-blue") == {7: Meter(2, 2)}


def test_those_that_are_refused_are_named_and_the_others_are_there(switch: FakeSwitch) -> None:
    switch.room = 1
    flows = OpenFlow()
    with pytest.raises(WorldError) as caught:
        flows.put_meters(put((7, Meter(1, 1)), (8, Meter(1, 1)), (9, Meter(1 << 32, 1))))
    assert str(caught.value) == "meter 8: the switch has no room for more meters; meter 9: a rate and a burst are from 0 to 4294967295"
    assert flows._meters("br-blue") == {7: Meter(1, 1)}


def test_nothing_to_do_needs_no_switch(tmp_path: Path) -> None:
    assert meters.put_meters(tmp_path / "none.mgmt", (), ()) == meters.drop_meters(tmp_path / "none.mgmt", ()) == {}


def test_an_echo_is_answered_with_what_it_carried(switch: FakeSwitch) -> None:
    switch.echo = b"hello?"
    with Conversation(openflow.RUNDIR / "br-blue.mgmt") as conversation:
        conversation.tell([(29, encode_mod(ADD, 7, Meter(1, 1)))])
        conversation.tell([(29, encode_mod(ADD, 8, Meter(1, 1)))])
    assert bytes.fromhex("0503 000e 0000abcd") + b"hello?" in switch.heard


@pytest.mark.parametrize(
    "hello",
    [
        bytes.fromhex("0600 0010 00000001 0001 0008 00000042"),  # 1.0 and 1.5, by bitmap
        bytes.fromhex("0100 0008 00000001"),  # 1.0
        bytes.fromhex("0501 000c 00000001 0000 0000"),  # an error instead: hello failed
    ],
)
def test_another_version_is_told_in_words(switch: FakeSwitch, hello: bytes) -> None:
    switch.hello = hello
    with pytest.raises(WorldError, match=r"does not speak OpenFlow 1\.4"):
        OpenFlow().meter_drops("br-blue")


def test_a_hello_without_a_bitmap_means_all_lower_versions(switch: FakeSwitch) -> None:
    switch.hello = bytes.fromhex("0600 0008 00000001")
    assert OpenFlow().meter_drops("br-blue") == {}


def test_a_caller_that_hangs_up_unread_does_not_end_the_switch_for_the_next(switch: FakeSwitch) -> None:
    switch.hello = bytes.fromhex("0100 0008 00000001")
    for _ in range(50):
        with pytest.raises(WorldError):
            OpenFlow().meter_drops("br-blue")
    switch.hello = HELLO
    assert OpenFlow().meter_drops("br-blue") == {}


def test_no_socket_is_no_bridge(switch: FakeSwitch) -> None:
    for ask in (lambda: OpenFlow().meter_drops("br-none"), lambda: meters.drop_meters(openflow.RUNDIR / "br-none.mgmt", [1])):
        with pytest.raises(NoSuchBridge, match="ovs-vswitchd does not run, or has not made the bridge yet"):
            ask()


def test_a_socket_that_nobody_serves_is_a_switch_that_is_away(tmp_path: Path) -> None:
    left = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    left.bind(str(tmp_path / "br-blue.mgmt"))
    left.close()
    with pytest.raises(Unavailable, match="does not answer"):
        meters.read_meters(tmp_path / "br-blue.mgmt")


def test_a_switch_that_hangs_up_is_away(switch: FakeSwitch) -> None:
    switch.hangs_up = True
    with pytest.raises(Unavailable, match="hung up"):
        OpenFlow().put_meters(put((7, Meter(1, 1))))


def test_a_switch_that_says_nothing_is_given_up(switch: FakeSwitch) -> None:
    switch.mute = True
    began = time.monotonic()
    with (
        pytest.raises(Unavailable, match=r"did not answer within 0\.2 s"),
        Conversation(openflow.RUNDIR / "br-blue.mgmt", 0.2) as conversation,
    ):
        conversation.tell([(29, encode_mod(ADD, 7, Meter(1, 1)))])
    assert time.monotonic() - began < 2
