"""ovs-ifup and ovs-ifdown: bare QEMU guests and <interface type='ethernet'>, on the same network as libvirt's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from conftest import ADDRESSES
from labkit.guest import DRIVER, wait_up
from labkit.image import image
from world import World

MAC = "52:54:00:0b:0b:0b"
ADDRESS = "10.0.0.9"
OFFLOAD = ",".join(
    f"{one}=off"
    for one in (
        [
            "csum",
            "gso",
            "host_tso4",
            "host_tso6",
            "host_ecn",
            "host_ufo",
            "guest_csum",
            "guest_tso4",
            "guest_tso6",
            "guest_ecn",
            "guest_ufo",
        ]
    )
)


def qemu(world: World, netdev: str, device: str = f",mac={MAC}") -> str:
    """A bare QEMU's command line, as a user writes it, for a guest called q1."""
    kernel, initramfs = image()
    return (
        "qemu-system-x86_64 -accel tcg -machine pc -m 96 -display none -daemonize -pidfile /run/q1.pid "
        f"-kernel {kernel} -initrd {initramfs} -append 'console=ttyS0 quiet name=q1 ip={ADDRESS}/24' "
        f"-netdev tap,id=n0,{netdev},downscript=/etc/vnetd/ovs-ifdown -device virtio-net-pci,netdev=n0,{OFFLOAD}{device} "
        "-serial file:/var/log/q1 -serial unix:/run/lab-guests/q1.sock,server=on,wait=off"
    )


@pytest.fixture
def clean(world: World) -> Iterator[World]:
    """Rows, flows and files as before, once the guest has ended."""
    rows, flows = world.rows("hv1"), world.flows("hv1")
    yield world
    world.attempt("hv1", "kill $(cat /run/q1.pid); while kill -0 $(cat /run/q1.pid) 2>/dev/null; do sleep 0.05; done")
    world.on("hv1", "rm -f /etc/vnetd/taps/*.xml /etc/vnetd/ovs-ifup-*")
    world.until(lambda: (world.rows("hv1"), world.flows("hv1")) == (rows, flows), 5, "nothing is left of the tap")
    assert world.on("hv1", "find /run/vnetd/spool/taps -type f") == ""


@pytest.mark.parametrize("daemon", [True, False])
def test_a_bare_qemu_guest_called_by_link_talks_to_libvirts_guests(clean: World, daemon: bool) -> None:
    world = clean
    if not daemon:
        world.stop_daemon("hv1")
    try:
        world.on("hv1", "ln -s ovs-ifup /etc/vnetd/ovs-ifup-blue@vlan-10")
        world.on("hv1", qemu(world, "script=/etc/vnetd/ovs-ifup-blue@vlan-10"))
        wait_up(world.lab, "q1")
        for guest in ("a1", "a2"):
            assert world.pings(guest, ADDRESS)
            assert world.tcp(guest, ADDRESS)
        assert not world.pings("b1", ADDRESS)
    finally:
        if not daemon:
            world.on("hv1", "/run/start-vnetd")


def test_the_default_portgroup_and_qemus_default_mac(clean: World) -> None:
    clean.on("hv1", "ln -s ovs-ifup /etc/vnetd/ovs-ifup-blue")
    clean.on("hv1", qemu(clean, "script=/etc/vnetd/ovs-ifup-blue", device=""))
    wait_up(clean.lab, "q1")
    assert clean.pings("a2", ADDRESS)


def test_a_taps_own_file_says_network_vlan_bandwidth_and_policy(clean: World) -> None:
    world = clean
    world.on(
        "hv1", "tee", "/etc/vnetd/taps/tap7.xml",
        stdin=f"""<interface><mac address='{MAC}'/><source network='blue' portgroup='vlan-20'/><mtu size='1400'/>
          <bandwidth><inbound average='500' burst='64'/><outbound average='1000'/></bandwidth>
          <interface xmlns='urn:vnetd:domain:1'><policy guard='mac'/></interface></interface>""",
    )  # fmt: skip
    world.on("hv1", qemu(world, "ifname=tap7,script=/etc/vnetd/ovs-ifup"))
    wait_up(world.lab, "q1")
    assert world.pings("b2", ADDRESS)
    assert world.tcp("q1", ADDRESSES["b2"])
    assert not world.pings("a2", ADDRESS)
    rows = "\n".join(world.rows("hv1"))
    assert "max-rate=" in rows.replace('"', "")
    assert "1400" in world.on("hv1", "ovs-vsctl get interface tap7 mtu")
    assert "rate=8000" in world.on("hv1", "ovs-ofctl -O OpenFlow14 dump-meters br-blue")
    world.assert_settled("hv1")
    # The file edited, and read again on request: the running guest follows.
    world.on("hv1", "sed -i s/vlan-20/vlan-10/ /etc/vnetd/taps/tap7.xml; vnetctl apply")
    assert world.pings("a2", ADDRESS)
    assert not world.pings("b2", ADDRESS)


def test_a_libvirt_guest_with_an_ethernet_interface(clean: World) -> None:
    world = clean
    kernel, initramfs = image()
    world.on("hv1", "ln -s ovs-ifup /etc/vnetd/ovs-ifup-blue@vlan-10")
    world.on(
        "hv1", "tee", "/run/e1.xml",
        stdin=f"""<domain type='qemu'><name>e1</name><memory unit='MiB'>96</memory><vcpu>1</vcpu>
          <os><type arch='x86_64' machine='pc'>hvm</type><kernel>{kernel}</kernel><initrd>{initramfs}</initrd>
          <cmdline>console=ttyS0 quiet name=e1 ip={ADDRESS}/24</cmdline></os>
          <devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
          <interface type='ethernet'><mac address='{MAC}'/><script path='/etc/vnetd/ovs-ifup-blue@vlan-10'/>
          <downscript path='/etc/vnetd/ovs-ifdown'/><target dev='etap0'/><model type='virtio'/>{DRIVER}</interface>
          <serial type='file'><source path='/var/log/e1'/></serial>
          <serial type='unix'><source mode='bind' path='/run/lab-guests/e1.sock'/></serial></devices></domain>""",
    )  # fmt: skip
    world.on("hv1", "virsh -q create /run/e1.xml")
    try:
        wait_up(world.lab, "e1")
        assert world.pings("a2", ADDRESS)
        assert world.tcp("a1", ADDRESS)
    finally:
        world.on("hv1", "virsh -q destroy e1")
        world.attempt("hv1", "/etc/vnetd/ovs-ifdown etap0")


def test_ifdown_is_repeatable_and_succeeds_when_nothing_is_there(world: World) -> None:
    for daemon in (True, False):
        if not daemon:
            world.stop_daemon("hv1")
        for _ in range(2):
            done = world.attempt("hv1", "/etc/vnetd/ovs-ifdown nosuch0")
            assert (done.returncode, done.stderr) == (0, "")
    world.on("hv1", "/run/start-vnetd")


@pytest.mark.parametrize("daemon", [True, False])
@pytest.mark.parametrize(
    ("script", "argument", "status", "words"),
    [
        ("ovs-ifup", "tap8", 2, "/etc/vnetd/taps/tap8.xml"),
        ("ovs-ifup-nosuch", "tap8", 1, "no network 'nosuch'"),
        ("ovs-ifup-blue@nosuch", "tap8", 2, "has no portgroup 'nosuch'; it has vlan-10"),
        ("ovs-ifup-blue", "a;reboot", 2, "is no interface name"),
        ("ovs-ifup-blue", "../../x", 2, "is no interface name"),
        ("ovs-ifup-blue", "--help", 2, "is no interface name"),
    ],
)
def test_a_call_that_cannot_be_served_says_so_in_one_line(
    world: World, script: str, argument: str, status: int, words: str, daemon: bool
) -> None:
    if not daemon:
        world.stop_daemon("hv1")
    try:
        world.on("hv1", f"ln -sf ovs-ifup '/etc/vnetd/{script}'" if script != "ovs-ifup" else "true")
        rows = world.rows("hv1")
        done = world.attempt("hv1", f"/etc/vnetd/{script}", argument)
        assert done.returncode == status, done
        assert words in done.stderr
        assert done.stderr.count("\n") == 1
        assert world.rows("hv1") == rows
    finally:
        world.on("hv1", "rm -f /etc/vnetd/ovs-ifup-*")
        if not daemon:
            world.on("hv1", "/run/start-vnetd")
