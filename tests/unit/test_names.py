"""Names, addresses and numbers: what passes, what does not, and that the message quotes it escaped."""

from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vnetd.errors import InputError
from vnetd.model import names

quick = settings(max_examples=200, deadline=None, database=None)

LOOSE_UUIDS = [
    "0x1957c4dfcc4123add717673e91dea0",
    "+41957c4dfcc4123add717673e91dea0",
    "b_957c4dfcc4123add717673e91dea0f",
    "４41957c4dfcc4123add717673e91dea0",
    "b-41957c4dfcc4123add717673e91dea0",
    "{b41957c4-dfcc-4123-add7-17673e91dea0}",
]


@pytest.mark.parametrize("text", LOOSE_UUIDS)
def test_pythons_own_uuid_is_less_strict(text):
    assert UUID(text)


@pytest.mark.parametrize(
    ("parse", "text", "means"),
    [
        (names.ifname, "eth0.10", "eth0.10"),
        (names.ifname, "_a-b", "_a-b"),
        (names.ifname, "0123456789abcde", "0123456789abcde"),
        (names.mac, "52:54:00:AB:cd:EF", "52:54:00:ab:cd:ef"),
        (names.mac, "fe:ff:ff:ff:ff:ff", "fe:ff:ff:ff:ff:ff"),
        (names.vlan_id, "1", 1),
        (names.vlan_id, "4094", 4094),
        (names.address, "192.0.2.11", ip_address("192.0.2.11")),
        (names.address, "2001:0DB8::11", ip_address("2001:db8::11")),
        (names.prefix, "10.0.0.5", ip_network("10.0.0.5/32")),
        (names.prefix, "10.0.0.5/32", ip_network("10.0.0.5")),
        (names.prefix, "10.0.0.0/24", ip_network("10.0.0.0/24")),
        (names.prefix, "32.0.0.0/3", ip_network("32.0.0.0/3")),
        (names.prefix, "255.255.255.254", ip_network("255.255.255.254")),
        (names.prefix, "169.254.1.1", ip_network("169.254.1.1")),
        (names.prefix, "2001:0DB8::11", ip_network("2001:db8::11/128")),
        (names.prefix, "2001:db8::/64", ip_network("2001:db8::/64")),
        (names.prefix, "fe80::1", ip_network("fe80::1")),
        (names.prefix, "fe80::/10", ip_network("fe80::/10")),
        (names.prefix, "64:ff9b::192.0.2.1", ip_network("64:ff9b::c000:201")),
        (names.prefix, "::2", ip_network("::2")),
        (names.label, " $(id) é ", " $(id) é "),
        (names.label, "日" * 255, "日" * 255),
        (names.uuid, "B41957C4-DFCC-4123-ADD7-17673E91DEA0", "b41957c4-dfcc-4123-add7-17673e91dea0"),
        (names.uuid, "b41957c4dfcc4123add717673e91dea0", "b41957c4-dfcc-4123-add7-17673e91dea0"),
        (names.yes_no, "yes", True),
        (names.yes_no, "no", False),
    ],
)
def test_passes(parse, text, means):
    assert parse(text, "here") == means


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        *((names.ifname, text) for text in ("", "lo", "all", "default", ".", "-a", "a b", "a/b", "a\n", "é", "0123456789abcdef")),
        *((names.mac, text) for text in ("", "00:00:00:00:00:00", "01:00:00:00:00:00", "52:54:00:00:00:0１")),
        *((names.vlan_id, text) for text in ("", "0", "4095", "01", "+1", "-1", " 1", "1_0", "１", "9" * 5000)),
        *((names.address, text) for text in ("", "192.0.2.011", "::", "0.0.0.0", "ff02::1", "fe80::1%1", "::ffff:192.0.2.1")),
        *((names.prefix, text) for text in ("", "/", "10.0.0.0/", "10.0.0.0/0", "10.0.0.0/33", "10.0.0.1/24", "10.0.0.01", "10.0.0.0/08")),
        *(
            (names.prefix, text)
            for text in ("0.0.0.0", "0.1.2.3", "127.0.0.1", "128.0.0.0/1", "224.0.0.0/4", "255.255.255.255", "252.0.0.0/6")
        ),
        *((names.prefix, text) for text in ("::", "::/0", "::/8", "::1", "8000::/1", "ff00::/8", "fe80::1%1", "::ffff:1.2.3.4", "1::/129")),
        *((names.label, text) for text in ("", "a/b", "a\tb", "a\x7f", "a\x85b", "a\x9bb", "a\u2028b", "a\u2029b", "a" * 256)),
        *((names.uuid, text) for text in ("", "blue", *LOOSE_UUIDS)),
        *((names.yes_no, text) for text in ("", "Yes", "true", "1")),
    ],
)
def test_refused(parse, text):
    with pytest.raises(InputError) as caught:
        parse(text, "here")
    message = str(caught.value)
    assert message.startswith("here: ")
    assert message.replace("…", "").isascii()
    assert len(message.splitlines()) == 1


def test_a_mapped_address_is_refused_with_the_one_to_write():
    with pytest.raises(InputError, match=r"write 192\.0\.2\.1$"):
        names.address("::ffff:c000:201", "here")


PARSERS: list[Callable[[str, str], object]] = [
    names.ifname,
    names.mac,
    names.vlan_id,
    names.address,
    names.prefix,
    names.label,
    names.uuid,
    names.yes_no,
]


@quick
@given(st.sampled_from(PARSERS), st.text(max_size=40))
def test_any_text_is_a_value_or_an_input_error(parse, text):
    try:
        parse(text, "here")
    except InputError:
        return
    assert "\n" not in text


@quick
@given(st.text())
def test_shown_is_short_printable_and_one_line(text):
    shown = names.shown(text)
    assert len(shown.splitlines()) == 1
    assert shown.replace("…", "").isascii()
    assert shown.isprintable()
    assert len(shown) < 700


@quick
@given(st.ip_addresses())
def test_an_address_is_read_as_it_is_written(value):
    try:
        assert names.address(str(value), "here") == value
    except InputError:
        special = value.is_multicast or value.is_unspecified or str(value) == "255.255.255.255"
        assert special or getattr(value, "ipv4_mapped", None)


NETS = st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 32)).map(lambda pair: IPv4Network(pair, strict=False)) | st.tuples(
    st.integers(0, 2**128 - 1), st.integers(1, 128)
).map(lambda pair: IPv6Network(pair, strict=False))
NOBODYS = [ip_network(text) for text in ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "255.255.255.255")] + [
    ip_network(text) for text in ("::", "::1", "::ffff:0:0/96", "ff00::/8")
]


@settings(quick, max_examples=600)
@given(NETS)
def test_a_prefix_is_read_as_it_is_written_unless_it_holds_what_no_nic_can_own(value):
    if any(value.version == one.version and value.overlaps(one) for one in NOBODYS):
        with pytest.raises(InputError):
            names.prefix(str(value), "here")
    else:
        assert names.prefix(str(value), "here") == value
        assert names.prefix(names.written(value), "here") == value
        assert names.bounds(value) == (int(value[0]), int(value[-1]))


@quick
@given(NETS, st.integers(1, 2**128))
def test_the_right_spelling_of_a_prefix_is_said(value, off):
    inside = value[off % value.num_addresses]
    try:
        names.prefix(f"{inside}/{value.prefixlen}", "here")
    except InputError as error:
        words = str(error)
        if "bits set beyond" in words:
            assert words.endswith(f"; write {value} for the prefix or {inside} for the address")
            assert names.prefix(str(value), "here") == value
            assert names.prefix(str(inside), "here") == ip_network(inside)
    else:
        assert inside == value[0]


@quick
@given(st.uuids())
def test_a_uuid_is_read_as_it_is_written(value: UUID):
    assert names.uuid(str(value), "here") == str(value)


@quick
@given(st.integers(-5, 5000))
def test_a_number_is_read_as_it_is_written(value):
    if 1 <= value <= 4094:
        assert names.vlan_id(str(value), "here") == value
    else:
        with pytest.raises(InputError):
            names.vlan_id(str(value), "here")
