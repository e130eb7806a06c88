from __future__ import annotations

from scaling.cli import main

if __name__ == "__main__":
    main()
