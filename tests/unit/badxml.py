"""Texts that are good but for one thing, those who read them, and what a refusal must be like."""

from __future__ import annotations

import time
from collections.abc import Callable

from vnetd.errors import InputError
from vnetd.model.names import IfName
from vnetd.xmlread import (
    DOMAIN_NS,
    NETWORK_NS,
    read_domain,
    read_interface,
    read_network,
    read_network_hook,
    read_network_port,
)

UUID = "b41957c4-dfcc-4123-add7-17673e91dea0"
M1, M2 = "52:54:00:00:00:01", "52:54:00:00:00:02"

PARTS = {
    "name": "<name>blue</name>",
    "forward": "<forward mode='bridge'/>",
    "bridge": "<bridge name='br-blue'/>",
    "virtualport": "<virtualport type='openvswitch'/>",
}


def network(ours: str = "", rest: str = "", **parts: str) -> bytes:
    """A good network but for ``ours`` in vnetd's element, ``rest`` at the end and ``parts`` instead of the usual ones."""
    elements = "".join((PARTS | parts).values())
    metadata = f"<metadata><vnet:network xmlns:vnet='{NETWORK_NS}'>{ours}</vnet:network></metadata>"
    return f"<network>{elements}{metadata}{rest}</network>".encode()


def tap(rest: str = "", source: str = "<source network='blue'/>") -> bytes:
    return f"<interface type='network'>{source}{rest}</interface>".encode()


def bound(mac: str, address: str) -> str:
    return f"<vnet:binding mac='{mac}' address='{address}'/>"


def ours_in_tap(attributes: str = "", inside: str = "") -> bytes:
    return tap(f"<vnet:interface xmlns:vnet='{DOMAIN_NS}' {attributes}>{inside}</vnet:interface>")


def guest(*nics: str, ours: str = "", name: str = "vm1", around: str = "") -> bytes:
    metadata = f"<metadata><vnet:domain xmlns:vnet='{DOMAIN_NS}'>{ours}</vnet:domain></metadata>" if ours else ""
    return f"<domain><name>{name}</name>{metadata}{around}<devices>{''.join(nics)}</devices></domain>".encode()


def nic(rest: str = "", source: str = "network='blue'", address: str = M1) -> str:
    return f"<interface type='network'><mac address='{address}'/><source {source}/>{rest}</interface>"


def as_network(data: bytes) -> None:
    read_network(data)


def as_guest(data: bytes) -> None:
    """As a hook does it when the NIC's network is vnetd's: a fault of a NIC refuses the guest."""
    for fault in read_domain(data).faults:
        raise fault.error


def as_tap(data: bytes) -> None:
    read_interface(data, IfName("tap0"))


def as_hook(data: bytes) -> None:
    hook = read_network_hook(data)
    read_network(hook.network)
    if hook.port is not None:
        read_network_port(hook.port)


def refusal(reader: Callable[[bytes], None], data: bytes) -> str | None:
    """Why ``reader`` refuses ``data``, or None: in one plain line, in the time of linear work, by no other exception than InputError."""
    began = time.process_time()
    try:
        reader(data)
    except InputError as error:
        took = time.process_time() - began
        message = str(error)
        assert len(message.splitlines()) == 1
        assert len(message) < 500
        assert took < 5
        return message
    return None


def assert_refused(reader: Callable[[bytes], object], data: bytes, words: tuple[str, ...]) -> None:
    """The sentence of the refusal must hold all these words."""
    message = refusal(reader, data)
    assert message is not None
    assert [word for word in words if word not in message] == [], message
