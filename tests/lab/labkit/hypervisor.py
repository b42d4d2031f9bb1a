"""Hypervisors: namespaces around a private libvirtd, Open vSwitch and vnetd, joined by an underlay."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from labkit import LabError
from labkit.shell import ip, lines, run, try_run

STATE = Path("/var/lib/vnetd-lab")
PROJECT = Path(__file__).resolve().parents[3]
START_SECONDS = 30 * int(os.environ.get("VNETD_LAB_PATIENCE", "1"))


def datapath_type() -> str:
    """Of the hosts' bridges; "system" is the kernel's own data plane, on a machine whose kernel has one."""
    return os.environ.get("VNETD_LAB_DATAPATH", "netdev")


class Lab:
    """One lab; its prefix keeps it apart from others on the same machine."""

    def __init__(self, prefix: str) -> None:
        if not prefix.isalnum() or len(prefix) > 12:
            raise LabError("a lab's prefix is 1 to 12 letters and digits")
        self.prefix = prefix
        self.folder = STATE / prefix
        self.underlay = f"{prefix}-underlay"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Only one `up` or `down` at a time."""
        STATE.mkdir(parents=True, exist_ok=True)
        path = STATE / f"{self.prefix}.lock"
        while True:
            with path.open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                # Whoever held it before may have removed the file, so that another holds a newer one.
                if path.exists() and path.stat().st_ino == os.fstat(lock.fileno()).st_ino:
                    yield
                    return

    def up(self, count: int, daemon: bool = True, mtu: int = 1500) -> None:
        """Hypervisors hv1 to hv<count> with NICs of this MTU on the underlay, those that run already left as they are."""
        if not (PROJECT / ".venv/bin/vnetd").exists():
            raise LabError("vnetd is not installed in .venv; run make setup")
        self._make_underlay()
        starting = [self._start(index, count, daemon, mtu) for index in range(1, count + 1) if not self.alive(f"hv{index}")]
        for name, process in starting:
            self._await(name, process)

    def down(self) -> None:
        """Everything of this lab's, also what a crash has left."""
        spaces = [line.split()[0] for line in lines(["ip", "netns", "list"]) if line.startswith(f"{self.prefix}-")]
        for name in self.names():
            self._kill(self.pid(name))
        for space in spaces:
            for pid in lines(["ip", "netns", "pids", space]):
                self._kill(int(pid))
        for space in spaces:
            _wait(lambda space=space: not lines(["ip", "netns", "pids", space]), 10, f"processes of {space} do not end")
            try_run("ip", "netns", "del", space)
        shutil.rmtree(self.folder, ignore_errors=True)
        (STATE / f"{self.prefix}.lock").unlink(missing_ok=True)
        if any(STATE.iterdir()):
            return
        # The last lab takes what all shared. Were another still up, removing the folder that its hypervisors
        # mount their own settings on would take those mounts away in there.
        STATE.rmdir()
        settings = Path("/etc/vnetd")
        if settings.is_dir() and not any(settings.iterdir()):
            settings.rmdir()

    def names(self) -> list[str]:
        """The hypervisors that were started, in order."""
        found = [path.name for path in self.folder.glob("hv*") if path.is_dir()]
        return sorted(found, key=lambda name: int(name[2:]))

    def alive(self, name: str) -> bool:
        """Whether this hypervisor runs."""
        pid = self.pid(name)
        return pid is not None and Path(f"/proc/{pid}").exists() and (self.folder / name / "ready").exists()

    def pid(self, name: str) -> int | None:
        """The hypervisor's PID 1, as seen from outside."""
        try:
            return int((self.folder / name / "init.pid").read_text())
        except (OSError, ValueError):
            return None

    def root(self, name: str) -> Path:
        """The hypervisor's root folder, as seen from outside."""
        if not self.alive(name):
            raise LabError(f"there is no hypervisor {name} in lab {self.prefix}; lab up starts {', '.join(self.names()) or 'them'}")
        return Path(f"/proc/{self.pid(name)}/root")

    def command(self, name: str, command: Sequence[str]) -> list[str]:
        """``command`` as one that runs inside the hypervisor, in the same folder."""
        self.root(name)
        path = f"{PROJECT}/.venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        inside = ["nsenter", "-t", str(self.pid(name)), "-m", "-u", "-n", "-p", "--", "env", f"PATH={path}", "LC_ALL=C.UTF-8"]
        return [*inside, "sh", "-c", 'cd "$1" 2>/dev/null || cd /; shift; exec "$@"', "sh", os.getcwd(), *command]

    def run(self, name: str, *command: str, stdin: str | None = None, timeout: float = 60) -> str:
        """The output of a command inside the hypervisor that must succeed."""
        return run(*self.command(name, command), stdin=stdin, timeout=timeout)

    def cut(self, *names: str) -> None:
        """Take these hypervisors off the underlay, as when they die: to the others there is no difference."""
        for name in names:
            ip("-n", self.underlay, "link", "set", f"{name}-eth0", "down")

    def mend(self, *names: str) -> None:
        """Undo ``cut``."""
        for name in names:
            ip("-n", self.underlay, "link", "set", f"{name}-eth0", "up")

    def set_mtu(self, mtu: int, path_only: bool = False) -> None:
        """The underlay's MTU from now on: of the hypervisors' NICs too, or only of the path between them, which nobody tells them of.

        What is larger gets lost there without a word, as on a switch.
        """
        for name in self.names():
            ip("-n", self.underlay, "link", "set", f"{name}-eth0", "mtu", str(mtu))
            if not path_only:
                ip("-n", f"{self.prefix}-{name}", "link", "set", "eth0", "mtu", str(mtu))

    def _make_underlay(self) -> None:
        if self.underlay in try_run("ip", "netns", "list").split():
            return
        ip("netns", "add", self.underlay)
        for bridge in ("underlay", "trunk"):
            ip("-n", self.underlay, "link", "add", bridge, "type", "bridge", "mcast_snooping", "0")
            ip("-n", self.underlay, "link", "set", bridge, "up")

    def _start(self, index: int, count: int, daemon: bool, mtu: int) -> tuple[str, subprocess.Popen[bytes]]:
        name, space = f"hv{index}", f"{self.prefix}-hv{index}"
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "etc-libvirt").mkdir(parents=True)
        try_run("ip", "netns", "del", space)
        ip("netns", "add", space)
        ip("-n", space, "link", "set", "lo", "up")
        for device, bridge in (("eth0", "underlay"), ("eth1", "trunk")):
            end = f"{name}-{device}"
            ip("-n", self.underlay, "link", "add", end, "type", "veth", "peer", "name", device, "netns", space)
            ip("-n", self.underlay, "link", "set", end, "master", bridge, "up")
            if bridge == "underlay":
                ip("-n", self.underlay, "link", "set", end, "mtu", str(mtu))
                ip("-n", space, "link", "set", device, "mtu", str(mtu))
        boot = [
            str(Path(__file__).with_name("boot.sh")),
            name,
            str(folder),
            str(PROJECT),
            str(index),
            str(max(count, 99)),
            "yes" if daemon else "no",
            datapath_type(),
        ]
        with (folder / "boot.log").open("wb") as log:
            process = subprocess.Popen(
                ["ip", "netns", "exec", space, "unshare", "--mount", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child", *boot],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/",
            )  # fmt: skip
        return name, process

    def _await(self, name: str, process: subprocess.Popen[bytes]) -> None:
        folder = self.folder / name
        end = time.monotonic() + START_SECONDS
        while not (folder / "ready").exists():
            if process.poll() is not None or time.monotonic() > end:
                raise LabError(f"{name} did not start:\n{(folder / 'boot.log').read_text()[-4000:]}")
            time.sleep(0.01)
        (folder / "init.pid").write_text(run("pgrep", "-P", str(process.pid)).split()[0])

    def _kill(self, pid: int | None) -> None:
        if pid is not None:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                return


def _wait(condition: object, seconds: float, text: str) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        if time.monotonic() > end:
            raise LabError(text)
        time.sleep(0.02)
