"""The lab's own promises, by its command line, as anyone would use it."""

from __future__ import annotations

import os
import subprocess
import time

import pytest
from labkit.hypervisor import PROJECT, STATE, Lab
from labkit.shell import lines

LAB = str(PROJECT / "tests/lab/lab")


def lab(prefix: str, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([LAB, "--prefix", prefix, *words], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == status, done
    return done


def test_up_is_repeatable_exec_passes_the_status_and_down_leaves_nothing(fresh_lab: Lab) -> None:
    prefix = fresh_lab.prefix
    began = time.monotonic()
    lab(prefix, "up", "2")
    print(f"two hypervisors in {time.monotonic() - began:.1f} s")
    pids = [fresh_lab.pid(name) for name in ("hv1", "hv2")]
    lab(prefix, "up", "2")
    assert [fresh_lab.pid(name) for name in ("hv1", "hv2")] == pids
    assert lab(prefix, "exec", "hv2", "--", "hostname").stdout == "hv2\n"
    lab(prefix, "exec", "hv1", "--", "sh", "-c", "exit 7", status=7)
    assert "vnetd runs" in lab(prefix, "status").stdout
    assert lab(prefix, "exec", "hv1", "--", "ping", "-c1", "-W2", "hv2").returncode == 0
    lab(prefix, "down")
    assert _left(fresh_lab) == []
    lab(prefix, "down")


def test_down_cleans_up_after_a_crash_and_leaves_other_labs_alone(fresh_lab: Lab) -> None:
    other = f"o{os.getpid() % 100000}"
    try:
        lab(other, "up", "1")
        lab(fresh_lab.prefix, "up", "1")
        pid = fresh_lab.pid("hv1")
        # The crash: the state that tells what runs is lost, and so is everything's parent.
        (STATE / fresh_lab.prefix / "hv1/init.pid").unlink()
        assert pid
        lab(fresh_lab.prefix, "down")
        assert _left(fresh_lab) == []
        assert lab(other, "exec", "hv1", "--", "virsh", "-q", "list").stdout.strip() == ""
    finally:
        lab(other, "down")
    assert _left(Lab(other)) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("exec", "hv9", "--", "true"), "no hypervisor hv9"),
        (("run", "nobody", "--", "true"), "no guest nobody"),
        (("up", "0"), "1 to 99"),
        (("exec", "hv1"), "after --"),
    ],
)
def test_a_mistake_is_one_line(fresh_lab: Lab, words: tuple[str, ...], said: str) -> None:
    done = lab(fresh_lab.prefix, *words, status=1)
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def _left(lab: Lab) -> list[str]:
    spaces = [line for line in lines(["ip", "netns", "list"]) if line.startswith(f"{lab.prefix}-")]
    processes = lines(["pgrep", "-f", f"{STATE}/{lab.prefix}/"])
    return spaces + processes + [str(path) for path in STATE.glob(f"{lab.prefix}/*")]
