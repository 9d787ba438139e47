"""What can go wrong in the pipeline, as one tree.

    PipelineError
    ├── InputError        the source can't be used as it is
    │   ├── NotAVideo         no such file, empty, another kind of file, no video stream
    │   ├── Truncated         the file ends before its own index says so
    │   ├── Unsupported       encrypted, too large, a codec that can't be read
    │   └── EditRefused       a reviewer's change that can't hold: no such person, two who are seen at once
    ├── OutputError       the result can't be written: exists, not writable, disk full
    ├── DeviceError       the device that was asked for isn't there or failed
    ├── ModelError        a model's file isn't the pinned one
    ├── NoIdentity        no face of nobody was far enough from everyone it must differ from
    ├── LeakError         a face may still show after it was covered, so nothing is released
    └── VerifyError       what was written isn't what had to be written

Errors of av, torch and onnxruntime are translated where those packages are called, with `from error`.
"""


class PipelineError(Exception):
    """One line for a person: what happened, why, and what to do about it."""

    def __init__(self, what: str, why: str = "", todo: str = "") -> None:
        self.what, self.why, self.todo = what, why, todo
        super().__init__("; ".join(part for part in (what, why, todo) if part))

    def __reduce__(self) -> tuple[type["PipelineError"], tuple[str, str, str]]:
        # Exceptions cross process borders: rebuild from the parts, not from the joined line.
        return type(self), (self.what, self.why, self.todo)


class InputError(PipelineError):
    """The source can't be used as it is."""


class NotAVideo(InputError):
    """No such file, an empty one, another kind of file, or no video stream."""


class Truncated(InputError):
    """The file ends before its own index says so."""


class Unsupported(InputError):
    """Encrypted, too large, or in a codec that can't be read."""


class EditRefused(InputError):
    """A reviewer's change that can't hold: no such person, two people who are seen at the same time."""


class OutputError(PipelineError):
    """The result can't be written: it exists, the place isn't writable, or the disk is full."""


class DeviceError(PipelineError):
    """The device that was asked for isn't there, or it failed."""


class ModelError(PipelineError):
    """A model's file isn't the pinned one."""


class NoIdentity(PipelineError):
    """No face of nobody was far enough from everyone it must differ from."""


class LeakError(PipelineError):
    """A face may still show in a chunk after what the leak gate found in it was covered: nothing is released."""


class VerifyError(PipelineError):
    """What was written isn't what had to be written."""
