"""Tests that need a GPU: skipped where there is none, failing where one is promised (VEILFARM_REQUIRE_GPU=1)."""

import os

import pytest
import torch


@pytest.fixture
def cuda() -> torch.device:
    """The GPU, with full floats in convolutions: TF32 would move colours by a step."""
    if not torch.cuda.is_available():
        if os.environ.get("VEILFARM_REQUIRE_GPU") == "1":
            pytest.fail("VEILFARM_REQUIRE_GPU=1, but PyTorch finds no CUDA device")
        pytest.skip("no CUDA here")
    torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda")
