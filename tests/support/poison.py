"""`veilfarm`, but a film whose name begins with "poison" has a chunk that kills its worker, each time. Importable on
every worker. On SIGUSR1 controller and workers write where they are into the folder VEILFARM_TEST_STACKS."""

import faulthandler
import os
import signal
import sys
from pathlib import Path

from cluster import cli, farmcommands
from cluster.job import ChunkRecord, RenderFacts
from cluster.steps import PipelineSteps
from cluster.workers import Setup, Tick


class PoisonedSteps(PipelineSteps):
    """The real ones, but for that."""

    def prepare(self, device_name: str, threads: int) -> None:
        """See Steps."""
        tell_stacks()
        super().prepare(device_name, threads)

    def render(
        self, setup: Setup, chunk: ChunkRecord, analysis: Path, linked: Path, into: Path, tick: Tick
    ) -> RenderFacts:
        """See Steps."""
        if setup.source.name.startswith("poison") and chunk.index == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().render(setup, chunk, analysis, linked, into, tick)


def tell_stacks() -> None:
    """From now on."""
    if folder := os.environ.get("VEILFARM_TEST_STACKS"):
        file = open(Path(folder) / f"{os.getpid()}.stacks", "w")  # noqa: SIM115  for as long as the process lives
        faulthandler.register(signal.SIGUSR1, file, all_threads=True)


def main() -> None:
    """The command."""
    tell_stacks()
    farmcommands.PipelineSteps = PoisonedSteps  # type: ignore[misc]
    cli.main()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    from poison import main as imported  # so that workers find the steps by the name of this module

    imported()
