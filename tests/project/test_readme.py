"""What the README shows runs as it stands there."""

import ast
import re
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.mark.parametrize("number", [0, 1])
def test_the_examples_run(number, capsys):
    exec(compile(BLOCKS[number], f"README.md, example {number}", "exec"), {})


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_the_examples_import_all_that_they_name_of_this_package(number):
    tree = ast.parse(BLOCKS[number])
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    known = {}
    exec(compile(ast.Module(imports, []), "imports", "exec"), known)  # they are all there
    above = {"SSLDataModule"} if number == 2 else set()  # "or in Python", of the block above
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    classes = {name for name in used if name[0].isupper()}
    assert classes <= known.keys() | above


def test_the_examples_are_as_short_as_promised():
    lines = [len([line for line in block.splitlines() if line.strip()]) for block in BLOCKS]
    assert lines[0] <= 10
    assert lines[1] <= 15
