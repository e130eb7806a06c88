"""What the lab raises."""

from __future__ import annotations


class LabError(RuntimeError):
    """A namespace, a rule set or a program of the lab failed; the text says which and what it printed."""
