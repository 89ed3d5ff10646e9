"""Views of a batch: those that the module requires, and how they are made on the device."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from supercm_pl.checks import check_floats

Views = Mapping[str, tuple[str, ...]]
"""Names of views, each with the names of the methods that require it."""
INDEX = "index"
"""The view that consists of the samples' numbers."""


def check_views(views: Views, transforms: Mapping[str, nn.Module | None]) -> None:
    """Require a transform for every view, else a ``ValueError``."""
    for view, methods in views.items():
        kind = kind_of(view)
        if view == INDEX:
            continue
        required = f'view "{view}", required by {" and ".join(methods) or "the module"},'
        if kind not in transforms:
            raise ValueError(f'{required} does not exist; the views are "weak" and "strong"')
        if kind == "strong" and transforms[kind] is None:
            raise ValueError(
                f"{required} has no transform: pass one to the data module as strong=..."
            )


def make_view(view: str, images: Tensor, transforms: Mapping[str, nn.Module | None]) -> Tensor:
    """One view ``(B, ...)`` of inputs ``(B, ...)``, by the transform of its kind."""
    transform = transforms[kind_of(view)]
    if transform is None:
        return images
    if images.dtype in (torch.float16, torch.bfloat16):
        images = images.float()  # pixel coordinates need more than eight bits
    augmented: Tensor = transform.to(images.device)(images)
    check_floats(augmented, f'outputs of the transform of the view "{kind_of(view)}"')
    if len(augmented) != len(images):
        raise ValueError(
            f'the transform of the view "{kind_of(view)}" must return one output per input, '
            f"got {len(augmented)} for {len(images)}"
        )
    return augmented


def kind_of(view: str) -> str:
    """The transform's name: ``"weak"`` for ``"weak_2"``."""
    return re.sub(r"_\d+$", "", view)
