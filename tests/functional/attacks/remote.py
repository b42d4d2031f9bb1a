"""A host's agent as the tests call it: a process inside the host, whose answers are waited for."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from labkit.hypervisor import PROJECT, Lab


class Agent:
    """A host's agent, as JSON lines to and from it. ``program`` may be another than the one beside this file."""

    def __init__(self, lab: Lab, host: str, program: Path | None = None) -> None:
        command = [str(PROJECT / ".venv/bin/python"), "-IS", str(program or Path(__file__).with_name("agent.py"))]
        self._process = subprocess.Popen(lab.command(host, command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, do: str, **words: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **words}) + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the agent has ended"
        found: dict[str, Any] = json.loads(line)
        assert "failed" not in found, found
        return found

    def call(self, do: str, **words: Any) -> dict[str, Any]:
        self.ask(do, **words)
        return self.answer()

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        # Its taps go with it, and each takes the kernel that the tests bring a good part of a second.
        self._process.wait(120)
