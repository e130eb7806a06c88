from __future__ import annotations

from benchmark.cli import main

if __name__ == "__main__":
    main(prog_name="tools/bench")
