"""The tables in the README and in results.md are those of the result files."""

from __future__ import annotations

import pytest

from benchmarks import tables


@pytest.mark.parametrize("page", tables.PAGES, ids=str)
def test_the_tables_are_those_of_the_result_files(page):
    text = page.read_text(encoding="utf-8")
    assert "<!-- table: " in text
    assert tables.written(text) == text, "python -m benchmarks.tables writes them"


def test_a_changed_figure_is_found():
    text = tables.PAGES[0].read_text(encoding="utf-8")
    before, head, after = text.partition("| logistic regression | 0.")
    assert tables.written(f"{before}{head}9{after}") == text
