from __future__ import annotations


class BenchmarkError(Exception):
    """A system or a measure did not do what it was to do; the message says what."""
