"""Views of a batch: which of them the module asks for, and how they are made on the device."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

Views = Mapping[str, tuple[str, ...]]
"""Names of views, each with the names of those who ask for it."""
INDEX = "index"
"""The view of a stream that is the numbers of its samples."""


def required_views(module: object, stream: str) -> Views:
    """The views of a stream that a module asks for; ``"weak"`` where it does not say."""
    views: Mapping[str, Views] = getattr(module, "required_views", {})
    return views.get(stream, {"weak": ()})


def check_views(wanted: Views, transforms: Mapping[str, nn.Module | None]) -> None:
    """Refuse views that can't be made.

    Raises:
        ValueError: If there is no transform for one; it names who asks for it.
    """
    for view, askers in wanted.items():
        who = " and ".join(askers) or "the module"
        kind = kind_of(view)
        if view == INDEX:
            continue
        if kind not in transforms:
            raise ValueError(f'{who} wants the view "{view}"; there are "weak" and "strong"')
        if kind == "strong" and transforms[kind] is None:
            raise ValueError(
                f'{who} wants the view "{view}", but the data module has no transform for it: '
                "give it one as strong=..."
            )


def make_view(view: str, images: Tensor, transforms: Mapping[str, nn.Module | None]) -> Tensor:
    """One view ``(B, ...)`` of inputs ``(B, ...)``, by the transform of its kind.

    Raises:
        ValueError: If the transform gives more or fewer outputs than inputs.
    """
    transform = transforms[kind_of(view)]
    if transform is None:
        return images
    if images.dtype in (torch.float16, torch.bfloat16):
        images = images.float()  # coordinates of pixels need more than eight bits
    augmented: Tensor = transform.to(images.device)(images)
    if len(augmented) != len(images):
        raise ValueError(
            f'the transform of the view "{kind_of(view)}" must give one output for each input, '
            f"got {len(augmented)} for {len(images)}"
        )
    return augmented


def kind_of(view: str) -> str:
    """``"weak"`` of ``"weak_2"``, and so on."""
    return re.sub(r"_\d+$", "", view)


def as_float(inputs: Tensor) -> Tensor:
    """``uint8`` 0..255 as float32 in ``[0, 1]``; any other type as it is."""
    return inputs.float().div_(255.0) if inputs.dtype == torch.uint8 else inputs
