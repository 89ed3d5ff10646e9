"""What the command suggests in place of a name that leads nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from supercm_pl.cli.errors.suggestions import argument_names, nearest_class, nearest_file, object_at


class Parent:
    def __init__(self, alpha: float, **others: float) -> None: ...


class Child(Parent):
    def __init__(self, beta: float, **others: float) -> None: ...


def test_a_file_whose_folder_is_misspelled(tmp_path: Path) -> None:
    (tmp_path / "configs" / "ssl").mkdir(parents=True)
    file = tmp_path / "configs" / "ssl" / "digits.yaml"
    file.touch()
    assert nearest_file(tmp_path / "config" / "ssl" / "digits.yaml") == f"; did you mean {file}?"
    assert nearest_file(file.with_name("digit.yaml")) == f"; did you mean {file}?"
    # The rest of the path is not there either: only the part that was put right is named.
    assert nearest_file(tmp_path / "config" / "of" / "mine.yaml") == (
        f"; did you mean {tmp_path / 'configs'}?"
    )
    assert nearest_file(tmp_path / "unlike" / "anything.yaml") == ""
    assert nearest_file(tmp_path / "configs") == ""  # exists, but is a folder


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("supercm.SSLModul", "supercm_pl.SSLModule"),
        ("torch.optm.SGD", "torch.optim.SGD"),
        ("somewhere.else.AdamW", "torch.optim.AdamW"),
        ("somewhere.else.Qqqqqq", ""),
    ],
)
def test_a_class_path(given: str, meant: str) -> None:
    assert nearest_class(given) == (f"; did you mean {meant}?" if meant else "")


def test_arguments_of_parents_are_arguments() -> None:
    assert argument_names(Child) == ["beta", "alpha"]
    assert argument_names(print) == ["sep", "end", "file", "flush"]
    assert argument_names(type) == []  # written in C, and says nothing


@pytest.mark.parametrize("path", ["no_such_package.Thing", "torch.NoSuchThing", "Thing"])
def test_where_nothing_is(path: str) -> None:
    assert object_at(path) is None
