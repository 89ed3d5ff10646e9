"""Any number of ranks, with any share of the rows each, train as one process on all rows does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.equality import CASES, assert_equals_one_process, load_results, run_all
from tests.support.ranks import needs_ranks, run_ranks

pytestmark = needs_ranks


def run_rank(rank: int, folder: str) -> None:
    for world_size in (2, 3):
        if rank < world_size:
            run_all(rank, world_size, list(CASES), folder, f"file://{folder}/{world_size}")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[dict[str, Any]]]:
    folder: Path = tmp_path_factory.mktemp("ranks")
    run_ranks(run_rank, (str(folder),), 3)
    return {world_size: load_results(folder, world_size) for world_size in (2, 3)}


@pytest.mark.parametrize("world_size", [2, 3])
@pytest.mark.parametrize("name", CASES)
def test_ranks_equal_one_process(
    name: str, world_size: int, results: dict[int, list[dict[str, Any]]]
) -> None:
    assert_equals_one_process(name, results[world_size])
