"""A run that loses a rank ends, and goes on with another number of them."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.support.fitting import fit, fit_as_rank
from tests.support.ranks import free_port, needs_ranks, run_ranks, start_ranks

pytestmark = [
    needs_ranks,
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint"),
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
]

Run = tuple[dict[str, Tensor], Path]


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The final state of one process that nothing happened to, and where its checkpoints are."""
    folder = tmp_path_factory.mktemp("whole")
    return fit(folder), folder


def test_one_process_goes_on_as_two(whole_run: Run, tmp_path: Path) -> None:
    expected, folder = whole_run
    checkpoint = str(folder / "step=4.ckpt")
    run_ranks(fit_as_rank, (str(tmp_path), checkpoint, 2, free_port(), 60.0, None), 2)
    for rank in range(2):
        state = torch.load(tmp_path / f"state-{rank}.pt", weights_only=True)
        torch.testing.assert_close(state, expected, rtol=1e-5, atol=1e-5)


# One dies, and the others notice a closed connection; one hangs, and they notice nothing.
@pytest.mark.parametrize("lost", [signal.SIGKILL, signal.SIGSTOP])
def test_lost_rank_ends_the_run_which_one_process_finishes(
    lost: signal.Signals, whole_run: Run, tmp_path: Path
) -> None:
    ranks = start_ranks(fit_as_rank, (str(tmp_path), None, 2, free_port(), 10.0, lost), 2)
    first, last = ranks.processes
    try:
        first.join(120)  # far below the half hour that is the default of torch
        assert first.exitcode not in (None, 0)
    finally:
        for process in (first, last):
            process.kill()
            process.join()
    assert (tmp_path / "error-0.txt").is_file()
    state = fit(tmp_path / "resumed", tmp_path / "last.ckpt")
    torch.testing.assert_close(state, whole_run[0], rtol=1e-5, atol=1e-5)
