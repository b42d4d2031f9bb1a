"""A NIC's MAC address from QEMU's command line: the forms of qemu-system(1), and when it cannot be told."""

from __future__ import annotations

import pytest
from fakes import mac_of

from vnetd.errors import InputError
from vnetd.qemuargs import DEFAULT_MAC, is_qemu
from vnetd.qemuargs import mac_of as mac_in

M, N = mac_of(1), mac_of(2)
QEMU = "qemu-system-x86_64"


def found(line: str, tap: str = "tap0", script: str = "ovs-ifup") -> str | None:
    return mac_in([QEMU, *line.split()], tap, script)


@pytest.mark.parametrize(
    "line",
    [
        f"-netdev tap,id=n0,ifname=tap0 -device virtio-net,netdev=n0,mac={M}",
        f"-device virtio-net,netdev=n0,mac={M} -netdev tap,id=n0,ifname=tap0",
        f"--netdev tap,ifname=tap0,id=n0 --device e1000,mac={M},netdev=n0,bus=pci.0",
        f"-nic tap,ifname=tap0,mac={M},model=virtio",
        f"-netdev user,id=u0 -device e1000,netdev=u0,mac={N} -netdev tap,id=n0,ifname=tap0 -device e1000,netdev=n0,mac={M}",
        f"-netdev tap,id=n1,ifname=tap1 -device e1000,netdev=n1,mac={N} -netdev tap,id=n0,ifname=tap0 -device e1000,netdev=n0,mac={M}",
        f"-nic tap,ifname=tap1,mac={N} -nic tap,ifname=tap0,mac={M.upper()}",
    ],
)
def test_the_mac_is_that_of_the_nic_behind_the_tap(line: str) -> None:
    assert found(line) == M


def test_a_tap_that_the_kernel_named_is_told_by_its_script() -> None:
    line = f"-nic tap,script=/etc/vnetd/ovs-ifup-blue,mac={M} -nic tap,script=/etc/vnetd/ovs-ifup-red,mac={N}"
    assert found(line, "tap5", "ovs-ifup-red") == N


def test_two_taps_of_one_script_cannot_be_told_apart() -> None:
    line = f"-nic tap,script=/etc/vnetd/ovs-ifup,mac={M} -nic tap,script=/etc/vnetd/ovs-ifup,mac={N}"
    assert found(line, "tap5") is None


def test_a_tap_that_is_named_goes_before_one_of_the_same_script() -> None:
    assert found(f"-nic tap,script=ovs-ifup,mac={N} -nic tap,ifname=tap0,script=ovs-ifup,mac={M}") == M


def test_the_only_nic_has_qemus_own_mac_when_none_is_written() -> None:
    assert found("-netdev tap,id=n0,ifname=tap0 -device virtio-net,netdev=n0") == DEFAULT_MAC
    assert found("-nic tap,ifname=tap0") == DEFAULT_MAC


@pytest.mark.parametrize(
    "line",
    [
        "-nic tap,ifname=tap0 -nic tap,ifname=tap1",
        "-nic user -nic tap,ifname=tap0",
        "-netdev user,id=u0 -device e1000,netdev=u0 -netdev tap,id=n0,ifname=tap0 -device e1000,netdev=n0",
    ],
)
def test_of_several_nics_without_a_mac_none_is_guessed(line: str) -> None:
    """QEMU counts its own MACs up over all NICs, whatever is behind them."""
    assert found(line) is None


@pytest.mark.parametrize(
    "line",
    [
        "",
        "-netdev user,id=n0",
        f"-nic tap,ifname=tap1,mac={M}",
        f"-net nic,macaddr={M} -net tap,ifname=tap0",
        "-netdev {'type':'tap'} -device",
        "-netdev tap,=,,=x, -device ,,,",
    ],
)
def test_where_the_line_does_not_say_it_nothing_is_told(line: str) -> None:
    assert found(line) is None


@pytest.mark.parametrize("mac", ["01:00:5e:00:00:01", "00:00:00:00:00:00", "52:54:00:00:00", "5254.0000.0001"])
def test_a_mac_that_no_nic_can_have_is_refused(mac: str) -> None:
    with pytest.raises(InputError, match="QEMU's mac="):
        found(f"-nic tap,ifname=tap0,mac={mac}")


@pytest.mark.parametrize(
    ("argv", "whether"),
    [
        (["/usr/bin/qemu-system-x86_64", "-nic", "none"], True),
        (["/usr/libexec/qemu-kvm"], True),
        (["/bin/sh", "/root/qemu-start"], False),
        (["/usr/sbin/libvirtd"], False),
        ([], False),
    ],
)
def test_qemu_is_told_from_libvirt_and_a_shell(argv: list[str], whether: bool) -> None:
    assert is_qemu(argv) is whether
