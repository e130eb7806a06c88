"""`python -m l2mesh` is `l2mesh`."""

from __future__ import annotations

from l2mesh.app.cli import main

if __name__ == "__main__":
    main()
