"""A run that loses a rank ends, and goes on with another number of them."""

from __future__ import annotations

import itertools
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.fitting import LOST_AT, PSEUDO_LABELS, fit, fit_as_rank
from tests.support.ranks import free_port, needs_ranks, run_ranks, start_ranks
from tests.support.runs import equal

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


def lose_a_rank(lost: signal.Signals, folder: Path, method: str = "") -> None:
    """Run two ranks until one is lost, and require that the other ends with an error."""
    ranks = start_ranks(fit_as_rank, (str(folder), None, 2, free_port(), 10.0, lost, method), 2)
    first, last = ranks.processes
    try:
        first.join(120)  # far below the half hour that is the default of torch
        assert first.exitcode not in (None, 0)
    finally:
        for process in (first, last):
            process.kill()
            process.join()
    assert (folder / "error-0.txt").is_file()


# One dies, and the others notice a closed connection; one hangs, and they notice nothing.
LOSSES = [signal.SIGKILL, signal.SIGSTOP]


@pytest.mark.parametrize("lost", LOSSES)
def test_lost_rank_ends_the_run_which_one_process_finishes(
    lost: signal.Signals, whole_run: Run, tmp_path: Path
) -> None:
    lose_a_rank(lost, tmp_path)
    state = fit(tmp_path / "resumed", tmp_path / "last.ckpt")
    torch.testing.assert_close(state, whole_run[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("method", "lost"),
    [
        pytest.param(method, lost, marks=[pytest.mark.slow] if n else [])
        for n, (method, lost) in enumerate(itertools.product(PSEUDO_LABELS, LOSSES))
    ],
)
def test_ranks_with_unequal_numbers_of_samples(
    method: str, lost: signal.Signals, tmp_path: Path
) -> None:
    """A method averages over each rank's samples, so one process would get another result.

    The ranks agree though, and finish a run that lost a rank as if it had not; one process
    finishes it too.
    """

    def train(name: str, checkpoint: Path | None) -> dict[str, Any]:
        place = tmp_path / name
        path = None if checkpoint is None else str(checkpoint)
        arguments = (str(place), path, 2, free_port(), 60.0, None, method)
        run_ranks(fit_as_rank, arguments, 2)
        first, second = (torch.load(place / f"state-{r}.pt", weights_only=True) for r in (0, 1))
        assert equal(first, second)
        return dict(first)

    expected = train("whole", None)
    lose_a_rank(lost, lost_run := tmp_path / "lost", method)
    saved = torch.load(lost_run / "last.ckpt", weights_only=True)
    assert saved["global_step"] == LOST_AT - 1
    assert equal(train("two", lost_run / "last.ckpt"), expected)
    alone = fit(tmp_path / "one", lost_run / "last.ckpt", method=method)
    assert all(v.isfinite().all() for v in alone.values() if isinstance(v, Tensor))
    changed = [key for key in alone if not equal(alone[key], saved["state_dict"][key])]
    assert any(key.startswith("methods.0") for key in changed)
