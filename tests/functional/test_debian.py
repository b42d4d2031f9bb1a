"""tests/lab/debian's promises, with a root folder of nothing but busybox in the place of Debian's."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from labkit.hypervisor import PROJECT
from labkit.shell import lines, run

SCRIPT = str(PROJECT / "tests/lab/debian")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache folder in which the root of Debian 13 has been made already."""
    root = tmp_path / "debian13"
    for name in ("bin", "dev", "etc/ssl/certs", "proc", "run", "srv", "sys", "tmp", "var/lib/vnetd-lab/old"):
        (root / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    for name in set(run("/bin/busybox", "--list").split()) - {"busybox"}:
        (root / "bin" / name).symlink_to("/bin/busybox")
    return tmp_path


def inside(cache: Path, command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "VNETD_LAB_CACHE": str(cache), "MAKEFLAGS": "-n"}
    return subprocess.run([SCRIPT, "13", "sh", "-c", command], env=environment, capture_output=True, text=True, timeout=60, check=False)


def left_of(cache: Path) -> list[str]:
    """What of the root is still mounted."""
    return [line for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines() if str(cache) in line]


def test_a_command_has_the_checkout_and_its_status_comes_back(cache: Path) -> None:
    (cache / "debian13/srv/vnetd/.venv").mkdir(parents=True)
    (cache / "debian13/srv/vnetd/gone-since").touch()
    done = inside(cache, "pwd; ls -a; cat Makefile; ls .venv /var/lib; env; exit 7")
    assert done.returncode == 7, done
    said = done.stdout.splitlines()
    assert said[0] == "/srv/vnetd"
    assert (PROJECT / "Makefile").read_text(encoding="utf-8") in done.stdout
    assert {"README.md", ".venv", "HOME=/root"} <= set(said)
    assert not {".git", "gone-since", "pyvenv.cfg", "vnetd-lab", "MAKEFLAGS=-n"} & set(said)
    assert done.stderr == ""
    assert left_of(cache) == []


def test_orphans_are_reaped_and_gone_with_the_command(cache: Path) -> None:
    mark = f"{1000 + os.getpid()}.5"
    done = inside(cache, f"(sleep 0 &); (sleep {mark} &); sleep 0.5; ps -o stat,args")
    assert f"sleep {mark}" in done.stdout
    assert [line for line in done.stdout.splitlines() if line.startswith("Z")] == []
    assert lines(["pgrep", "-f", f"sleep {mark}"]) == []


@pytest.mark.parametrize("signal", ["TERM", "KILL"])
def test_what_ends_the_script_ends_all_of_it(cache: Path, signal: str) -> None:
    mark = f"{2000 + os.getpid()}.5"
    environment = {**os.environ, "VNETD_LAB_CACHE": str(cache)}
    with subprocess.Popen([SCRIPT, "13", "sh", "-c", f"sleep {mark}; echo on"], env=environment, stdout=subprocess.PIPE) as script:
        wait_for(lambda: lines(["pgrep", "-x", "-f", f"sleep {mark}"]) != [])
        run("kill", f"-{signal}", str(script.pid))
        assert script.communicate(timeout=10)[0] == b""
    wait_for(lambda: lines(["pgrep", "-f", f"sleep {mark}"]) == [])
    assert left_of(cache) == []


@pytest.mark.parametrize("words", [(), ("13",), ("11", "true"), ("trixie", "true")])
def test_a_mistake_is_one_line(words: tuple[str, ...]) -> None:
    done = subprocess.run([SCRIPT, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "usage: tests/lab/debian 12|13 COMMAND…\n")


def wait_for(condition: object) -> None:
    end = time.monotonic() + 10
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.05)
