"""The lab's own kernel, from outside: a command in there is a command here, and nothing of it stays."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
import suites
from kernel_run import Share, closing_line
from labkit.hypervisor import PROJECT
from labkit.shell import lines

KERNEL = str(PROJECT / "tests/lab/kernel")
SECONDS = 120
"""Far more than it takes on a machine that has much else to do."""


def test_output_status_and_folders_come_back_and_nothing_stays(tmp_path: Path) -> None:
    before = _left()
    command = f"uname -n; lsmod | grep -c ^openvswitch; echo written > {tmp_path}/here; echo lost > /root/lab-kernel-was-here; exit 7"
    done = subprocess.run(
        [KERNEL, "run", "-o", str(tmp_path), "--", "sh", "-c", command], capture_output=True, text=True, check=False, timeout=SECONDS
    )
    assert (done.returncode, done.stdout, done.stderr) == (7, "lab-kernel\n1\n", "")
    assert (tmp_path / "here").read_text() == "written\n"
    assert not Path("/root/lab-kernel-was-here").exists()
    assert _left() == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_whoever_started_it(number: signal.Signals) -> None:
    before = _left()
    process = subprocess.Popen([KERNEL, "run", "--", "sh", "-c", "echo up; sleep 600"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    folders = _left()[1] - before[1]
    process.send_signal(number)
    assert process.wait(SECONDS)
    end = time.monotonic() + SECONDS
    while _left()[0] != before[0]:
        assert time.monotonic() < end, "processes are left"
        time.sleep(0.1)
    if number != signal.SIGKILL:
        assert _left() == before
    for folder in folders & _left()[1]:
        subprocess.run(["rm", "-r", folder], check=True)


def test_every_file_of_tests_runs_on_the_kernels_data_plane_or_has_a_reason_not_to() -> None:
    folder = PROJECT / suites.FOLDER
    for path in folder.rglob("test_*.py"):
        name = path.relative_to(folder)
        chosen = [one for one in suites.SECONDS if one in (str(name), str(name.parent))]
        assert len(chosen) + (str(name) in suites.LEFT_OUT) == 1, name
    for name in (*suites.SECONDS, *suites.LEFT_OUT):
        assert (folder / name).exists(), name


def test_the_shares_are_the_selection_and_about_equal() -> None:
    for many in (1, 2):
        shares = suites.dealt(many)
        assert sorted(path for share in shares for path in share) == sorted(f"{suites.FOLDER}/{one}" for one in suites.SECONDS)
        sums = [sum(suites.SECONDS[path.removeprefix(f"{suites.FOLDER}/")] for path in share) for share in shares]
        assert max(sums) <= 1.2 * min(sums), sums


def test_one_closing_line_for_all_kernels() -> None:
    """In pytest's own form; what is in colour counts as well, and a kernel that does not come back is an error."""
    one = Share(
        1, 0, [], bytearray(b"..F\n\x1b[31m=== \x1b[31m\x1b[1m1 failed\x1b[0m, \x1b[32m2 passed\x1b[0m\x1b[31m in 3.00s\x1b[0m ===\n")
    )
    other = Share(2, 1, [], bytearray(b".s\n==== 1 passed, 1 skipped in 61.50s (0:01:01) ====\n"))
    assert closing_line([one, other], 64.25) == "1 failed, 3 passed, 1 skipped in 64.25s (0:01:04)"
    other.heard, other.trouble = bytearray(b"."), "the kernel ended before its command did"
    assert closing_line([one, other], 3) == "1 failed, 2 passed, 1 error in 3.00s"


def _left() -> tuple[set[str], set[str]]:
    """Processes of kernels that this process's user has started, and folders of theirs; others may run some at the same time."""
    mine = [line for line in lines(["ps", "-eo", "pid,args"]) if str(PROJECT / "tests/lab/labkit/kernel-init.sh") in line]
    return {line.split()[0] for line in mine if int(line.split()[0]) != os.getpid()}, {
        str(path) for path in Path(tempfile.gettempdir()).glob("lab-kernel-*") if _is_mine(path)
    }


def _is_mine(folder: Path) -> bool:
    """Whether the kernel of a folder was started from here."""
    try:
        return f"cd {os.getcwd()}\n" in (folder / "command").read_text()
    except OSError:
        return False
