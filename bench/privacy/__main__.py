"""`python bench/privacy`: see `command`."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # where `clips` and this package are
    from privacy.command import main

    sys.exit(main(sys.argv[1:]))
