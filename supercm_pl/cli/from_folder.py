"""``supercm fit photos/``: the options that follow from a folder, and what was understood."""

from __future__ import annotations

import json
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import yaml
from PIL import Image

from supercm_pl.cli.arguments import config_files, option_value, without_option
from supercm_pl.data.sources.folder import FolderSource, UnlabeledFolder
from supercm_pl.data.sources.image_folders import find_images, listed, other_files
from supercm_pl.data.sources.image_reading import image_formats
from supercm_pl.names import first_of

_PARTS = {
    "labeled": ("labeled", "labelled", "train", "training"),
    "unlabeled": ("unlabeled", "unlabelled"),
    "test": ("test", "testing"),
    "val": ("val", "valid", "validation"),
}
_SAMPLES = 200  # images whose size and colors are looked at
_MOST_TOLD = 10  # names in a line
_SMALL = 32  # side that the small configurations read
_PHOTO = 96  # pixels from which a colored image is a photograph
_WEIGHTS = "resnet18-*.pth"


class _Layout(NamedTuple):
    """Where the parts of a folder are.

    Attributes:
        parts: Arguments of a ``FolderSource``: ``labeled``, a folder or a CSV file, ``unlabeled``,
            ``test`` and ``val``, without those that are not there.
        classes: Names of the class folders, if ``labeled`` has others too.
        left_out: What is not used.
    """

    parts: dict[str, Path]
    classes: list[str] | None
    left_out: list[str]

    def source(self, *parts: str) -> tuple[FolderSource, list[str]]:
        """The source of some parts, and the options that set it."""
        found = {part: self.parts[part] for part in parts if part in self.parts}
        options = [f"--data.source.{part}={_as_value(path)}" for part, path in found.items()]
        if self.classes is not None:
            _check_names(self.classes)
            options.append(f"--data.source.classes={json.dumps(self.classes)}")
        kept = {"classes": self.classes, "damaged": "unchecked", "duplicates": "allow"}
        return FolderSource(**found, **kept), options  # type: ignore[arg-type]


class _Images(NamedTuple):
    """What images look like: the middle of their sizes in pixels, and whether any has colors."""

    width: int
    height: int
    colored: bool

    def __str__(self) -> str:
        return f"{'color' if self.colored else 'gray'}, {self.width}x{self.height} pixels"


# Options, lines that describe them, and what the images look like.
_Found = tuple[list[str], list[str], _Images]


def is_given(words: Sequence[str]) -> bool:
    """Whether the arguments name folders instead of the options of a data module."""
    folder = len(words) > 1 and not words[1].startswith("-") and Path(words[1]).is_dir()
    return words[:1] == ["fit"] and (folder or bool(option_value(words, "--source")))


def with_options(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments with a configuration and options in place of folders, and a description.

    A complete configuration among the arguments is used instead of the one that the images suggest.
    All other arguments come last, so that they override what is found.

    Raises:
        ValueError: If a folder does not have the expected layout.
    """
    source, target = option_value(words, "--source"), option_value(words, "--target")
    if not source:
        rest = [*words[2:]]
        options, lines, images = _quietly(_ssl, Path(words[1]))
        kind, large, name = "ssl", "folder", _name(words[1])
    else:
        if not target:
            raise ValueError(f"--source {source} requires --target, a folder of unlabeled images")
        rest = without_option(without_option(words[1:], "--source"), "--target")
        options, lines, images = _quietly(_uda, Path(source), Path(target))
        kind, large, name = "uda", "folders", f"{_name(source)}_{_name(target)}"
    given, rest = _configs_first(rest)
    if any(_has_data(path) for path in config_files(rest[:given])):
        return ["fit", *rest[:given], *options, *rest[given:]], lines
    photos = images.colored and min(images.width, images.height) >= _PHOTO
    config = f"configs/{kind}/{large if photos and _has_weights() else f'{large}_small'}.yaml"
    side = 0 if config.endswith(f"{large}.yaml") else 16 if images.width <= 24 else _SMALL
    options += [f"--trainer.logger.name={_as_value(Path(name))}"]
    sources = ("source", "target") if kind == "uda" else ("source",)
    if kind == "ssl" and not any("source.unlabeled=" in option for option in options):
        options.append("--data.source.unlabeled=null")  # the rest of the labeled ones
    if side:
        options += [f"--data.{each}.image_size={side}" for each in sources]
        if not images.colored:
            options += [f"--data.{each}.grayscale=true" for each in sources]
            options += ["--model.backbone.in_channels=1"]
    read = f"read as {side}x{side}" if side else "read as the configuration sets"
    lines.append(f"images: {images}, {read}")
    lines.append(f"settings: {config}{_why(photos, bool(side))}")
    return ["fit", "--config", config, *rest[:given], *options, *rest[given:]], lines


def _quietly(find: Callable[..., _Found], *folders: Path) -> _Found:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the run itself warns
        return find(*folders)


def _why(photos: bool, small: bool) -> str:
    if photos and small:
        return (
            ", a small network: no pretrained weights of resnet18 on this machine; "
            "--config configs/ssl/folder.yaml downloads them"
        )
    return ", a small network from scratch" if small else ", a pretrained network"


def _ssl(folder: Path) -> _Found:
    layout = _layout(folder)
    if "labeled" not in layout.parts:
        raise ValueError(
            f"{folder} has no labeled images: expected labeled/<class>/<image>, <class>/<image> or "
            f"labels.csv with lines file,label; found {listed(folder)}"
        )
    source, options = layout.source("labeled", "unlabeled", "test", "val")
    data = source.load()
    found = {"unlabeled": data.unlabeled, "test": data.test, "validation": data.val}
    counts = [f"{_length(images)} {part}" for part, images in found.items() if images is not None]
    lines = [
        _classes(folder, data.train, data.classes),
        f"besides: {' · '.join(counts) or 'no'} images",
        *_left_out([*layout.left_out, other_files([folder, *layout.parts.values()])]),
    ]
    return options, lines, _look(find_images(folder))


def _uda(folder: Path, target: Path) -> _Found:
    layout, other = _layout(folder), _layout(target)
    if "labeled" not in layout.parts:
        raise ValueError(
            f"{folder} has no labeled images: expected <class>/<image>, found {listed(folder)}"
        )
    source, options = layout.source("labeled", "test", "val")
    data = source.load()
    images, test = other.parts.get("unlabeled", target), other.parts.get("test")
    inside = other.parts.get("labeled")
    if test is None and inside is not None and inside.is_dir():
        names = {path.name for path in inside.iterdir() if path.is_dir()}
        if names <= set(data.classes):
            test = inside
            images = other.parts.get("unlabeled", inside)
    adapted = UnlabeledFolder(images, test, damaged="unchecked").load()
    options.append(f"--data.target.folder={_as_value(images)}")
    tested = "no test images"
    if test is not None:
        options.append(f"--data.target.test={_as_value(test)}")
        tested = f"{_length(adapted.test)} test images"
    if test == images:
        tested = "which training sees without their labels, and the test with them"
    lines = [
        _classes(folder, data.train, data.classes),
        f"{target}: {_length(adapted.train)} images to adapt to, {tested}",
        *_left_out([*layout.left_out, *other.left_out, other_files([folder, target])]),
    ]
    return options, lines, _look([*find_images(folder), *find_images(target)])


def _layout(folder: Path) -> _Layout:
    below = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    parts = {
        part: path for part, names in _PARTS.items() for path in below if path.name.lower() in names
    }
    table = [path for path in sorted(folder.iterdir()) if path.name.lower() == "labels.csv"]
    others = {path: bool(find_images(path)) for path in below if path not in parts.values()}
    classes = [path.name for path, filled in others.items() if filled]
    loose = any(path.parent == folder for path in find_images(folder))
    if "labeled" in parts:
        beside = "images in no folder"
        left_out = [*(f"{name}/" for name in classes), *([beside] if loose else [])]
        return _Layout(parts, None, left_out)
    if table:
        return _Layout({**parts, "labeled": table[0], "unlabeled": folder}, None, [])
    if not classes:
        return _Layout(parts, None, [])
    left_out = [
        f"{path.name}/ (no images)" for path, has_images in others.items() if not has_images
    ]
    if loose and "unlabeled" in parts:
        left_out.append("images in no folder")
    elif loose:
        parts["unlabeled"] = folder
    parts["labeled"] = folder
    return _Layout(parts, None if len(classes) == len(below) else classes, left_out)


def _name(folder: str) -> str:
    return Path(folder).resolve().name


def _as_value(path: Path) -> str:
    """A path as the value of an option, such as ``./null``, which is not None.

    Raises:
        ValueError: If the parser would take it for another value all the same.
    """
    for text in (str(path), f"./{path}"):
        try:
            value = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError):
            return text
        if isinstance(value, str):
            return text
    raise ValueError(f"rename {path}: options can't hold names with a colon and a space")


def _check_names(classes: Sequence[str]) -> None:
    for name in classes:
        if not name.isprintable():
            raise ValueError(f"rename the folder {name}: options can't hold control characters")


def _length(images: Any) -> str:
    return f"{len(images):,}"


def _left_out(names: Sequence[str]) -> list[str]:
    told = [name.replace(" left out", "") for name in names if name]
    return [f"left out: {first_of(told, _MOST_TOLD)}"] if told else []


def _classes(folder: Path, images: Any, names: Sequence[str]) -> str:
    counts = Counter(images.targets or ())
    told = first_of([f"{name} {counts[k]:,}" for k, name in enumerate(names)], _MOST_TOLD)
    return f"{folder}: {len(images):,} labeled images of {len(names):,} classes: {told}"


def _look(paths: Sequence[Path]) -> _Images:
    sizes, colored = [], False
    for path in paths[:: max(1, len(paths) // _SAMPLES)]:
        try:
            with Image.open(path, formats=image_formats()) as image:  # reads only the header
                sizes.append(image.size)
                colored |= image.mode not in ("1", "L", "LA", "I", "F") and image.mode[:2] != "I;"
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            continue  # damaged: the source reports it
    widths, heights = zip(*sizes or [(_SMALL, _SMALL)], strict=True)
    return _Images(int(median(widths)), int(median(heights)), colored)


def _has_weights() -> bool:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    home = Path(os.environ.get("TORCH_HOME") or Path(cache, "torch"))
    return any(Path(home, "hub", "checkpoints").glob(_WEIGHTS))


def _has_data(path: Path) -> bool:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    return isinstance(content, dict) and "class_path" in (content.get("data") or {})


def _configs_first(words: Sequence[str]) -> tuple[int, list[str]]:
    """Number of words that name configurations, and the words with these first."""
    configs, others = [], []
    pairs: Iterator[str] = iter(words)
    for word in pairs:
        if word in ("--config", "-c"):
            configs += [word, next(pairs, "")]
        elif word.startswith(("--config=", "-c=")):
            configs.append(word)
        else:
            others.append(word)
    return len(configs), [*configs, *others]
