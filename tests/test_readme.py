"""What the README shows runs as it stands there."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.mark.parametrize("number", [0, 1])
def test_the_examples_run(number, capsys):
    exec(compile(BLOCKS[number], f"README.md, example {number}", "exec"), {})


def test_the_examples_are_as_short_as_promised():
    lines = [len([line for line in block.splitlines() if line.strip()]) for block in BLOCKS]
    assert lines[0] <= 10
    assert lines[1] <= 15
