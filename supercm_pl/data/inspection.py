"""A look at a few samples before training, for faults that would raise no error in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.utils.data import Dataset

from supercm_pl.data.datasets import Samples, as_float, as_tuple
from supercm_pl.data.transforms.augment import Function
from supercm_pl.data.views import kind_of, make_view
from supercm_pl.seeding import isolated_rng

_SAMPLES = 8
_DRAWS = 6
_TOLERANCE = 0.5  # beyond [0, 1]: noise and resizing leave it a little, normalization by far
_DARKEST = 32  # of 255: photographs are brighter, digits from 0 to 16 are not
_VECTORS = 64
_WIDEST = 100.0  # of a column's standard deviation to the median: 390 in wine, 8,000 in cancer data
_LARGEST_RATIO = 30.0  # of root mean squares; samples of one distribution differ much less


def inspect_parts(
    parts: Mapping[str, Dataset[Any]],
    views: Mapping[str, Iterable[str]],
    transforms: Mapping[str, nn.Module | None],
    scaled: bool = True,
) -> None:
    """Look at eight samples of each part with a length, and at transforms of other packages.

    ``views`` are those that each training part requires, ``transforms`` those of the data module.
    Unless the columns of vectors are ``scaled`` later, it is a warning if their scales differ.

    Raises:
        ValueError: If images are floats in the range of ``uint8``, parts differ in the shape of
            their inputs, or a transform draws its random numbers once for the whole batch.
    """
    checked: set[str] = set()
    scales: dict[str, float] = {}
    shapes: dict[tuple[int, ...], str] = {}
    outside = False
    for name, samples in parts.items():
        if not isinstance(samples, Samples) or not len(samples):
            continue
        positions = np.unique(np.linspace(0, len(samples) - 1, _SAMPLES).astype(np.int64))
        with isolated_rng() as reseed:  # random transforms of a data set
            reseed(0)
            inputs, *_ = as_tuple(samples.fetch(positions))
        shapes.setdefault(tuple(inputs.shape[1:]), name)
        if len(shapes) > 1:
            (one, first), (other, _) = shapes.items()
            raise ValueError(
                f"inputs of the {first} part have the shape {one}, those of the {name} part "
                f"{other}: resize them in the datasets"
            )
        outside |= check_scale(f"images of the {name} part", inputs, warn=not outside)
        largest = int(inputs.max()) if inputs.dtype == torch.uint8 else 255
        inputs = as_float(inputs)
        scales[name] = float(inputs.square().mean().sqrt())
        if inputs.ndim == 2 and name in views:
            scaled = scaled or _warn_of_columns(name, samples)
        if inputs.ndim != 4:
            continue
        if bool((inputs.flatten(1).std(dim=1) < 1 / 255).all()):
            rank_zero_warn(
                f"all of {len(inputs)} images looked at in the {name} part are nearly constant: "
                "check how they are read",
                category=RuntimeWarning,
            )
        elif largest < _DARKEST:
            rank_zero_warn(
                f"uint8 images of the {name} part are divided by 255, but the largest value of "
                f"{len(inputs)} looked at is {largest}: divide by their own range, x / {largest}",
                category=RuntimeWarning,
            )
        for kind in {kind_of(view) for view in views.get(name, ())} - checked:
            transform = transforms.get(kind)
            if transform is not None and _is_foreign(transform):
                _check_draws(kind, inputs[:1], transform)
            checked.add(kind)
    _compare_scales(scales)


def _warn_of_columns(name: str, samples: Samples) -> bool:
    """Warn if one column of vectors hides most of the others; return whether it does."""
    positions = np.unique(np.linspace(0, len(samples) - 1, _VECTORS).astype(np.int64))
    with isolated_rng() as reseed:
        reseed(0)
        vectors, *_ = as_tuple(samples.fetch(positions))
    if len(vectors) < _SAMPLES or not vectors.is_floating_point():
        return False
    deviations = vectors.double().std(dim=0)
    typical = float(deviations[deviations > 0].median()) if bool((deviations > 0).any()) else 1.0
    largest, column = deviations.max(dim=0)
    if float(largest) <= _WIDEST * typical:
        return False
    rank_zero_warn(
        f"column {int(column)} of the {name} part has the standard deviation {float(largest):.3g}, "
        f"a typical column {typical:.3g}, so that it hides the others: scale the columns, as by "
        "StandardScaler of scikit-learn",
        category=RuntimeWarning,
    )
    return True


def begins_linear(backbone: object) -> bool:
    """Whether a backbone's first layer with a state is linear: it takes columns as they are."""
    layers = backbone.modules() if isinstance(backbone, nn.Module) else ()
    first = next((m for m in layers if not [*m.children()] and m.state_dict()), None)
    return isinstance(first, nn.Linear)


def warn_of_equal_views(module: Any, transforms: Mapping[str, nn.Module | None]) -> None:
    """Warn if a method compares views that are equal, unless dropout makes outputs differ."""
    for method in getattr(module, "methods", ()):
        equal = [view for view in method.views if _is_identity(transforms.get(kind_of(view)))]
        if len(equal) > 1 and not any("Drop" in type(m).__name__ for m in module.modules()):
            rank_zero_warn(
                f"{method.name} compares the views {equal[0]} and {equal[1]}, which are equal: "
                f"pass the data module a random {kind_of(equal[1])}=..., such as AffineNoise() for "
                "images or GaussianNoise(0.3) for vectors",
                category=RuntimeWarning,
            )


def _is_identity(transform: nn.Module | None) -> bool:
    leaves = [] if transform is None else [m for m in transform.modules() if not [*m.children()]]
    return all(isinstance(leaf, nn.Identity) for leaf in leaves)


def _compare_scales(scales: Mapping[str, float]) -> None:
    (first, scale), *others = scales.items() or [("", 1.0)]
    for name, other in others:
        ratio = max(scale, other) / max(min(scale, other), 1e-12)
        if ratio > _LARGEST_RATIO:
            rank_zero_warn(
                f"inputs of the {first} part are of the size {scale:.2g}, those of the {name} part "
                f"{other:.2g}: scale both by the same numbers",
                category=RuntimeWarning,
            )


def check_scale(name: str, images: Tensor, warn: bool = True) -> bool:
    """Require images ``(N, C, H, W)`` not to be floats from 0 to 255, by eight of them.

    Return whether those of 1 or 3 channels are far out of ``[0, 1]``, and warn of it if ``warn``.
    Anything else than images is left alone.
    """
    if images.ndim != 4 or 0 in images.shape or not images.is_floating_point():
        return False
    if images.is_meta or torch.compiler.is_compiling():
        return False
    images = images.detach()[:: -(-len(images) // _SAMPLES)]
    least, largest = float(images.min()), float(images.max())
    whole = bool((images == images.round()).all())
    if least >= 0 and largest > 2 and (whole or 127 < largest <= 255):
        tops = (top for top in (127, 255, 1023, 4095, 16383, 65535) if largest <= top)
        top = next(tops, largest)
        raise ValueError(
            f"{name} are floats from 0 to {largest:g}, but transforms and "
            f"backbones require [0, 1]: divide by {largest if top == 127 else top:g}, or pass "
            "uint8, which is divided by 255"
        )
    outside = images.shape[1] in (1, 3) and (least < -_TOLERANCE or largest > 1 + _TOLERANCE)
    if outside and warn:
        rank_zero_warn(
            f"{name} are floats from {least:.3g} to {largest:.3g}, but transforms and pretrained "
            "backbones, which normalize images themselves, require [0, 1]: leave out Normalize, "
            "and pass floats in [0, 1] or uint8",
            category=RuntimeWarning,
        )
    return outside


def _is_foreign(transform: nn.Module) -> bool:
    leaves = [m for m in transform.modules() if not [*m.children()]]
    ours = (type(leaf).__module__.startswith("supercm_pl.") for leaf in leaves)
    return not all(ours) or any(isinstance(leaf, Function) for leaf in leaves)


def _check_draws(kind: str, image: Tensor, transform: nn.Module) -> None:
    """Require that each foreign part of a transform draws for each of several equal images."""
    parts = [*transform] if isinstance(transform, nn.Sequential) else [transform]
    with isolated_rng() as reseed, torch.no_grad():
        for part in parts:
            equal = image.expand(_SAMPLES, *image.shape[1:]).contiguous()
            draws = []
            for seed in range(_DRAWS if _is_foreign(part) else 1):
                reseed(seed)
                try:
                    draws.append(make_view(kind, equal, {kind: part}))
                except Exception as error:
                    raise ValueError(
                        f"the {kind} transform must take a batch of shape {tuple(equal.shape)}, "
                        f"but fails: {error}; those of single images go into a Dataset, for "
                        "SSLDataModule(dataset)"
                    ) from error
            first = draws[0]
            varied = any(
                views.shape != first.shape or not torch.equal(views, first) for views in draws
            )
            changed = first.shape != equal.shape or not torch.equal(first, equal)
            if kind == "weak" and _is_foreign(part) and changed and not varied:
                rank_zero_warn(
                    f"{type(part).__name__} in weak=... changes all images alike, but only those "
                    "of training: pass it as preprocess=..., which evaluation applies too",
                    category=RuntimeWarning,
                )
            if varied and all(torch.equal(views, views[:1].expand_as(views)) for views in draws):
                raise ValueError(
                    f"the {kind} transform draws once for the whole batch, so that all images get "
                    "the same crop, flip or color: use transforms that draw for each image, such "
                    "as FlipCrop or RandAugment of supercm_pl.data, or kornia's"
                )
            image = draws[0][:1]
