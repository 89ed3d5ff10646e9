"""A resumed run names each option that differs from the checkpoint; none typed is ignored."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from supercm_pl.cli.resume import differences
from tests.support.command import SMALL, printed_config, supercm


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of every value that an option sets."""
    pairs: Any = value.items() if isinstance(value, dict) else ()
    pairs = enumerate(value) if isinstance(value, list) else pairs
    inner = [place for key, item in pairs for place in leaves(item, (*path, key))]
    yield from inner or [path]


@pytest.mark.parametrize("kind", ["ssl", "uda"])
def test_every_option_of_model_and_data_is_named(kind: str) -> None:
    method = {"ssl": "fixmatch", "uda": "dann"}[kind]
    words = ("--config", f"configs/{kind}/digits.yaml", "--config")
    config = printed_config(*words, f"configs/{kind}/methods/{method}.yaml")
    count = 0
    for part in ("model", "data"):
        assert not [*differences(config[part], config[part], part)]
        for *above, last in leaves(config[part]):
            changed = copy.deepcopy(config[part])
            parent = changed
            for key in above:
                parent = parent[key]
            parent[last] = "changed"
            (found,) = differences(config[part], changed, part)
            names = [str(key) for key in (*above, last) if isinstance(key, str)]
            expected = [name for name in names if name not in ("init_args", "class_path")]
            assert found.option == ".".join([part, *expected])
            count += 1
    assert count > 40


def test_a_hostile_checkpoint_is_compared_in_no_time() -> None:
    bomb: Any = ["x"]
    for _ in range(60):
        bomb = [bomb] * 10
    itself: dict[str, Any] = {}
    itself["a"] = itself
    for saved in (bomb, itself, {"a": bomb, "\x1b[2J" * 99: 1}, {"class_path": bomb}):
        for found in differences(saved, {"a": {"a": [1]}, "b": "\x1b[2J"}, "data"):
            assert len(str(found)) < 250
            assert str(found).isprintable()


def lines(err: str) -> list[str]:
    return [line for line in err.splitlines() if line.startswith("supercm: ")]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--model.cm_weight 0.9", "model.cm_weight is 0.9, the checkpoint has 0.5"),
        ("--model.init_args.temperature=2.0", "model.temperature is 2.0, the checkpoint has 1.0"),
        ("--model.centroids batch", "model.centroids is batch, the checkpoint has cumulative"),
        ("--optimizer.lr 0.3", "model.optimizer.lr is 0.3, the checkpoint has 0.01"),
        ("--model.methods+ supercm_pl.ssl.methods.VAT", "model.methods is a list of 1"),
        ("--trainer.max_steps 3", "trainer.max_steps is 3, but the checkpoint is at step 12"),
    ],
)
def test_a_typed_option_is_not_ignored(
    words: str, message: str, trained: tuple[Path, str], folder: Path
) -> None:
    resume = ("fit", "--config", "small.yaml", "--ckpt_path", str(trained[0]))
    outcome = supercm(*resume, *words.split())
    assert outcome.status == 2
    (line,) = lines(outcome.err)
    assert message in line


def test_other_differences_are_named(trained: tuple[Path, str], folder: Path) -> None:
    (folder / "other.yaml").write_text(SMALL.replace("lr: 0.01", "lr: 0.2"))
    words = ("--config", "other.yaml", "--trainer.max_steps", "13", "--test_after_fit", "false")
    resume = ("fit", *words, "--ckpt_path", str(trained[0]))
    outcome = supercm(*resume, "--data.unlabeled_batch_size", "16", "--data.steps_per_epoch=7")
    assert outcome.status == 0, outcome.err
    assert sorted(lines(outcome.err)) == [
        "supercm: data.steps_per_epoch is 7, the checkpoint has 6; that of this run is used",
        "supercm: data.unlabeled_batch_size is 16, the checkpoint has 32; that of this run is used",
        "supercm: model.optimizer.lr is 0.2, the checkpoint has 0.01; the checkpoint's is used",
    ]
