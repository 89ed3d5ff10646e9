"""A source of samples: images drawn here. Replace the drawing by reading your files."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import TensorDataset

from supercm_pl import SSLDataModule
from supercm_pl.data import AffineNoise, Source, SourceData

SIZE = 16


class Shapes(Source):
    """Squares, discs and crosses of random place and size, ``1 x 16 x 16``, in noise.

    Args:
        train: Number of training images.
        test: Number of test images.
        noise: Standard deviation of the noise; another value gives another domain.
        seed: Seed of all random numbers.
    """

    def __init__(
        self,
        train: int = 600,
        test: int = 300,
        noise: float = 0.1,
        seed: int = 0,
    ) -> None:
        self.train = train
        self.test = test
        self.noise = noise
        self.seed = seed

    def load(self) -> SourceData:
        """Draw the images; the data module makes the split."""
        rng = np.random.default_rng(self.seed)
        return SourceData(
            train=self._draw(rng, self.train),
            test=self._draw(rng, self.test),
            classes=self.class_names(),
        )

    def class_names(self) -> tuple[str, ...]:
        """The names, known without drawing."""
        return ("square", "disc", "cross")

    def _draw(self, rng: np.random.Generator, count: int) -> TensorDataset:
        labels = rng.integers(3, size=count)
        x0, y0 = rng.uniform(5, SIZE - 6, (2, count, 1, 1))
        radius = rng.uniform(3, 5, (count, 1, 1))
        y, x = np.mgrid[:SIZE, :SIZE]
        dx, dy = np.abs(x - x0), np.abs(y - y0)
        square = np.maximum(dx, dy) <= radius
        disc = dx**2 + dy**2 <= radius**2
        cross = square & (np.minimum(dx, dy) <= 1)
        images = np.choose(labels[:, None, None], [square, disc, cross]).astype(np.float64)
        images = np.clip(images + rng.normal(0.0, self.noise, images.shape), 0.0, 1.0)
        return TensorDataset(
            torch.from_numpy(images.astype(np.float32))[:, None], torch.from_numpy(labels)
        )


class ShapesDataModule(SSLDataModule):
    """:class:`Shapes` with suitable views: a data module with its own settings.

    Args:
        labels_per_class: Labeled images of each class.
        noise: Of the images.
        steps_per_epoch: Training batches of an epoch.
    """

    def __init__(
        self, labels_per_class: int = 4, noise: float = 0.1, steps_per_epoch: int = 50
    ) -> None:
        super().__init__(
            Shapes(noise=noise),
            labels_per_class=labels_per_class,
            steps_per_epoch=steps_per_epoch,
            labeled_batch_size=12,
            unlabeled_batch_size=48,
            weak=AffineNoise(rotation=0.1, shift=0.1, scale=0.1, noise=0.05),
            strong=AffineNoise(rotation=0.3, shift=0.2, scale=0.2, noise=0.2),
        )
