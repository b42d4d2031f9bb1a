"""How an agent inside a lab host answers: a line of JSON for each that asks it to do something."""

from __future__ import annotations

import json
import sys


def answer(agent: object, line: str | bytes) -> None:
    """Call the method that the line names with the line's other words, and print what it returns or why it failed."""
    words = json.loads(line)
    try:
        found = getattr(agent, words.pop("do"))(**words)
    except OSError as error:
        found = {"failed": str(error)}
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


def serve(agent: object) -> None:
    """Answer all lines of standard input."""
    for line in sys.stdin:
        answer(agent, line)
