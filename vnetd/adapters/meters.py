"""A bridge's meters: thousands in one conversation, where ovs-ofctl needs a process for each.

Sections are those of the OpenFlow Switch Specification 1.4.0; every field is big-endian (7.1).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from vnetd.adapters.conversation import Conversation, Refused
from vnetd.errors import Unavailable, WorldError
from vnetd.model.state import Meter

# ofp_multipart_request and _reply (7.3.5): type, flags, padding.
_MULTIPART = struct.Struct("!HH4x")
_MULTIPART_REQUEST, _MULTIPART_REPLY, _METER_MOD = 18, 19, 29
_METER_STATS, _METER_CONFIG, _METER_FEATURES = 9, 10, 11
# ofp_meter_multipart_request (7.3.5.14): meter, padding.
_WHICH = struct.Struct("!I4x")
_ALL_METERS = 0xFFFFFFFF
# ofp_meter_mod (7.3.4.5): command, flags, meter; bands follow.
_MOD = struct.Struct("!HHI")
ADD, MODIFY, DELETE = 0, 1, 2
# ofp_meter_band_drop (7.3.4.5): type 1, length 16, rate, burst, padding.
_BAND = struct.Struct("!HHII4x")
_DROP = 1
# ofp_meter_stats (7.3.5.14): meter, length, padding, flows, packets in, bytes in, seconds and nanoseconds; bands follow.
_STATS = struct.Struct("!IH6xIQQII")
# ofp_meter_band_stats (7.3.5.14): packets and bytes to which the band was applied.
_BAND_STATS = struct.Struct("!QQ")
# ofp_meter_config (7.3.5.15): length, flags, meter; bands follow.
_CONFIG = struct.Struct("!HHI")

# ofp_meter_features (7.3.5.16): the most meters; bands and capabilities follow.
_FEATURES = struct.Struct("!I")

# Meter flags (7.3.4.5, enum ofp_meter_flags), by the words of ovs-ofctl.
_BURST, _COUNTED = 4, 8
_UNITS = {"kbps": 1 | _BURST | _COUNTED, "pktps": 2 | _BURST | _COUNTED}
_WORDS = {flags: unit for unit, flags in _UNITS.items()}

# Errors (7.5.4).
_METER_MOD_FAILED = 12
_EXISTS, _UNKNOWN = 1, 3
_MEANINGS = {
    0: "the switch does not say why",
    _EXISTS: "it exists already",
    2: "the switch cannot have a meter of this number or form",
    _UNKNOWN: "there is no such meter",
    4: "the switch does not know the command",
    5: "the switch has no meters of this unit",
    6: "the switch cannot have this rate",
    7: "the switch cannot have this burst",
    8: "the switch has no bands that drop",
    9: "the switch cannot have this band",
    10: "the switch has no room for more meters",
    11: "the switch has no room for more bands",
}

_ATTEMPTS = 3
"""A meter that was there is not, or the other way round: twice in a row means that somebody else changes it too."""


def read_meters(path: Path) -> dict[int, Meter]:
    """Every meter of the bridge with this management socket; one whose form is not vnetd's reads as ``Meter(0, 0)``."""
    with Conversation(path) as switch:
        return {number: meter for body in _about_all(switch, _METER_CONFIG) for number, meter in decode_config(body)}


def read_drops(path: Path) -> dict[int, tuple[int, int]]:
    """(packets, bytes) that each meter has dropped since it was added; a change of its rate may begin the count anew."""
    with Conversation(path) as switch:
        return {number: drops for body in _about_all(switch, _METER_STATS) for number, drops in decode_stats(body)}


def most_meters(path: Path) -> int | None:
    """How many meters the switch can have; 0 where its data plane has none, None where it does not say."""
    with Conversation(path) as switch:
        try:
            parts = switch.ask(_MULTIPART_REQUEST, _MULTIPART.pack(_METER_FEATURES, 0), _MULTIPART_REPLY)
        except Refused:
            return None
    found = [body[_MULTIPART.size :] for body in parts]
    return next((int(_FEATURES.unpack_from(body)[0]) for body in found if len(body) >= _FEATURES.size), None)


def put_meters(path: Path, add: Iterable[tuple[int, Meter]], change: Iterable[tuple[int, Meter]]) -> dict[int, str]:
    """Set meters; returns why not, by number. One to add that exists is changed, one to change that is gone is added."""
    mods = [(ADD, number, meter) for number, meter in add] + [(MODIFY, number, meter) for number, meter in change]
    refused = {number: "a rate and a burst are from 0 to 4294967295" for _, number, meter in mods if not _fits(meter)}
    mods = [mod for mod in mods if mod[1] not in refused]
    if not mods:
        return refused
    with Conversation(path) as switch:
        for attempt in range(_ATTEMPTS):
            failures = switch.tell([(_METER_MOD, encode_mod(*mod)) for mod in mods])
            again = []
            for place, (kind, code) in failures.items():
                command, number, meter = mods[place]
                if kind == _METER_MOD_FAILED and (command, code) in ((ADD, _EXISTS), (MODIFY, _UNKNOWN)) and attempt + 1 < _ATTEMPTS:
                    again.append((MODIFY if command == ADD else ADD, number, meter))
                else:
                    refused[number] = _meaning(kind, code)
            mods = again
            if not mods:
                break
    return refused


def drop_meters(path: Path, numbers: Sequence[int]) -> dict[int, str]:
    """Delete meters, and with them the flows that name them; returns why not, by number. One that is gone is success."""
    if not numbers:
        return {}
    with Conversation(path) as switch:
        failures = switch.tell([(_METER_MOD, encode_mod(DELETE, number)) for number in numbers])
    gone = (_METER_MOD_FAILED, _UNKNOWN)
    return {numbers[place]: _meaning(*failure) for place, failure in failures.items() if failure != gone}


def encode_mod(command: int, number: int, meter: Meter | None = None) -> bytes:
    """The body of ofp_meter_mod (7.3.4.5), with the one band that drops; a deletion has none."""
    if meter is None:
        return _MOD.pack(command, 0, number)
    return _MOD.pack(command, _UNITS[meter.unit], number) + _BAND.pack(_DROP, _BAND.size, meter.rate, meter.burst)


def decode_config(body: bytes) -> Iterator[tuple[int, Meter]]:
    """The meters in one part of the reply to METER_CONFIG (7.3.5.15)."""
    for entry in _entries(body, _CONFIG, 0):
        _, flags, number = _CONFIG.unpack_from(entry)
        meter = Meter(0, 0)
        if flags in _WORDS and len(entry) == _CONFIG.size + _BAND.size:
            kind, _, rate, burst = _BAND.unpack_from(entry, _CONFIG.size)
            if kind == _DROP:
                meter = Meter(rate, burst, _WORDS[flags])
        # A meter of another form is nobody's that vnetd knows; as a rate of 0 it differs from every wanted one.
        yield number, meter


def decode_stats(body: bytes) -> Iterator[tuple[int, tuple[int, int]]]:
    """(meter, (packets, bytes)) that its bands dropped, in one part of the reply to METER (7.3.5.14)."""
    for entry in _entries(body, _STATS, 1):
        bands = [_BAND_STATS.unpack_from(entry, at) for at in range(_STATS.size, len(entry) - _BAND_STATS.size + 1, _BAND_STATS.size)]
        yield _STATS.unpack_from(entry)[0], (sum(packets for packets, _ in bands), sum(octets for _, octets in bands))


def _entries(body: bytes, form: struct.Struct, length_field: int) -> Iterator[bytes]:
    """Entries that say their own length, one behind the other."""
    at = 0
    while at < len(body):
        length = form.unpack_from(body, at)[length_field] if len(body) - at >= form.size else 0
        if length < form.size or at + length > len(body):
            raise Unavailable("ovs-vswitchd's answer about meters breaks off")
        yield body[at : at + length]
        at += length


def _about_all(switch: Conversation, kind: int) -> list[bytes]:
    """The bodies of all parts of the reply to a multipart request about all meters (7.3.5)."""
    try:
        parts = switch.ask(_MULTIPART_REQUEST, _MULTIPART.pack(kind, 0) + _WHICH.pack(_ALL_METERS), _MULTIPART_REPLY)
    except Refused as error:
        raise WorldError(f"the switch does not tell its meters: {_meaning(*error.failure)}") from None
    return [body[_MULTIPART.size :] for body in parts]


def _fits(meter: Meter) -> bool:
    return 0 <= meter.rate <= 0xFFFFFFFF and 0 <= meter.burst <= 0xFFFFFFFF


def _meaning(kind: int, code: int) -> str:
    if kind == _METER_MOD_FAILED and code in _MEANINGS:
        return _MEANINGS[code]
    return f"the switch refused it with error type {kind}, code {code}"
