"""Commands, run and checked."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from labkit import LabError


def run(*command: str, stdin: str | None = None, timeout: float = 60) -> str:
    """The output of a command that must succeed."""
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)
    except FileNotFoundError:
        raise LabError(f"{command[0]} is not installed; make setup installs what the lab needs") from None
    except subprocess.TimeoutExpired:
        raise LabError(f"{' '.join(command)} did not end within {timeout:g} s") from None
    if done.returncode:
        raise LabError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def try_run(*command: str) -> str:
    """The output of a command that may fail, as when what it removes is gone already."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def ip(*arguments: str) -> str:
    """iproute2."""
    return run("ip", *arguments)


def lines(command: Sequence[str]) -> list[str]:
    """The lines of a command that may fail."""
    return try_run(*command).splitlines()
