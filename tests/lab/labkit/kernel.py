"""A kernel of the lab's own: Debian's user-mode Linux, which has Open vSwitch's module where this machine's kernel may have none.

It runs as an ordinary process, on this machine's files: they are read-only below what it
writes, which it keeps in its memory. So it needs no disk image, no virtualization and no
guest of its own, and nothing that happens inside reaches this machine.
"""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from labkit import LabError
from labkit.image import cache_folder
from labkit.shell import run, try_run

PACKAGE = "user-mode-linux"
INIT = Path(__file__).with_name("kernel-init.sh")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PASSED_ON = re.compile(r"(VNETD|PYTEST|HYPOTHESIS)_|TERM$")
"""The variables of the caller's that a command in there gets, too."""
PATIENCE = "4"
"""How many times as long as elsewhere the lab waits in there: a process takes 15 ms to start, and a page fault 0.1 ms."""
SHARED_MEMORY = Path("/dev/shm")


def unpacked() -> Path:
    """A folder with the kernel and its modules: fetched from Debian when it is not there."""
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    target = cache / "kernel"
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=cache) as name:
                work = Path(name)
                work.chmod(0o755)  # apt-get fetches as a user of its own.
                _fetch(work)
                _arrange(work).rename(target)
    return target


def _fetch(work: Path) -> None:
    """The package, in a folder of its own: nothing is installed. A machine may never have asked for the list of packages."""
    command = ["sh", "-c", f"cd {shlex.quote(str(work))} && apt-get -q download {PACKAGE}"]
    try:
        run(*command, timeout=600)
    except LabError:
        run("apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", "update", timeout=600)
        run(*command, timeout=600)


def _arrange(work: Path) -> Path:
    """What the package has, where it can be used: releases of Debian put it in different places, and compress modules or do not."""
    run("dpkg-deb", "-x", str(next(work.glob(f"{PACKAGE}_*.deb"))), str(work / "deb"))
    found = [path.parent for path in (work / "deb").rglob("modules/*/kernel") if path.is_dir()]
    kernels = [path for path in (work / "deb").rglob("bin/linux*") if path.is_file() and os.access(path, os.X_OK)]
    if len(found) != 1 or len(kernels) != 1:
        raise LabError(f"Debian's package {PACKAGE} has no kernel with modules where they are looked for")
    modules, made = found[0], work / "made"
    (made / "lib/modules").mkdir(parents=True)
    made.chmod(0o755)
    kernels[0].rename(made / "linux")
    modules.rename(made / "lib/modules" / modules.name)
    run("depmod", "-b", str(made), modules.name)
    return made


@dataclass(frozen=True)
class Kernel:
    """How one is to be started."""

    memory: str = "6G"
    """The most that it may take; what it does not use is not taken."""
    processor: int | None = None
    """The only one that all of it runs on: free to move, each system call wakes another processor, and all is three times slower."""
    shared: Sequence[Path] = ()
    """Folders that both sides write to."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """More of them for the command."""
    talkative: bool = False
    """Whether the kernel's own messages are shown."""

    @contextmanager
    def started(self, command: Sequence[str], shell: bool = False) -> Iterator[Boot]:
        """The command at work in a kernel of its own, until that has ended; a shell has this terminal for itself."""
        with tempfile.TemporaryDirectory(prefix="lab-kernel-") as name:
            folder = Path(name)
            self._write_settings(folder, command, shell)
            boot = Boot(folder, self._launch(folder, shell))
            try:
                yield boot
            finally:
                boot.end()

    def _write_settings(self, folder: Path, command: Sequence[str], shell: bool) -> None:
        """What PID 1 in there reads, and the command as a script."""
        base = unpacked()
        version = next((base / "lib/modules").iterdir()).name
        shared = [path.resolve() for path in self.shared]
        settings = {"base": str(base), "version": version, "shell": "yes" if shell else ""}
        lines = [f"{name}={shlex.quote(value)}" for name, value in settings.items()]
        lines.append(f"shared=({shlex.join(str(path) for path in shared)})")
        (folder / "settings").write_text("\n".join(lines) + "\n")
        passed = {name: value for name, value in os.environ.items() if PASSED_ON.match(name)}
        variables = {"PATH": PATH, "HOME": "/root", "LC_ALL": "C.UTF-8", "VNETD_LAB_PATIENCE": PATIENCE, **passed, **self.variables}
        script = [f"cd {shlex.quote(os.getcwd())}", *(f"export {name}={shlex.quote(value)}" for name, value in variables.items())]
        (folder / "command").write_text("\n".join([*script, f"exec {shlex.join(command)}"]) + "\n")

    def _launch(self, folder: Path, shell: bool) -> subprocess.Popen[bytes]:
        """The process of the kernel. It dies with this one, and all that it has started with it."""
        words = [f"mem={self.memory}", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", f"init={INIT}", f"lab_folder={folder}"]
        # The console is the kernel's own; the command has a terminal of its own, on which nobody else writes.
        words += [f"uml_dir={folder}", "umid=lab", "con=null", "ssl=null", "con1=fd:0,fd:1" if shell else "con1=null,fd:1", "panic=-1"]
        words += ["con0=null,fd:2", "debug", "loglevel=7"] if self.talkative else ["con0=null", "quiet", "loglevel=1"]
        command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child", str(unpacked() / "linux"), *words]
        if self.processor is not None:
            command = ["taskset", "-c", str(self.processor), *command]
        with (folder / "errors").open("wb") as errors:
            return subprocess.Popen(
                command,
                stdin=None if shell else subprocess.DEVNULL,
                stdout=None if shell else subprocess.PIPE,
                stderr=None if self.talkative else errors,
                env={**os.environ, "TMPDIR": str(_memory_folder())},
                start_new_session=not shell,
            )


def _memory_folder() -> Path:
    """Where the kernel keeps the file that is its memory: it must be allowed to run code there, and a disk would be slow."""
    flags = try_run("findmnt", "-no", "OPTIONS", "-T", str(SHARED_MEMORY)).strip().split(",")
    return SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) and "noexec" not in flags else Path(tempfile.gettempdir())


@dataclass
class Boot:
    """A kernel that has been started."""

    folder: Path
    process: subprocess.Popen[bytes]

    def output(self) -> Iterator[bytes]:
        """What comes from the command, as it comes."""
        assert self.process.stdout is not None
        while piece := self.process.stdout.read1(65536):  # type: ignore[attr-defined]
            yield piece

    def wait(self) -> int:
        """The command's exit status, when the kernel has ended."""
        self.process.wait()
        try:
            return int((self.folder / "status").read_text())
        except (OSError, ValueError):
            errors = (self.folder / "errors").read_text(errors="replace")[-4000:]
            raise LabError(f"the kernel ended before its command did:\n{errors}") from None

    def end(self) -> None:
        """No process of it is left, whatever has happened."""
        # unshare takes the kernel with it, and that everything inside.
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
