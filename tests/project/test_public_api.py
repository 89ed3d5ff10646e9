"""The public surface, name by name: a change of it is made knowingly.

``python tests/project/test_public_api.py`` rewrites the file.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from difflib import unified_diff
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

import supercm_pl
from supercm_pl.clustering.functional import clustering_loss

FILE = Path(__file__).parents[1] / "files" / "public_api.txt"
COMMAND = "python tests/project/test_public_api.py"


def public_modules() -> list[str]:
    """Those that say what is public in ``__all__``."""
    found = pkgutil.walk_packages(supercm_pl.__path__, "supercm_pl.")
    names = ["supercm_pl", *(module.name for module in found if "._" not in module.name)]
    return sorted(name for name in names if hasattr(importlib.import_module(name), "__all__"))


def described() -> str:
    """A line for every public name, and for every member, where it first appears."""
    lines: list[str] = []
    seen: set[type] = set()
    for module in public_modules():
        loaded = importlib.import_module(module)
        for name in sorted(loaded.__all__):
            value = getattr(loaded, name)
            lines += lines_of(f"{module}.{name}", value)
            if inspect.isclass(value):
                lines += sorted(members(f"{module}.{name}", value, seen))
    return "".join(f"{line}\n" for line in lines)


def lines_of(path: str, value: Any) -> Iterator[str]:
    if inspect.isclass(value):
        yield path + (signature(value) if is_ours(defining(value)) else "(...)")
    elif inspect.isroutine(value):
        yield path + signature(value)
    elif get_args(value):
        yield f"{path} = {', '.join(map(shown, get_args(value)))}"
    else:
        yield path


def members(path: str, owner: type, seen: set[type]) -> Iterator[str]:
    """Those that a class of ours adds to its bases, once for each class."""
    for kind in owner.__mro__:
        if not is_ours(kind) or kind in seen:
            continue
        seen.add(kind)
        inherited = {name for base in kind.__mro__[1:] for name in vars(base)}
        for name in vars(kind).keys() - inherited:
            if not name.startswith("_"):
                yield from member_line(f"{path}.{name}", vars(kind)[name])


def member_line(path: str, value: Any) -> Iterator[str]:
    if isinstance(value, staticmethod | classmethod):
        value = value.__func__
    # Others are made by a library, such as the fields of a named tuple.
    if type(value).__module__ in ("builtins", "functools"):
        yield path + (signature(value) if inspect.isfunction(value) else "")


def signature(value: Any) -> str:
    """Names, kinds and defaults; types are left to mypy, and print differently by version."""
    parameters = inspect.signature(value).parameters.values()
    bare = [
        p.replace(annotation=p.empty, default=p.default if p.default is p.empty else Shown(p))
        for p in parameters
    ]
    return str(inspect.Signature(bare))


class Shown:
    def __init__(self, parameter: inspect.Parameter) -> None:
        self.value = parameter.default

    def __repr__(self) -> str:
        return shown(self.value)


def shown(value: Any) -> str:
    """The same text on every version."""
    if isinstance(value, tuple):
        return f"({', '.join(map(shown, value))})"
    if value is None or type(value) in (bool, int, float, str):
        return repr(value)
    return f"<{getattr(value, '__qualname__', type(value).__name__)}>"


def defining(value: type) -> type:
    return next(base for base in value.__mro__ if {"__init__", "__new__"} & vars(base).keys())


def is_ours(value: type) -> bool:
    return f"{value.__module__}.".startswith("supercm_pl.")


def test_the_public_surface_is_as_it_was_announced() -> None:
    before, now = FILE.read_text(encoding="utf-8"), described()
    changes = list(unified_diff(before.splitlines(), now.splitlines(), n=0, lineterm=""))[2:]
    changed = "\n".join(line for line in changes if not line.startswith("@@"))
    if before != now:
        pytest.fail(
            f"the public surface has changed:\n{changed}\nIf that is meant, announce it in "
            f"CHANGELOG.md as docs/versioning.md says, and rewrite the file: {COMMAND}",
            pytrace=False,
        )


def test_a_changed_signature_and_a_lost_name_would_be_seen() -> None:
    text = described()
    assert "supercm_pl.backbones.MLP(in_features, hidden_features=(256, 128), dropout=0.0)" in text
    assert "supercm_pl.ClusteringHead.update_centroids(self, features, labels" in text
    assert "supercm_pl.SSLDataModule.from_arrays(cls, x, y, " in text
    assert "0x" not in text  # no address of an object


def test_every_public_name_is_there() -> None:
    assert all(getattr(supercm_pl, name) is not None for name in supercm_pl.__all__)
    assert set(supercm_pl.__all__) <= set(dir(supercm_pl))
    with pytest.raises(AttributeError, match="no attribute 'Clustering'"):
        _ = supercm_pl.Clustering


def test_the_parts_of_the_clustering_loss_have_the_promised_names():
    loss = clustering_loss(torch.rand(3, 2), torch.rand(3, 4), torch.rand(4, 2))
    assert loss._fields == ("total", "reconstruction", "sparsity", "overlap", "prior")


LIGHTNING = ("lightning", "torchmetrics", "torchvision", "jsonargparse", "kornia", "rich")


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("from supercm_pl import ClusteringHead", (*LIGHTNING, "sklearn")),
        ("from supercm_pl.estimator import SuperCMClassifier", LIGHTNING),
        # People train on machines that have neither.
        ("from supercm_pl import SSLDataModule, SSLModule", ("jsonargparse", "kornia")),
    ],
)
def test_an_import_needs_only_its_own_packages(statement, absent):
    code = f"import sys; sys.modules.update(dict.fromkeys({absent})); {statement}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(described(), encoding="utf-8")
