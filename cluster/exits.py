"""How a command ends: its exit codes, and the one way to be told to stop."""

DONE = 0
FAILED = 1  # something went wrong on the way
REFUSED = 2  # what was asked for can't be done: usage or input
INTERRUPTED = 130  # 128 + SIGINT, as shells have it


class Interrupted(BaseException):
    """Ctrl-C, or somebody asked this process to end. No `except Exception` swallows it."""
