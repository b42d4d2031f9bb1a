"""pytest on the kernel's data plane: in kernels of the lab's own, one for each processor, and one closing line for all."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from labkit import LabError
from labkit.hypervisor import PROJECT
from labkit.image import image
from labkit.kernel import Boot, Kernel, unpacked
from suites import dealt

MOST_KERNELS = 2
LIMIT_SECONDS = 3600
"""A kernel that has not ended by then has hung."""
CLOSING = re.compile(rb"^(?:=+ )?((?:\d+ [a-z]+(?:, )?)+) in [\d.]+s.*$", re.MULTILINE)
COLOR = re.compile(rb"\x1b\[[\d;]*m")
ORDER = ("failed", "passed", "skipped", "deselected", "xfailed", "xpassed", "warnings", "errors")
"""As in pytest's closing line."""


@dataclass
class Share:
    """What one kernel does, and what it has said."""

    number: int
    processor: int
    words: Sequence[str]
    heard: bytearray = field(default_factory=bytearray)
    trouble: str = ""
    status: int | None = None
    boot: Boot | None = None

    def run(self) -> None:
        """Boot, test, end; whatever goes wrong is told in words."""
        command = [str(PROJECT / ".venv/bin/python"), "-m", "pytest", "-p", "no:cacheprovider", "--data-plane=kernel"]
        command += [f"--color={'yes' if sys.stdout.isatty() else 'no'}", *self.words]
        try:
            with Kernel(processor=self.processor).started(command) as boot:
                self.boot = boot
                for piece in boot.output():
                    self.heard += piece
                self.status = boot.wait()
        except LabError as error:
            self.trouble = self.trouble or str(error)
        if not self.counts and not self.trouble:
            self.trouble = f"pytest ended with status {self.status} and without a closing line"

    def stop(self, why: str) -> None:
        """End it now."""
        self.trouble = why
        if self.boot is not None:
            self.boot.end()

    @property
    def counts(self) -> Counter[str]:
        """Passed, failed and so on, by the last line of pytest's."""
        lines = CLOSING.findall(COLOR.sub(b"", self.heard))
        words = [part.split() for part in lines[-1].decode().split(", ")] if lines else []
        # One of a kind is in the singular.
        return Counter({kind + "s" if kind in ("error", "warning") else kind: int(many) for many, kind in words})


def main() -> int:
    """Run the selection, or what is asked for; 0 if all has passed."""
    parser = argparse.ArgumentParser(prog="test-kernel", description=__doc__, epilog="Other words are pytest's own, as -k attacks.")
    most = min(MOST_KERNELS, len(os.sched_getaffinity(0)))
    parser.add_argument("--kernels", type=int, choices=range(1, most + 1), default=most, help="how many (default: %(default)s)")
    parser.add_argument("paths", nargs="*", help="what to test (default: the selection of tests/functional/suites.py)")
    arguments, words = parser.parse_known_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    os.chdir(PROJECT)
    began = time.monotonic()
    try:
        unpacked()
        image()
        shares = _shares(arguments.kernels, arguments.paths, words)
    except LabError as error:
        sys.stderr.write(f"test-kernel: {error}\n")
        return 125
    threads = [threading.Thread(target=share.run) for share in shares]
    for thread in threads:
        thread.start()
    try:
        for share, thread in zip(shares, threads, strict=True):
            _show(share, thread, len(shares), began + LIMIT_SECONDS)
    finally:
        for share, thread in zip(shares, threads, strict=True):
            if thread.is_alive():
                share.stop("it was interrupted")
                thread.join()
    print(closing_line(shares, time.monotonic() - began))
    return int(any(share.trouble or share.status for share in shares))


def _shares(kernels: int, paths: Sequence[str], words: Sequence[str]) -> list[Share]:
    processors = sorted(os.sched_getaffinity(0))[-kernels:]
    parts = [list(paths)] if paths else dealt(len(processors))
    return [Share(number + 1, processors[number], [*part, *words]) for number, part in enumerate(parts)]


def _show(share: Share, thread: threading.Thread, of: int, end: float) -> None:
    """What pytest says in one kernel, as it says it; what another has said meanwhile comes after it."""
    print(f"\nkernel {share.number} of {of}, on processor {share.processor}:", flush=True)
    shown = 0
    while True:
        over = not thread.is_alive()
        piece = bytes(share.heard[shown:])
        sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        shown += len(piece)
        if over and not piece:
            break
        if not over and time.monotonic() > end:
            share.stop(f"it had not ended after {LIMIT_SECONDS} s")
        thread.join(0.2)
    if share.trouble:
        print(f"kernel {share.number}: {share.trouble}", flush=True)


def closing_line(shares: Sequence[Share], seconds: float) -> str:
    """The sum, in pytest's form. A kernel that did not come back is an error."""
    total = sum((share.counts for share in shares), Counter[str]())
    total["errors"] += sum(bool(share.trouble) for share in shares)
    counts = [f"{total[kind]} {kind.removesuffix('s') if total[kind] == 1 else kind}" for kind in ORDER if total[kind]]
    minutes, rest = divmod(int(seconds), 60)
    return f"{', '.join(counts)} in {seconds:.2f}s" + (f" ({minutes // 60}:{minutes % 60:02}:{rest:02})" if minutes else "")
