"""Global contrast normalization and ZCA whitening, the literature's preprocessing of CIFAR.

Both map images ``(B, C, H, W)`` to images. Unlike augmentation, they apply to evaluation too.
Arguments out of range raise a ``ValueError``.
"""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from supercm_pl.checks import check_not_negative, check_positive
from supercm_pl.data.datasets import as_float
from supercm_pl.data.transforms.augment import check_images

_CHUNK = 1024
_HINT = "scale vectors before, as by scikit-learn's StandardScaler"


class GlobalContrastNormalization(nn.Module):
    """Subtract each image's mean and divide by its norm.

    For an image ``x`` with ``x̄`` the mean of all its values, on the scale from 0 to 255::

        scale · (x − x̄) / sqrt(bias + ‖x − x̄‖²)

    Args:
        scale: Norm of the result, above 0. With the literature's 55, values of 32×32×3 images have
            a standard deviation of about 1.
        bias: Added to the squared norm, 0 or more, on the scale from 0 to 255 (where the squared
            norm of a 32×32 photograph is about 10⁷), so that noise in a nearly constant image is
            not amplified. A constant image always becomes 0.

    Example:
        >>> images = GlobalContrastNormalization()(torch.rand(2, 3, 32, 32))
        >>> images.flatten(1).norm(dim=1).round()
        tensor([55., 55.])
    """

    def __init__(self, scale: float = 55.0, bias: float = 10.0) -> None:
        super().__init__()
        self.scale = check_positive("scale", scale)
        self.bias = check_not_negative("bias", bias)

    def forward(self, images: Tensor) -> Tensor:
        """Normalize images ``(B, C, H, W)``, floats in ``[0, 1]`` or ``uint8``, to floats."""
        check_images(images, _HINT)
        images = as_float(images)
        centered = images - images.mean((1, 2, 3), keepdim=True)
        squared_norm = centered.square().sum((1, 2, 3), keepdim=True)
        # Rounding errors of a constant image are not contrast.
        rounding = images.shape[1:].numel() * (16.0 * torch.finfo(images.dtype).eps) ** 2
        divisor = (squared_norm + self.bias / 255.0**2).sqrt()
        return self.scale * centered / divisor.masked_fill(squared_norm <= rounding, 1.0)


class ZCA(nn.Module):
    """Whiten images by the covariance of the training images, with the least change.

    Krizhevsky, *Learning Multiple Layers of Features from Tiny Images* (2009), appendix A. With
    ``μ`` and ``Σ = U diag(s) Uᵀ`` the mean and covariance of the flattened images::

        (x − μ) U diag(s + epsilon)^(−1/2) Uᵀ

    The defaults are those of Oliver et al., *Realistic Evaluation of Deep Semi-Supervised Learning
    Algorithms* (2018), for CIFAR: first global contrast normalization with scale 55, and 0.1 on the
    covariance's diagonal.

    Fit it before use, by :meth:`fit`, :meth:`load` or ``load_state_dict``.

    Args:
        epsilon: Added to the variances, 0 or more, so that directions in which images hardly vary
            are not amplified. The variance of a pixel is about 1 after contrast normalization, and
            below 0.1 without it, where 0.001 is a good start.
        contrast_scale: Of the :class:`GlobalContrastNormalization` before it; ``None`` for none.

    Attributes:
        mean: Buffer ``(C, H, W)``; empty before fitting.
        whitening: Buffer ``(C·H·W, C·H·W)``, symmetric; empty before fitting.

    Raises:
        ValueError: In the forward pass, if images have another shape than the fitted ones.
        RuntimeError: In the forward pass, before fitting.

    Example:
        >>> images = torch.rand(500, 1, 4, 4)
        >>> whitened = ZCA(epsilon=0.0, contrast_scale=None).fit(images)(images)
        >>> torch.allclose(whitened.flatten(1).T.cov(), torch.eye(16), atol=1e-4)
        True
    """

    mean: Tensor
    whitening: Tensor

    def __init__(self, epsilon: float = 0.1, contrast_scale: float | None = 55.0) -> None:
        super().__init__()
        self.epsilon = check_not_negative("epsilon", epsilon)
        self.contrast_scale = contrast_scale
        self.contrast = (
            nn.Identity() if contrast_scale is None else GlobalContrastNormalization(contrast_scale)
        )
        self.register_buffer("mean", torch.empty(0))
        self.register_buffer("whitening", torch.empty(0))

    @property
    def fitted(self) -> bool:
        """Whether mean and covariance are known."""
        return self.mean.numel() > 0

    @torch.no_grad()
    def fit(self, images: Tensor | Iterable[Tensor]) -> ZCA:
        """Estimate mean and covariance, in double precision and one pass, on the images' device.

        Needs memory for a few matrices ``(C·H·W, C·H·W)`` and one chunk of images: about 0.5 GB for
        CIFAR.

        Args:
            images: ``(N, C, H, W)``, floats in ``[0, 1]`` or ``uint8``, or an iterable of batches.

        Returns:
            Itself.

        Raises:
            ValueError: If there are fewer than two images, they differ in shape, contain NaN or
                Inf, or have no variance in some direction and ``epsilon`` is 0.
        """
        count, total, products = 0, torch.empty(0), torch.empty(0)
        origin, shape = torch.empty(0), torch.Size()
        for batch in torch.split(images, _CHUNK) if isinstance(images, Tensor) else images:
            check_images(batch, _HINT)
            rows = self.contrast(as_float(batch)).flatten(1)
            # MPS has no double precision.
            rows = (rows.cpu() if rows.device.type == "mps" else rows).double()
            if not count:
                shape, origin = batch.shape[1:], rows.mean(0)
                total = torch.zeros_like(origin)
                products = rows.new_zeros(len(origin), len(origin))
            if batch.shape[1:] != shape:
                both = f"{tuple(shape)} and {tuple(batch.shape[1:])}"
                raise ValueError(f"images must all have one shape, got {both}")
            # Relative to a mean, or the difference below would lose precision.
            rows -= origin
            count += len(rows)
            total += rows.sum(0)
            products.addmm_(rows.T, rows)
        if count < 2:
            raise ValueError(f"ZCA must be fitted on two images or more, got {count}")
        if not products.isfinite().all():
            raise ValueError("ZCA can't be fitted on images with NaN or Inf")
        shift = total / count
        covariance = products.sub_(torch.outer(shift, shift).mul_(count)).div_(count - 1)
        variances, directions = torch.linalg.eigh(covariance)
        variances = variances.clamp(min=0.0) + self.epsilon
        if variances.min() <= 1e-12 * variances.max():
            raise ValueError(
                f"the {count} images have no variance in some direction: use an epsilon above "
                f"{self.epsilon}, or more images than the {len(shift)} values of each"
            )
        whitening = (directions * variances.rsqrt()) @ directions.T
        self.mean = (origin + shift).view(shape).to(self.mean)
        self.whitening = whitening.to(self.whitening)
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Whiten images ``(B, C, H, W)``, floats in ``[0, 1]`` or ``uint8``, to floats."""
        if not self.fitted:
            raise RuntimeError("ZCA is not fitted: call fit(images), or ZCA.load(path)")
        check_images(images, _HINT)
        if images.shape[1:] != self.mean.shape:
            raise ValueError(
                f"ZCA was fitted on images of shape {tuple(self.mean.shape)}, "
                f"got {tuple(images.shape[1:])}"
            )
        contrasted: Tensor = self.contrast(as_float(images))
        centered = (contrasted - self.mean).flatten(1).to(self.whitening.dtype)
        return (centered @ self.whitening).view(images.shape).to(contrasted.dtype)

    def save(self, path: str | PathLike[str]) -> None:
        """Write arguments and buffers to a file, in an existing folder."""
        if not self.fitted:
            raise RuntimeError("ZCA is not fitted: there is nothing to save")
        arguments = {"epsilon": self.epsilon, "contrast_scale": self.contrast_scale}
        torch.save({**arguments, **self.state_dict()}, path)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> ZCA:
        """Read a file written by :meth:`save`, without running code from it."""
        try:
            content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            zca = cls(content.pop("epsilon"), content.pop("contrast_scale"))
            zca.load_state_dict(content)
        except (RuntimeError, UnpicklingError, EOFError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is not a file written by ZCA.save: {error}") from error
        return zca

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *others: Any, **options: Any
    ) -> None:
        # The buffers take the size of what is loaded.
        for name in ("mean", "whitening"):
            value = state_dict.get(prefix + name)
            buffer = getattr(self, name)
            if isinstance(value, Tensor) and buffer.shape != value.shape:
                setattr(self, name, buffer.new_empty(value.shape))
        super()._load_from_state_dict(state_dict, prefix, *others, **options)
