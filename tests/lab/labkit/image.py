"""The guests' kernel and initramfs: made once, kept in a cache folder."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from pathlib import Path

from labkit import LabError
from labkit.shell import run, try_run

INIT = Path(__file__).with_name("guest-init")
MODULES = ("virtio_pci", "virtio_net", "8021q")


def cache_folder() -> Path:
    """Where the image is kept; VNETD_LAB_CACHE names another place."""
    return Path(os.environ.get("VNETD_LAB_CACHE", "/var/cache/vnetd-lab"))


def image() -> tuple[Path, Path]:
    """(kernel, initramfs), made when they are not there or their recipe has changed."""
    cache = cache_folder()
    kernel, initramfs = cache / "vmlinuz", cache / "guest.gz"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            made = initramfs.stat().st_mtime if initramfs.exists() and kernel.exists() else 0
            if made < max(INIT.stat().st_mtime, Path(__file__).stat().st_mtime):
                _make(cache, kernel, initramfs)
    except OSError as error:
        raise LabError(f"the guests' image cannot be made in {cache}: {error}") from None
    return kernel, initramfs


def _make(cache: Path, kernel: Path, initramfs: Path) -> None:
    with tempfile.TemporaryDirectory(dir=cache) as name:
        work = Path(name)
        work.chmod(0o755)  # apt-get fetches as a user of its own.
        version = _unpack(work)
        root = work / "root"
        (root / "bin").mkdir(parents=True)
        (root / "mod").mkdir()
        shutil.copy("/bin/busybox", root / "bin/busybox")
        shutil.copy(INIT, root / "init")
        (root / "init").chmod(0o755)
        _copy_modules(work / "deb", version, root / "mod")
        run("sh", "-c", f"cd {root} && find . | cpio -o -H newc --quiet | gzip -1 > {work}/guest.gz")
        (work / "deb/boot" / f"vmlinuz-{version}").replace(kernel)
        (work / "guest.gz").replace(initramfs)


def _unpack(work: Path) -> str:
    """Fetch Debian's cloud kernel into ``deb`` below ``work``; its version."""
    try:
        package = _download(work)
    except LabError:
        # An index from before the kernel's last update names a file that the mirror has no more.
        run("apt-get", "-qq", "update", timeout=300)
        package = _download(work)
    version, deb = package.removeprefix("linux-image-"), work / "deb"
    run("dpkg-deb", "-x", str(next(work.glob(f"{package}_*.deb"))), str(deb))
    if not (deb / "lib").exists():
        # Debian 13 ships modules in usr/lib, and depmod and modprobe look for them in lib.
        (deb / "lib").symlink_to("usr/lib")
    run("depmod", "-b", str(deb), version)
    return version


def _download(work: Path) -> str:
    """The name of the package that is in ``work`` now."""
    found = re.search(r"Depends: (linux-image-\S+)", try_run("apt-cache", "depends", "linux-image-cloud-amd64"))
    if not found:
        raise LabError("apt-cache knows no linux-image-cloud-amd64; see what apt-get update says")
    run("sh", "-c", f"cd {work} && apt-get download {found[1]}", timeout=300)
    return found[1]


def _copy_modules(base: Path, version: str, target: Path) -> None:
    order: list[str] = []
    for module in MODULES:
        for line in run("modprobe", "-d", str(base), "-S", version, "--show-depends", module).splitlines():
            kind, _, path = line.partition(" ")
            if kind == "insmod" and Path(path.strip()).name not in order:
                order.append(Path(path.strip()).name)
                shutil.copy(path.strip(), target)
    (target / "order").write_text("".join(f"{one}\n" for one in order))
