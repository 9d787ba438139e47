"""Shell completion: what is printed is what a shell can read, and it completes."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command import VEILFARM, veilfarm


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_what_is_printed_is_a_script_for_the_shell(shell: str) -> None:
    ran = veilfarm("completion", shell)
    assert (ran.code, ran.err) == (0, "")
    assert "_VEILFARM_COMPLETE" in ran.out
    if program := shutil.which(shell):
        option = "--no-execute" if shell == "fish" else "-n"
        subprocess.run([program, option], input=ran.out, text=True, check=True, capture_output=True)


@pytest.mark.parametrize(("typed", "found"), [("veilfarm pri", "priority"), ("veilfarm submit --mani", "--manifest")])
def test_bash_completes(typed: str, found: str) -> None:
    script = (
        "source <(veilfarm completion bash); COMP_WORDS=($1); COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 )); "
        '_veilfarm_completion veilfarm; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    path = f"{Path(VEILFARM).parent}:/usr/bin:/bin"
    ran = subprocess.run(
        ["bash", "-c", script, "bash", typed], capture_output=True, text=True, check=True, env={"PATH": path}
    )
    assert ran.stdout.split() == [found]


def test_other_shells_are_refused() -> None:
    ran = veilfarm("completion", "tcsh")
    assert ran.code == 2
    assert ran.complaint


def test_a_command_loads_nothing_heavy() -> None:
    """It begins in 0.2 s; each of these takes longer than that alone, or a good part of it."""
    heavy = ("torch", "ray", "av", "cv2", "onnxruntime", "fastapi", "pydantic", "urllib3", "minio", "numpy")
    code = f"import sys, cluster.commands; print([name for name in {heavy!r} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
