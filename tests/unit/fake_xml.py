"""What libvirt says, as XML to write tests with: networks, guests and their NICs by small numbers."""

from __future__ import annotations

from vnetd.model.names import Mac


def uuid_of(number: int) -> str:
    """A UUID that reads as its number."""
    return f"00000000-0000-4000-8000-{number:012d}"


def mac_of(number: int) -> Mac:
    return Mac(f"52:54:00:00:00:{number:02x}")


def network_xml(name: str, number: int, inside: str = "", metadata: str = "", ours: bool = True) -> bytes:
    """A libvirt network on bridge br-NAME. ``metadata`` stands inside ``<vnet:network>``, ``inside`` beside it."""
    mark = f"<metadata><v:network xmlns:v='urn:vnetd:network:1'>{metadata}</v:network></metadata>" if ours else ""
    return (
        f"<network><name>{name}</name><uuid>{uuid_of(number)}</uuid>{mark}<forward mode='bridge'/>"
        f"<bridge name='br-{name}'/><virtualport type='openvswitch'/>{inside}</network>"
    ).encode()


def nic_xml(number: int, network: str, tap: str = "", more: str = "", source: str = "") -> str:
    """A NIC of a running guest, or of one that has no tap yet."""
    target = f"<target dev='{tap}'/>" if tap else ""
    return (
        f"<interface type='network'><mac address='{mac_of(number)}'/><source network='{network}' {source}/>"
        f"<virtualport type='openvswitch'><parameters interfaceid='{uuid_of(number)}'/></virtualport>{target}{more}</interface>"
    )


def domain_xml(name: str, number: int, *nics: str) -> bytes:
    return f"<domain><name>{name}</name><uuid>{uuid_of(number)}</uuid><devices>{''.join(nics)}</devices></domain>".encode()


def port_xml(number: int, guest: str, guest_number: int, port_number: int) -> str:
    """libvirt's ``<networkport>`` for a NIC, which names no tap."""
    return (
        f"<networkport><uuid>{uuid_of(port_number)}</uuid><owner><name>{guest}</name><uuid>{uuid_of(guest_number)}</uuid></owner>"
        f"<mac address='{mac_of(number)}'/>"
        f"<virtualport type='openvswitch'><parameters interfaceid='{uuid_of(number)}'/></virtualport></networkport>"
    )


def hook_xml(network: bytes, port: str = "") -> bytes:
    return b"<hookData>" + network + port.encode() + b"</hookData>"
