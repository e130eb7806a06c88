"""What the processor does fast."""

from __future__ import annotations

from pathlib import Path


def aes_is_fast(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether there are AES instructions: `flags` of x86, `Features` of ARM. Unknown counts as no."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return False
    words = next((line.split() for line in lines if line.startswith(("flags", "Features"))), [])
    return "aes" in words
