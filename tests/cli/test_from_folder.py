"""``supercm fit FOLDER``: what a folder of images says about a run."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from supercm_pl.cli.from_folder import with_options
from supercm_pl.data import FolderSource
from tests.support.command import supercm, table

pytestmark = pytest.mark.usefixtures("folder")

SMALL = "configs/ssl/folder_small.yaml"
QUICK = ("--trainer.callbacks=[]", "--trainer.max_steps=2", "--quiet", "--no_report")
OF_CLASSES = ("cat/0.png", "cat/1.png", "dog/2.png", "dog/3.png")


def paint(*names: str, mode: str = "RGB", size: tuple[int, int] = (28, 28)) -> None:
    rng = np.random.default_rng(0)
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        noise = rng.integers(256, size=size[::-1], dtype=np.uint8)
        Image.fromarray(noise).convert(mode).save(name)


def below(folder: str, *names: str) -> list[str]:
    return [f"{folder}/{name}" for name in names or OF_CLASSES]


LAYOUTS = [
    (
        [
            *below("p/Labelled"),
            *below("p/test"),
            *("p/unlabeled/a.png", "p/val/cat/8.png", "p/old/9.png", "p/loose.png"),
        ],
        "labeled=p/Labelled test=p/test unlabeled=p/unlabeled val=p/val",
        "besides: 1 unlabeled · 4 test · 1 validation images",
        "left out: old/, images in no folder, 1 file (.txt)",
    ),
    (
        [*below("p"), "p/a.png", "p/b.png", *below("p/test")],
        'classes=["cat", "dog"] labeled=p test=p/test unlabeled=p',
        "besides: 2 unlabeled · 4 test images",
        "left out: 1 file (.txt)",
    ),
    (
        [*below("p"), "p/unlabeled/deep/a.png", "p/loose.png"],
        'classes=["cat", "dog"] labeled=p unlabeled=p/unlabeled',
        "besides: 1 unlabeled images",
        "left out: images in no folder, 1 file (.txt)",
    ),
    (below("p"), "labeled=p unlabeled=null", "besides: no images", "left out: 1 file (.txt)"),
]


@pytest.mark.parametrize(("images", "options", "besides", "left_out"), LAYOUTS)
def test_a_layout(images: Sequence[str], options: str, besides: str, left_out: str) -> None:
    paint(*images)
    Path("p/notes.txt").touch()
    words, lines = with_options(["fit", "p/", "--trainer.max_steps", "3"])
    assert words[:3] == ["fit", "--config", SMALL]
    assert words[-2:] == ["--trainer.max_steps", "3"]  # overrides what is found
    sources = sorted(word.removeprefix("--data.source.") for word in words if "source" in word)
    assert " ".join(word for word in sources if "image_size" not in word) == options
    assert lines == [
        "p: 4 labeled images of 2 classes: cat 2, dog 2",
        *(besides, left_out),
        "images: color, 28x28 pixels, read as 32x32",
        f"settings: {SMALL}, a small network from scratch",
    ]


@pytest.mark.parametrize(
    "table_of_labels",
    [
        "file,label\na.png,cat\nmore/b.png,dog\nc.png,\n",
        "a.png,cat\nmore/b.png,dog\n",
        "label;other;path\ncat;1;a.png\ndog;2;more/b.png\n",
        "\ufeffa.png\tcat\r\nmore/b.png\tdog\r\n",
    ],
)
def test_a_file_of_labels(table_of_labels: str) -> None:
    paint("p/a.png", "p/more/b.png", "p/c.png", "p/d.png", *below("p/test"))
    Path("p/labels.csv").write_text(table_of_labels, encoding="utf-8")
    words, lines = with_options(["fit", "p"])
    assert {f"--data.source.{word}" for word in ("labeled=p/labels.csv", "unlabeled=p")} < {*words}
    assert lines[:2] == [
        "p: 2 labeled images of 2 classes: cat 1, dog 1",
        "besides: 2 unlabeled · 4 test images",  # not those of the test
    ]
    data = FolderSource("p/labels.csv", "p", "p/test").load()
    assert [path.name for path in data.train.paths] == ["a.png", "b.png"]  # type: ignore[attr-defined]
    assert [path.name for path in data.unlabeled.paths] == ["c.png", "d.png"]  # type: ignore[union-attr]


def test_rows_without_a_label_are_unlabeled() -> None:
    paint("p/a.png", "p/b.png", "p/c.png", "p/d.png", "q/e.png")
    Path("p/labels.csv").write_text("file,label\na.png,cat\nb.png,dog\nc.png,\nb.png,\n")
    for unlabeled, names in ((None, ["c.png"]), ("q", ["e.png", "c.png"])):
        data = FolderSource("p/labels.csv", unlabeled).load()
        assert [path.name for path in data.train.paths] == ["a.png", "b.png"]  # type: ignore[attr-defined]
        assert [path.name for path in data.unlabeled.paths] == names  # type: ignore[union-attr]
    assert FolderSource("p/labels.csv").class_names() == ("cat", "dog")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a.png", r"labels.csv, line 1: expected a file and a label, found \['a.png'\]"),
        ("a.png,cat\nx.png,dog", "labels.csv: there is no file p/x.png"),
        ("a.png,cat", "labels.csv must label images of two classes or more .* found cat"),
        ("", "labels.csv must label images of two classes or more .* found no label"),
        ("a.png,cat\n../b.png,dog", r"p/\.\./b.png is not in the folder of the labels or below"),
        ("a.png,cat\n/etc/x.png,dog", "/etc/x.png is not in the folder of the labels or below"),
        (f"a.png,cat\n{'x' * 200_000},dog", "can't read the labels .*: field larger than"),
    ],
)
@pytest.mark.bad_input
def test_a_wrong_file_of_labels(text: str, said: str) -> None:
    paint("p/a.png", "b.png")
    Path("p/labels.csv").write_text(text)
    with pytest.raises(ValueError, match=said):
        FolderSource("p/labels.csv").class_names()


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: Path(path).symlink_to("/dev/zero")])
@pytest.mark.parametrize(
    "option", ["--add_labels", "--data.source.labeled", "--data.labeled_indices"]
)
def test_a_pipe_or_a_device_for_a_list(make: Callable[[str], None], option: str) -> None:
    paint(*below("p"), "p/a.png", "p/b.png")
    make("x.csv")
    outcome = supercm("fit", "p", *QUICK, option, "x.csv")
    assert outcome.status == 2
    last = outcome.err.splitlines()[-1]
    assert last.startswith("supercm: error: ")
    assert "x.csv is not a" in last


@pytest.mark.parametrize(
    "name", ["null", "12", "[a]", "{b", "!!python_name:os.system", "=cmd()", "<b>", "it's", "ü"]
)
def test_a_name_that_means_something_to_a_parser(name: str) -> None:
    inside = (f"{name}/1.png", f"{name}/2.png", "dog/3.png", "dog/4.png", "a.png", "b.png")
    paint(*below(name, *inside))
    Path(name, "none").mkdir()
    outcome = supercm("fit", name, "--print_config")
    assert outcome.status == 0, outcome.err
    source = yaml.safe_load(outcome.out)["data"]["init_args"]["source"]["init_args"]
    assert Path(source["labeled"]) == Path(name)
    assert source["classes"] == sorted([name, "dog"])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a: b", "rename a: b: options can't hold names with a colon and a space"),
        ("a\nb", r"rename the folder a b: options can't hold control characters"),
        ("\x1b[2J", r"rename the folder \x1b[2J: options can't hold control characters"),
        (os.fsdecode(b"\xe9"), r"rename the folder \udce9: options can't hold control characters"),
    ],
)
def test_a_name_that_no_option_can_hold(name: str, said: str) -> None:
    paint(*below(name, f"{name}/1.png", "dog/3.png"))
    Path(name, "none").mkdir()
    outcome = supercm("fit", name)
    assert outcome.status == 2
    assert outcome.err == f"supercm: error: {said}\n"


def test_a_class_moves_no_cursor() -> None:
    paint(*below("p", "\x1b[2J/1.png", "dog/3.png", "\x1b[2J/2.png", "dog/4.png", "a.png", "b.png"))
    Path("p/\x1b.x").touch()
    outcome = supercm("fit", "p", *(word for word in QUICK if word != "--quiet"))
    assert outcome.status == 0, outcome.err
    assert r"4 labeled images of 2 classes: \x1b[2J 2, dog 2" in outcome.err
    assert "\x1b[2J" not in outcome.out + outcome.err


def test_thousands_of_empty_folders_take_one_line() -> None:
    paint(*below("p"), "p/a.png")
    for number in range(2_000):
        Path(f"p/{number}").mkdir()
    _, lines = with_options(["fit", "p"])
    assert "left out: 0/ (no images), 1/ (no images)" in lines[2]
    assert lines[2].endswith(" and 1,990 more")
    assert len(lines[2]) < 300


@pytest.mark.parametrize(
    ("mode", "size", "weights", "config", "options", "said"),
    [
        ("L", (40, 40), False, SMALL, {"grayscale=true", "image_size=32"}, "gray, 40x40 pixels"),
        ("1", (16, 16), False, SMALL, {"grayscale=true", "image_size=16"}, "read as 16x16"),
        ("RGB", (300, 200), False, SMALL, {"image_size=32"}, "no pretrained weights of resnet18"),
        ("RGB", (300, 200), True, "configs/ssl/folder.yaml", set(), "a pretrained network"),
        ("L", (300, 200), True, SMALL, {"grayscale=true", "image_size=32"}, "gray, 300x200"),
    ],
)
def test_the_images_decide(
    mode: str,
    size: tuple[int, int],
    weights: bool,
    config: str,
    options: set[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    if weights:
        paint("hub/checkpoints/x.png")
        Path("hub/checkpoints/resnet18-f37072fd.pth").touch()
    paint(*below("p"), mode=mode, size=size)
    words, lines = with_options(["fit", "p"])
    assert words[2] == config
    sources = {word.removeprefix("--data.source.") for word in words if "data.source" in word}
    assert sources == {"labeled=p", "unlabeled=null", *options}
    assert said in "\n".join(lines)
    assert len(lines) <= 5


@pytest.mark.parametrize(
    ("target", "options", "said"),
    [
        (["q/a.png", "q/b/c.png"], "folder=q", "2 images to adapt to, no test images"),
        (below("q"), "folder=q test=q", "4 images to adapt to, which training sees without their"),
        (
            ["q/unlabeled/a.png", *below("q/test")],
            "folder=q/unlabeled test=q/test",
            "1 images to adapt to, 4 test images",
        ),
        (
            ["q/a.png", *below("q/test")],
            "folder=q test=q/test",
            "1 images to adapt to, 4 test images",
        ),
        (["q/owl/a.png", "q/cat/c.png"], "folder=q", "2 images to adapt to, no test images"),
    ],
)
def test_two_domains(target: Sequence[str], options: str, said: str) -> None:
    paint(*below("p"), *target)
    words, lines = with_options(["fit", "--source", "p", "--target", "q", "--seed_everything=1"])
    assert words[2] == "configs/uda/folders_small.yaml"
    assert words[-1] == "--seed_everything=1"
    found = [word for word in words if "data.target" in word and "image_size" not in word]
    assert " ".join(word.removeprefix("--data.target.") for word in found) == options
    assert lines[0] == "p: 4 labeled images of 2 classes: cat 2, dog 2"
    assert lines[1].startswith(f"q: {said}")
    assert len(lines) <= 5


def test_a_complete_configuration_replaces_the_one_that_the_images_suggest() -> None:
    paint(*below("p"))
    Path("own.yaml").write_text(f"base: {SMALL}\n")
    Path("part.yaml").write_text("model: {init_args: {cm_weight: 0}}\n")
    words, _ = with_options(["fit", "p", "--model.cm_weight=1", "--config", "own.yaml"])
    assert words == [
        *("fit", "--config", "own.yaml", "--data.source.labeled=p", "--model.cm_weight=1")
    ]
    words, _ = with_options(["fit", "p", "--config=part.yaml"])
    assert words[:4] == ["fit", "--config", SMALL, "--config=part.yaml"]


@pytest.mark.parametrize("kind", ["one", "two"])
def test_the_saved_configuration_makes_the_run_again(kind: str) -> None:
    paint(*below("p"), *below("q"), *below("p/test"), "p/a.png", "p/b.png", mode="L")
    words = ["p"] if kind == "one" else ["--source", "p", "--target", "q"]
    name = "p" if kind == "one" else "p_q"
    batches = {"one": ["labeled", "unlabeled"], "two": ["source", "target"]}[kind]
    small = [f"--data.{part}_batch_size=4" for part in batches]
    first = supercm("fit", *words, *QUICK, *small)
    assert first.status == 0, first.err
    run = Path(table(first.out)["logs"][0])
    assert run == Path("runs", name, "version_0")
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["data"]["init_args"]["source"]["init_args"]["grayscale"] is True
    again = supercm("fit", "--config", str(run / "config.yaml"), "--quiet")
    assert table(again.out)["logs"] == [f"runs/{name}/version_1"]
    assert (
        table(again.out)["accuracy" if kind == "one" else "accuracy, target"]
        == (table(first.out)["accuracy" if kind == "one" else "accuracy, target"])
    )
    losses = [(Path("runs", name, f"version_{n}") / "config.yaml").read_text() for n in (0, 1)]
    assert losses[0] == losses[1]


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("empty", "empty has no labeled images: expected labeled/<class>/<image>, <class>/<image>"),
        ("--source empty --target p", "empty has no labeled images: expected <class>/<image>"),
        ("nowhere", "there is no folder nowhere"),
        ("photo", "there is no folder photo; did you mean photos?"),
        ("small.yaml", "unexpected argument small.yaml; did you mean --config small.yaml?"),
        ("p/a.png", "p/a.png is a file, not a folder of images"),
        ("p q", "unexpected argument q"),
        ("--source p", "adaptation requires two folders: supercm fit --source FOLDER --target"),
        ("--source p --target q", "there is no folder q"),
    ],
)
def test_a_wrong_folder(words: str, said: str) -> None:
    paint("p/a.png", "photos/cat/1.png")
    Path("empty").mkdir()
    outcome = supercm("fit", *words.split())
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.startswith(f"supercm: error: {said}")
