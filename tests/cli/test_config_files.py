"""Configurations that name a base, and the run folders that are named after them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from supercm_pl.cli.config_files import layers, name_loggers
from tests.support.command import SMALL, printed_config, supercm

CHANGE = """
model: {init_args: {cm_weight: 0.25, optimizer: {class_path: torch.optim.SGD}}}
trainer: {callbacks: [], logger: {init_args: {name: mine}}}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write("small.yaml", SMALL)


def write(name: str, text: str) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text)


def test_a_base_is_like_a_file_given_before() -> None:
    write("change.yaml", CHANGE)
    write("of/steps.yaml", "{base: ../small.yaml, trainer: {max_steps: 7}}")
    write("of/mine.yaml", f"base: [steps.yaml]\n{CHANGE}")
    files = ("--config=small.yaml", "--trainer.max_steps=7", "--config=change.yaml")
    expected = printed_config(*files)
    assert printed_config("--config", "of/mine.yaml") == expected
    assert expected["model"]["init_args"]["optimizer"]["init_args"]["lr"] == 0.01
    found = layers(Path("of/mine.yaml"))
    assert found == [Path("small.yaml"), Path("of/steps.yaml"), Path("of/mine.yaml")]


def test_a_base_of_the_package_is_found_from_anywhere() -> None:
    write("mine.yaml", "base: configs/ssl/digits.yaml\ntrainer: {max_steps: 7}")
    trainer = printed_config("--config", "mine.yaml")["trainer"]
    assert (trainer["max_steps"], trainer["log_every_n_steps"]) == (7, 20)
    assert trainer["logger"]["init_args"]["name"] == "mine"
    write("configs/ssl/digits.yaml", SMALL)  # one of the user's own comes first
    assert printed_config("--config", "mine.yaml")["trainer"]["log_every_n_steps"] == 1


def test_a_mistake_in_a_base_is_found_there() -> None:
    write("typo.yaml", f"{SMALL}\ntrainr: 1")
    write("mine.yaml", "base: typo.yaml")
    assert "unknown key trainr (typo.yaml, line 28)" in supercm("fit", "--config", "mine.yaml").err


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("mine.yaml", "mine"),
        ("of/mine.yaml", "mine"),
        ("configs/ssl/digits.yaml", "ssl_digits"),
        ("configs/of/configs/mine.yaml", "mine"),
        ("configs.yaml", "configs"),
    ],
)
def test_a_logger_without_a_name_has_that_of_the_configuration(path: str, name: str) -> None:
    def logger(arguments: dict[str, Any]) -> Any:
        return SimpleNamespace(init_args=arguments)

    unnamed, named = logger({"name": "lightning_logs"}), logger({"name": "own"})
    name_loggers([unnamed, named, logger({})], Path(path))
    assert unnamed.init_args["name"] == name
    assert named.init_args["name"] == "own"
    for other in (None, True, False):
        name_loggers(other, Path(path))
