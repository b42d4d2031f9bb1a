"""Tables to read, in plain text."""

from __future__ import annotations

from collections.abc import Sequence


def columns(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Aligned columns below their heads, or in words that there are no rows."""
    if not rows:
        return f"no {head[0].split()[0].lower()}s"
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (head, *rows))
