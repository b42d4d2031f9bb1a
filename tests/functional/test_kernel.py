"""The lab's own kernel, from outside: a command in there is a command here, and nothing of it stays."""

from __future__ import annotations

import signal
import subprocess
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


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the kernels of this test keep what they need, and no others do."""
    found = tmp_path / "kernels"
    found.mkdir()
    monkeypatch.setenv("TMPDIR", str(found))
    return found


def test_output_status_and_folders_come_back_and_nothing_stays(folder: Path, tmp_path: Path) -> None:
    command = f"uname -n; lsmod | grep -c ^openvswitch; echo written > {tmp_path}/here; echo lost > /root/lab-kernel-was-here; exit 7"
    words = [KERNEL, "run", "-o", str(tmp_path), "--", "sh", "-c", command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert (done.returncode, done.stdout, done.stderr) == (7, "lab-kernel\n1\n", "")
    assert (tmp_path / "here").read_text() == "written\n"
    assert not Path("/root/lab-kernel-was-here").exists()
    assert not list(folder.iterdir())
    assert not _processes(folder)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_whoever_started_it(folder: Path, number: signal.Signals) -> None:
    process = subprocess.Popen([KERNEL, "run", "--", "sh", "-c", "echo up; sleep 600"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    assert _processes(folder)
    process.send_signal(number)
    assert process.wait(SECONDS)
    end = time.monotonic() + SECONDS
    while _processes(folder):
        assert time.monotonic() < end, "processes are left"
        time.sleep(0.1)
    # Nobody can clean up who is killed.
    assert number == signal.SIGKILL or not list(folder.iterdir())


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


def _processes(folder: Path) -> list[str]:
    """Those of kernels whose folder is in this one."""
    return [line for line in lines(["ps", "-wweo", "args"]) if f"lab_folder={folder}/" in line]
