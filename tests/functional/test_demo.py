"""make demo, where something that it needs cannot be had: it says what, and does not end as if nothing had been."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from labkit.hypervisor import PROJECT
from labkit.image import image


def demo(cache: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "VNETD_LAB": f"d{os.getpid() % 100000}", "VNETD_LAB_CACHE": str(cache)}
    return subprocess.run([PROJECT / "tests/lab/demo"], env=environment, capture_output=True, text=True, timeout=180, check=False)


def assert_it_says_so(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode != 0
    assert [one for one in words if one not in done.stderr] == [], done.stderr
    assert "== Something is wrong, see above: the demo could not go on" in done.stdout
    assert "Who reaches whom" not in done.stdout
    assert "Traceback" not in done.stderr


def test_guests_that_do_not_start_end_it(tmp_path: Path) -> None:
    kernel, initramfs = image()
    (tmp_path / kernel.name).write_text("no kernel", encoding="ascii")
    (tmp_path / initramfs.name).write_bytes(initramfs.read_bytes())
    assert_it_says_so(demo(tmp_path), "virsh -q start a1: error: ", "not started: a1 a2 b1 b2\n")


def test_an_image_that_cannot_be_made_ends_it(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("", encoding="ascii")
    assert_it_says_so(demo(file), f"lab: the guests' image cannot be made in {file}: ")
