"""Guests: real QEMU machines under emulation, and commands inside them over their second serial port."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import os
import shlex
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import quoteattr

from labkit import LabError
from labkit.hypervisor import Lab
from labkit.image import image

BOOT_SECONDS = 60 * int(os.environ.get("VNETD_LAB_PATIENCE", "1"))

DRIVER = (
    "<driver><host csum='off' gso='off' tso4='off' tso6='off' ecn='off' ufo='off'/>"
    "<guest csum='off' tso4='off' tso6='off' ecn='off' ufo='off'/></driver>"
)
"""The userspace datapath loses virtio's checksum offload: ping would work and TCP silently not."""


@dataclass(frozen=True)
class GuestSpec:
    """What a lab guest is to be."""

    name: str
    network: str
    portgroup: str | None = None
    mac: str | None = None
    addresses: Sequence[str] = ()
    vlans: Sequence[str] = ()
    """ID:ADDRESS/LENGTH of tagged interfaces inside the guest."""
    memory: int = 96
    metadata: str = ""
    words: Sequence[str] = field(default=())
    """More words for the guest's kernel command line."""
    mtu: int | None = None
    """Of its NIC; virtio hands it to the guest."""
    announces: bool = True
    """Whether the guest itself sends gratuitous ARP after a migration, as Linux with virtio does, or leaves that to QEMU's RARP."""

    @property
    def hardware_address(self) -> str:
        """The given MAC, or one made from the name."""
        return self.mac or "52:54:00:" + ":".join(f"{byte:02x}" for byte in hashlib.blake2s(self.name.encode(), digest_size=3).digest())


def domain_xml(spec: GuestSpec) -> str:
    """The guest's libvirt XML: the ordinary one of a user, with the lab's kernel and serial ports."""
    kernel, initramfs = image()
    words = [f"name={spec.name}", *(f"ip={one}" for one in spec.addresses), *(f"vlan={one}" for one in spec.vlans), *spec.words]
    silent = "" if spec.announces else "<qemu:arg value='-global'/><qemu:arg value='virtio-net-pci.guest_announce=off'/>"
    return f"""<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>{spec.name}</name><memory unit='MiB'>{spec.memory}</memory><vcpu>1</vcpu>
  <metadata>{spec.metadata}</metadata>
  <os><type arch='x86_64' machine='pc'>hvm</type><kernel>{kernel}</kernel><initrd>{initramfs}</initrd>
    <cmdline>{"console=ttyS0 quiet " + " ".join(words)}</cmdline></os>
  <features><acpi/></features>
  <devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
    {interface_xml(spec)}
    <serial type='file'><source path='/var/log/libvirt/qemu/{spec.name}.console'/><target port='0'/></serial>
    <serial type='unix'><source mode='bind' path='{_socket(spec.name)}'/><target port='1'/></serial>
    <memballoon model='none'/>
  </devices>
  <qemu:commandline>{silent}</qemu:commandline>
</domain>"""


def interface_xml(spec: GuestSpec) -> str:
    """The guest's NIC, as a user writes it."""
    group = f" portgroup={quoteattr(spec.portgroup)}" if spec.portgroup else ""
    mtu = f"<mtu size='{spec.mtu}'/>" if spec.mtu else ""
    return (
        f"<interface type='network'><mac address={quoteattr(spec.hardware_address)}/>"
        f"<source network={quoteattr(spec.network)}{group}/><virtualport type='openvswitch'/>"
        f"<model type='virtio'/>{mtu}{DRIVER}</interface>"
    )


def start(lab: Lab, host: str, spec: GuestSpec, wait: bool = True) -> None:
    """Define and start the guest with virsh, and return when it takes commands."""
    path = f"/run/lab-guests/{spec.name}.xml"
    lab.run(host, "sh", "-c", f"cat > {path}", stdin=domain_xml(spec))
    lab.run(host, "virsh", "-q", "define", path)
    lab.run(host, "virsh", "-q", "start", spec.name)
    if wait:
        wait_up(lab, spec.name)


def wait_up(lab: Lab, name: str) -> None:
    """Until the guest takes commands."""
    end = time.monotonic() + BOOT_SECONDS
    while True:
        try:
            run_inside(lab, name, ["true"], timeout=2)
            return
        except LabError:
            if time.monotonic() > end:
                raise LabError(f"guest {name} did not come up within {BOOT_SECONDS} s") from None
            time.sleep(0.05)


def run_inside(lab: Lab, name: str, command: Sequence[str], timeout: float = 60) -> tuple[int, bytes, bytes]:
    """(status, output, errors) of a command inside a guest, wherever it runs."""
    lab.folder.mkdir(parents=True, exist_ok=True)
    with (lab.folder / f"guest-{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with _connect(lab, name) as link:
            return _converse(link, name, command, timeout)


def _connect(lab: Lab, name: str) -> socket.socket:
    for host in lab.names():
        if not lab.alive(host):
            continue
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            link.connect(str(lab.root(host)) + _socket(name))
        except OSError:
            link.close()
            continue
        return link
    raise LabError(f"no guest {name} runs in lab {lab.prefix}")


def _converse(link: socket.socket, name: str, command: Sequence[str], timeout: float) -> tuple[int, bytes, bytes]:
    text = command[0] if len(command) == 1 else shlex.join(command)
    mark = f"{os.getpid()}-{time.monotonic_ns()}".encode()
    end = time.monotonic() + timeout
    # A newline first ends whatever an interrupted caller has left half said.
    link.sendall(b"\n" + mark + b" " + base64.b64encode(text.encode()) + b"\n")
    heard = b""
    while True:
        link.settimeout(max(end - time.monotonic(), 0.01))
        try:
            piece = link.recv(65536)
        except TimeoutError:
            raise LabError(f"guest {name} did not answer within {timeout:g} s") from None
        if not piece:
            raise LabError(f"guest {name} went away")
        heard += piece
        for line in heard.split(b"\n")[:-1]:
            words = line.strip().split(b" ")
            if words[0] == mark and len(words) == 4:
                return int(words[1]), base64.b64decode(words[2][:-1]), base64.b64decode(words[3][:-1])


def _socket(name: str) -> str:
    return str(Path("/run/lab-guests") / f"{name}.sock")
