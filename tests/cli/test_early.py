"""Help and usage errors come at once: nothing imports PyTorch for them."""

from __future__ import annotations

import contextlib
import io
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from supercm_pl import SSLDataModule, SSLModule, UDADataModule, UDAModule
from supercm_pl.cli.errors.suggestions import argument_names
from supercm_pl.cli.help import help_of
from supercm_pl.cli.option_names import TOP_LEVEL, arguments_of

pytestmark = pytest.mark.usefixtures("folder")

DIGITS = "--config configs/ssl/digits.yaml"
ANSWERS = [
    ("--version", r"supercm \d+\.\d+\.\d+"),
    *[(words, "supercm fit FOLDER  ") for words in ("", "--help", "-h", "help")],
    *[(f"{name} --help", f"usage: supercm {name} ") for name in ("fit", "validate", "test")],
    *[(f"{name} --help", f"usage: supercm {name} ") for name in ("predict", "export", "report")],
    *[(f"{name} --help", f"usage: supercm {name} ") for name in ("suggest", "new", "completion")],
]
MISTAKES = [
    ("fitt", "unknown command fitt; did you mean fit?"),
    ("x", "unknown command x; the commands are fit, validate, test, predict, export, report, sug"),
    ("--confg", "the first argument must be a command .* got --confg"),
    ("fit", "fit requires a folder of images or a configuration: supercm fit photos/, or supercm"),
    ("test", "test requires a configuration and a checkpoint: supercm test --config FILE"),
    ("predict", "predict requires a checkpoint and images: supercm predict CKPT photos/"),
    ("export", "supercm export requires CKPT; see supercm export --help"),
    ("report", "supercm report requires RUN_DIR; see supercm report --help"),
    ("fit --confg x.yaml", "unknown option --confg; did you mean --config?"),
    ("fit --outptu x.csv", "unknown option --outptu; did you mean --output?"),
    ("fit --config", "--config requires a value"),
    ("fit --config .", ". is a folder, not a file"),
    ("fit --config small.yaml other.yaml", "unexpected argument other.yaml; did you mean --config"),
    ("fit --config nope.yaml", "there is no file nope.yaml"),
    ("fit --config configs/ssl/digit.yaml", "there is no file .*; did you mean configs/ssl/digits"),
    ("fit photoss", "there is no folder photoss; did you mean photos?"),
    (f"fit {DIGITS} --max_steps 3", "unknown option --max_steps; did you mean --trainer.max_ste"),
    (f"fit {DIGITS} --trainer.max_step=3", "unknown option --trainer.max_step; did you mean --tr"),
    (f"fit {DIGITS} --model.cm_wieght 0", "unknown option --model.cm_wieght; did you mean --mode"),
    (f"fit {DIGITS} --data.labels 3", "unknown option --data.labels"),
    (f"fit {DIGITS} --ckpt_path lst.ckpt", "there is no checkpoint lst.ckpt; did you mean last"),
    (f"test {DIGITS} --ckpt_path nope.ckpt", "there is no checkpoint nope.ckpt"),
    (f"test {DIGITS}", "test requires a checkpoint: pass --ckpt_path"),
    ("predict nope.ckpt photos", "there is no checkpoint nope.ckpt"),
    ("predict last.ckpt photo", "there is no file or folder photo; did you mean photos?"),
    ("export nope.ckpt", "there is no checkpoint nope.ckpt"),
    ("export last.ckpt --formt onnx", "unknown option --formt; did you mean --format?"),
    ("export last.ckpt --format onx", "argument --format: invalid choice: 'onx'"),
    ("report runs/nope", "there is no run runs/nope"),
    ("suggest runs/nope", "there is no run runs/nope"),
]


def at_once(words: str) -> tuple[int, str, str]:
    """Status and output of the command in a process that fails if PyTorch is imported."""
    code = "import sys; sys.modules['torch'] = None; from supercm_pl.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *words.split()], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(("words", "said"), ANSWERS)
def test_an_answer(words: str, said: str) -> None:
    status, out, err = at_once(words)
    assert (status, err) == (0, "")
    assert re.search(said, out)
    assert len(out.splitlines()) <= 40


@pytest.mark.bad_input
@pytest.mark.parametrize(("words", "said"), MISTAKES)
def test_a_mistake(words: str, said: str, folder: Path) -> None:
    (folder / "photos").mkdir()
    (folder / "last.ckpt").touch()
    status, out, err = at_once(words)
    lines = [line for line in err.splitlines() if not line.startswith("supercm: using ")]
    assert (status, out, len(lines)) == (2, "", 1)
    assert re.match(f"supercm: error: {said}", lines[0])


def test_an_answer_takes_less_than_a_second_of_the_cpu() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    at_once(f"fit {DIGITS} --model.cm_wieght 0")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime <= 1.0


def test_options_of_ones_own_classes_are_left_to_the_parser() -> None:
    (Path("own.yaml")).write_text("model: {class_path: own.Model}\n")
    *_, err = at_once("fit --config own.yaml --model.anything 3")
    assert "unknown option" not in err
    *_, err = at_once("fit --model own.Model --model.anything 3 --model.init_args.other 4")
    assert "unknown option" not in err


def test_the_names_read_from_source_files_are_those_of_the_classes() -> None:
    import lightning.pytorch as L

    for group, owners in {
        "trainer": (L.Trainer,),
        "model": (SSLModule, UDAModule),
        "data": (SSLDataModule, UDADataModule),
    }.items():
        names = {name for owner in owners for name in argument_names(owner)}
        assert {*arguments_of(group)} == names - {"self"}


@pytest.mark.parametrize("command", ["fit", "validate", "test"])
def test_every_option_in_a_help_text_exists(command: str) -> None:
    from supercm_pl.cli.main import main

    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.raises(SystemExit):
        main([command, "--help", "all"])
    real = set(re.findall(r"^  (?:-\w[^-]*)?--([a-z_]+)", out.getvalue(), re.MULTILINE))
    assert real <= {*TOP_LEVEL}
    for option in re.findall(r"(?<= )--[a-z_.]+", help_of(command)):
        group, _, name = option.removeprefix("--").partition(".")
        assert group in TOP_LEVEL
        if name in ("help", "NAME", "") or group == "optimizer":
            short = ("source", "target", "help", "optimizer", "add_labels", "budget")
            assert option in out.getvalue() or group in short
        else:
            assert name.partition(".")[0] in arguments_of(group)
