"""Domains made of what is installed anyway: digits over patches of photographs."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from supercm_pl.data.datasets import TensorData
from supercm_pl.data.sources.base import Digits, Source, SourceData
from supercm_pl.seeding import derive_seed

_PATCH = 64  # pixels of a photograph that a patch shows, whatever its size


class DigitsM(Source):
    """The images of :class:`~supercm_pl.data.Digits` blended over patches of photographs.

    Made as MNIST-M was (Ganin et al., *Domain-adversarial training of neural networks*, JMLR 2016):
    each channel is ``|patch - digit|``, with a patch of a photograph chosen anew for each digit.
    The photographs are the two that come with scikit-learn, scaled so that a patch shows 64 of
    their pixels. The images are the same whatever the seed of the run, and rows and parts are those
    of ``Digits``: a test image shows a digit of its test set.

    Args:
        size: Height and width in pixels, 8 to 64; digits are enlarged from 8 by bilinear
            interpolation.

    Raises:
        ValueError: If the size is out of range.

    Example:
        >>> data = DigitsM().load()
        >>> data.train.inputs.shape, len(data.test)
        (torch.Size([1347, 3, 16, 16]), 450)
    """

    def __init__(self, size: int = 16) -> None:
        if not 8 <= size <= _PATCH:
            raise ValueError(f"size must be in 8..{_PATCH} pixels, got {size}")
        self.size = size

    def load(self) -> SourceData:
        """Read digits and photographs from the installed scikit-learn, and blend them."""
        digits = Digits().load()
        assert isinstance(digits.train, TensorData)
        assert isinstance(digits.test, TensorData)
        photos = _photographs(self.size / _PATCH)
        return replace(
            digits,
            train=self._blended(digits.train, photos, "train"),
            test=self._blended(digits.test, photos, "test"),
        )

    def class_names(self) -> tuple[str, ...]:
        """The ten digits."""
        return Digits().class_names()

    def _blended(self, digits: TensorData, photos: list[Tensor], part: str) -> TensorData:
        enlarged = F.interpolate(
            digits.inputs, size=self.size, mode="bilinear", align_corners=False
        )
        patches = [self._patch(photos, part, row) for row in range(len(digits))]
        return TensorData((torch.stack(patches) - enlarged).abs_().clamp_(max=1.0), digits.targets)

    def _patch(self, photos: list[Tensor], part: str, row: int) -> Tensor:
        draw, which = divmod(derive_seed(0, "digits-m", part, row), len(photos))
        _, height, width = photos[which].shape
        draw, top = divmod(draw, height - self.size + 1)
        left = draw % (width - self.size + 1)
        return photos[which][:, top : top + self.size, left : left + self.size]


def _photographs(scale: float) -> list[Tensor]:
    from sklearn.datasets import load_sample_images

    photos = []
    for image in load_sample_images().images:  # (H, W, 3) bytes
        photo = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255.0
        height, width = (round(side * scale) for side in photo.shape[2:])
        photos.append(F.interpolate(photo, (height, width), mode="bilinear", antialias=True)[0])
    return photos
