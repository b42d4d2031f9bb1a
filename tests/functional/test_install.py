"""What a user installs: files, modes, the unit's hardening, completion; and that it goes again."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from labkit.hypervisor import PROJECT

VNETCTL = str(PROJECT / ".venv/bin/vnetctl")


def vnetctl(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([VNETCTL, *words], capture_output=True, text=True, check=False, timeout=30)


def test_install_is_repeatable_and_uninstall_removes_what_it_wrote(tmp_path: Path) -> None:
    for _ in range(2):
        assert vnetctl("install", "--root", str(tmp_path)).returncode == 0
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert files == [
        "etc/bash_completion.d/vnetctl",
        "etc/libvirt/hooks/network.d/vnetd",
        "etc/libvirt/hooks/qemu.d/vnetd",
        "etc/systemd/system/vnetd.service",
        "etc/vnetd/ovs-ifdown",
        "etc/vnetd/ovs-ifup",
    ]
    for name in ("etc/libvirt/hooks/qemu.d/vnetd", "etc/vnetd/ovs-ifup"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o755
    assert vnetctl("uninstall", "--root", str(tmp_path)).returncode == 0
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_foreign_hook_is_not_overwritten(tmp_path: Path) -> None:
    hook = tmp_path / "etc/libvirt/hooks/qemu.d/vnetd"
    hook.parent.mkdir(parents=True)
    hook.write_text("#!/bin/sh\n")
    done = vnetctl("install", "--root", str(tmp_path))
    assert done.returncode == 1
    assert "move it away" in done.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [hook]
    assert vnetctl("uninstall", "--root", str(tmp_path)).returncode == 0
    assert hook.exists()


def test_the_unit_is_hardened() -> None:
    unit = str(PROJECT / "packaging/vnetd.service")
    text = subprocess.run(["systemd-analyze", "security", "--offline=true", unit], capture_output=True, text=True, check=False).stdout
    match = re.search(r"Overall exposure level for vnetd.service: ([\d.]+)", text)
    assert match, text
    # Of this, 0.7 is what it takes to measure paths and look names up: raw and Internet sockets, to whatever address.
    assert float(match[1]) <= 2.2
    before = re.search(r"^Before=(.*)$", Path(unit).read_text(encoding="utf-8"), re.MULTILINE)
    assert before
    assert {"libvirtd.service", "virtqemud.service", "virtnetworkd.service"} <= set(before[1].split())


def test_completion_knows_the_commands(tmp_path: Path) -> None:
    vnetctl("install", "--root", str(tmp_path))
    script = tmp_path / "etc/bash_completion.d/vnetctl"
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    words = {"_VNETCTL_COMPLETE": "bash_complete", "COMP_WORDS": "vnetctl st", "COMP_CWORD": "1"}
    done = subprocess.run([VNETCTL], env=words, capture_output=True, text=True, check=False)
    assert "status" in done.stdout


def test_every_command_has_a_help_that_says_what_it_does() -> None:
    for command in ("validate", "plan", "apply", "status", "tunnels", "drops", "lint", "install", "uninstall", "version"):
        done = vnetctl(command, "--help")
        assert done.returncode == 0
        assert len(done.stdout.splitlines()) >= 5, done.stdout
