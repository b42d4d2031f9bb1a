"""Names, addresses and numbers, checked once where text becomes a value.

libvirt accepts a tap called ``--help``, VLAN 4095 or a zero MAC when a guest is
defined, so each parser here is strict and says what to write instead. ``where``
names the element and attribute that the text came from; it opens the message.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network, ip_address, ip_network
from typing import NewType
from uuid import UUID

from vnetd.errors import InputError

IfName = NewType("IfName", str)
"""A network interface, bridge or port: 1 to 15 bytes of ``[A-Za-z0-9_.-]``."""

Mac = NewType("Mac", str)
"""A unicast, non-zero Ethernet address (IEEE 802), lower case with colons."""

HostName = NewType("HostName", str)
"""A name that is looked up: labels of letters, digits and hyphens (RFC 1123, section 2.1), lower case."""

IpAddress = IPv4Address | IPv6Address
IpPrefix = IPv4Network | IPv6Network
"""One address (of full length) or all those of a prefix."""

IpInterface = IPv4Interface | IPv6Interface
"""An address with the length of its subnet's prefix, as a link has it."""

_IFNAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
_LABEL = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029/]{1,255}")
_UUID = re.compile(r"[0-9A-Fa-f]{8}(-?[0-9A-Fa-f]{4}){3}-?[0-9A-Fa-f]{12}")
_HOST_LABEL = r"[0-9A-Za-z]([0-9A-Za-z-]{0,61}[0-9A-Za-z])?"
_HOSTNAME = re.compile(rf"({_HOST_LABEL}\.)*(?!0[xX][0-9A-Fa-f]*$)(?=[0-9A-Za-z-]*[A-Za-z]){_HOST_LABEL}")
"""The last label is no number, in hexadecimal either, or a slip in an IPv4 address would be a name that is looked up forever."""
_UNUSABLE = frozenset({"all", "default", "lo"})

_NOBODYS = tuple(
    (net.version, int(net[0]), int(net[-1]), written, what)
    for written, what in (
        ("0.0.0.0/8", "unspecified"),
        ("127.0.0.0/8", "loopback"),
        ("224.0.0.0/4", "multicast"),
        ("255.255.255.255/32", "broadcast"),
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("::ffff:0:0/96", "IPv4 inside IPv6"),
        ("ff00::/8", "multicast"),
    )
    for net in (ip_network(written),)
)
"""Addresses that no NIC has for its own (RFC 6890; RFC 4291, section 2.4), with their bounds as numbers: a network may bind 65536.

Messages show them as they are written here: Python 3.13 prints ``::ffff:0.0.0.0`` where those before it print ``::ffff:0:0``.
"""


def shown(text: str, limit: int = 60) -> str:
    """``text`` quoted for a message or a log line: escaped, and cut when long."""
    return ascii(text if len(text) <= limit else text[:limit] + "…").replace("\\u2026", "…")


def ifname(text: str, where: str) -> IfName:
    """The name of an interface. Raises InputError where the kernel or OVS could trip over it."""
    if text in _UNUSABLE:
        raise InputError(f"{where}: {shown(text)} has a meaning of its own on every host; write another name")
    if not _IFNAME.fullmatch(text):
        raise InputError(
            f"{where}: {shown(text)} is no interface name; write 1 to 15 of A-Z a-z 0-9 _ . -, beginning with a letter, a digit or _"
        )
    return IfName(text)


def mac(text: str, where: str) -> Mac:
    """A guest's MAC address. Raises InputError for a multicast, zero or malformed one."""
    low = text.lower()
    if not _MAC.fullmatch(low):
        raise InputError(f"{where}: {shown(text)} is no MAC address; write six pairs such as 52:54:00:12:34:56")
    if low == "00:00:00:00:00:00" or int(low[:2], 16) & 1:
        raise InputError(f"{where}: {low} is not the address of one NIC; write a unicast MAC such as 52:54:00:12:34:56")
    return Mac(low)


def number(text: str, low: int, high: int, where: str) -> int:
    """A decimal number within ``low``..``high``, without sign or leading zeros."""
    if not _NUMBER.fullmatch(text) or not low <= int(text) <= high:
        raise InputError(f"{where}: {shown(text)} is not a number from {low} to {high}")
    return int(text)


def vlan_id(text: str, where: str) -> int:
    """A VLAN ID that a frame may carry: 1 to 4094 (IEEE 802.1Q, table 9-2)."""
    return number(text, 1, 4094, where)


def address(text: str, where: str) -> IpAddress:
    """One unicast IP address, without prefix length, zone or leading zeros."""
    try:
        value = ip_address(text)
    except ValueError:
        raise InputError(f"{where}: {shown(text)} is no IP address; write one such as 192.0.2.11 or 2001:db8::11") from None
    mapped = value.ipv4_mapped if isinstance(value, IPv6Address) else None
    # Only since Python 3.13 does an IPv4 address inside an IPv6 one count as what it is by itself.
    plain = mapped or value
    if "%" in text or plain.is_multicast or plain.is_unspecified or plain == IPv4Address("255.255.255.255"):
        raise InputError(f"{where}: {shown(text)} is not the address of one host; write a unicast address without a zone")
    if mapped is not None:
        # One host would have two spellings here, of which no interface ever carries this one.
        raise InputError(f"{where}: {shown(text)} is an IPv4 address inside an IPv6 one; write {mapped}")
    return value


def address_or_name(text: str, where: str) -> IpAddress | HostName:
    """One unicast IP address, or a host name that has one. Raises InputError."""
    if not _HOSTNAME.fullmatch(text):
        return address(text, where)
    if len(text) > 253:
        raise InputError(f"{where}: {shown(text)} is longer than a host name can be; write at most 253 characters")
    return HostName(text.lower())


def prefix(text: str, where: str) -> IpPrefix:
    """What a NIC owns: an address, or a prefix such as ``10.0.0.0/24``. Raises InputError for what no NIC can own, in part or whole."""
    base, slash, length = text.partition("/")
    if slash and length == "0":
        raise InputError(f"{where}: {shown(text)} is every address there is; write guard='mac' to let a NIC have any")
    first = address(base, where)
    if slash and not (_NUMBER.fullmatch(length) and 1 <= int(length) <= first.max_prefixlen):
        raise InputError(f"{where}: {shown(text)} has no prefix length; write one from 1 to {first.max_prefixlen}, or none for one address")
    value = _masked(first, int(length) if slash else first.max_prefixlen)
    low, high = bounds(value)
    for version, begin, end, nobodys, what in _NOBODYS:
        if version != value.version or begin > high or low > end:
            continue
        if begin <= int(first) <= end:
            raise InputError(f"{where}: {shown(text)} is {what} ({nobodys}); write an address that one NIC may have")
        raise InputError(f"{where}: {shown(text)} reaches into {nobodys}, which is {what}; write a longer prefix")
    if low != int(first):
        raise InputError(f"{where}: {shown(text)} has bits set beyond its length; write {value} for the prefix or {first} for the address")
    return value


def bounds(value: IpPrefix) -> tuple[int, int]:
    """The first and the last address of a prefix, as numbers; many times faster than ``broadcast_address``."""
    low = int(value.network_address)
    return low, low + (1 << (value.max_prefixlen - value.prefixlen)) - 1


def by_number(value: IpPrefix) -> tuple[int, int, int]:
    """A key that sorts IPv4 before IPv6, then by value, and a prefix before what lies in it."""
    return value.version, int(value.network_address), value.prefixlen


def written(value: IpPrefix) -> str:
    """A prefix as one writes it: that of one address without its length."""
    return str(value.network_address) if value.prefixlen == value.max_prefixlen else str(value)


def _masked(first: IpAddress, length: int) -> IpPrefix:
    """The prefix that ``first`` is in."""
    if isinstance(first, IPv4Address):
        return IPv4Network((int(first), length), strict=False)
    return IPv6Network((int(first), length), strict=False)


def label(text: str, where: str) -> str:
    """A name of a libvirt object or a peer: without ``/``, control characters or line ends (Unicode's too), 1 to 255 characters."""
    if not _LABEL.fullmatch(text):
        raise InputError(f"{where}: {shown(text)} is no name; write 1 to 255 printable characters without /")
    return text


def uuid(text: str, where: str) -> str:
    """A UUID in its canonical form (RFC 4122), as libvirt prints it."""
    # UUID() alone also takes signs, underscores and the digits of other scripts.
    if not _UUID.fullmatch(text):
        raise InputError(f"{where}: {shown(text)} is no UUID; write one as uuidgen prints it")
    return str(UUID(text))


def yes_no(text: str, where: str) -> bool:
    """libvirt's way to write a truth value."""
    if text not in ("yes", "no"):
        raise InputError(f"{where}: {shown(text)} is neither 'yes' nor 'no'")
    return text == "yes"
