"""Makes the helpers in tests/support importable; no folder of tests is a package."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "support"))
