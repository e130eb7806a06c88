from __future__ import annotations

from traversal.cli import main

if __name__ == "__main__":  # also imported by the processes that it starts
    main()
