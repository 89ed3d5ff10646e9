"""The tables in the README and in the documentation are those of the result files."""

from __future__ import annotations

import pytest

from benchmarks import tables
from benchmarks.results import Results


@pytest.mark.parametrize("page", tables.PAGES, ids=str)
def test_the_tables_are_those_of_the_result_files(page):
    text = page.read_text(encoding="utf-8")
    assert "<!-- table: " in text
    assert tables.written(text) == text, "python -m benchmarks.tables writes them"


def test_a_changed_figure_is_found():
    text = tables.PAGES[2].read_text(encoding="utf-8")
    before, head, after = text.partition("| logistic regression | 0.")
    assert tables.written(f"{before}{head}9{after}") == text


def test_runs_are_written_in_the_columns_of_the_file(tmp_path):
    path = tmp_path / "runs.csv"
    Results(path, ["seed"]).append({"seed": 0, "acc": 0.5, "bnm": 0.25})
    Results(path, ["seed"]).append({"seed": 1, "bnm": 0.75, "acc": 1.0})
    assert Results(path, ["seed"])[{"seed": 1}] == {"seed": "1", "acc": "1.0", "bnm": "0.75"}
    with pytest.raises(ValueError, match="columns"):
        Results(path, ["seed"]).append({"seed": 2, "acc": 0.5})
