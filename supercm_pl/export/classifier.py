"""Preprocessing, network and head as one exportable module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from supercm_pl.checks import check_sizes, shown
from supercm_pl.data.datasets import as_float, check_finite
from supercm_pl.data.inspection import check_scale
from supercm_pl.export.predictions import Predictions, inputs_by_row
from supercm_pl.training.module import SuperCMModule

OUTPUTS = ("probabilities", "logits", "features")
"""Outputs of a :class:`Classifier`: ``(N, K)``, ``(N, K)`` and ``(N, d)``."""


class Classifier(nn.Module):
    """Classifier of inputs in the form of the data, before preprocessing.

    Inputs are floats, or images in ``[0, 1]``. The data module's preprocessing, the backbone with
    its own normalization, and the head follow. Images must have the size of the training data.

    Args:
        module: Trained module. It is not copied, and is set to evaluation mode.
        classes: Names of the ``K`` classes.
        input_shape: Shape of one input, ``(C, H, W)`` or ``(D,)``.
        preprocess: Fitted preprocessing of the data module, or ``None``.
        uint8: Exported files take ``uint8`` from 0 to 255 instead of floats. This module takes
            both.

    Raises:
        TypeError: If ``module`` is not a :class:`~supercm_pl.training.module.SuperCMModule`, or
            ``classes`` are not names.
        ValueError: If the number of names differs from ``K``, a size is below 1, or ``preprocess``
            is not fitted.

    Example:
        >>> from supercm_pl import SSLModule
        >>> from supercm_pl.backbones import MLP
        >>> module = SSLModule(MLP(4, hidden_features=(8,)), num_classes=3)
        >>> classifier = Classifier(module, ["a", "b", "c"], (4,))
        >>> [tuple(output.shape) for output in classifier(torch.zeros(2, 4))]
        [(2, 3), (2, 3), (2, 8)]
    """

    def __init__(
        self,
        module: SuperCMModule,
        classes: Sequence[str],
        input_shape: Sequence[int],
        *,
        preprocess: nn.Module | None = None,
        uint8: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(module, SuperCMModule):
            raise TypeError(
                f"module must be an SSLModule or UDAModule, got {shown(module)}: load_classifier "
                "reads checkpoints"
            )
        if module.num_classes is None:
            raise ValueError("module must be trained, or have num_classes: it has no head yet")
        if isinstance(classes, int | str):
            raise TypeError(f"classes must be names, as in data.classes, got {classes!r}")
        if len(classes) != module.num_classes:
            raise ValueError(
                f"classes must name the {module.num_classes} classes of the module, got "
                f"{len(classes)}: {', '.join(map(str, classes)):.200}"
            )
        check_sizes("input_shape", input_shape)
        if not getattr(preprocess, "fitted", True):
            raise ValueError(f"preprocess must be fitted, got {type(preprocess).__name__} unfitted")
        self.module = module
        self.classes = tuple(map(str, classes))
        self.input_shape = tuple(input_shape)
        self.preprocess = nn.Identity() if preprocess is None else preprocess
        self.uint8 = uint8
        self.eval()

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return probabilities, logits and features of inputs ``(N, *input_shape)``."""
        return self._outputs(as_float(inputs))

    def _outputs(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        outputs = self.module.forward_outputs(self.preprocess(inputs))
        return outputs.assignments, outputs.logits, outputs.features

    @torch.no_grad()
    def predict(self, inputs: Any, batch_size: int = 256) -> Predictions:
        """Predict the classes of image files or arrays.

        Args:
            inputs: A folder with images at any depth; a file or a PIL image, or a list of them; or
                an array or tensor ``(N, *input_shape)`` of floats or ``uint8``, where images
                may also be ``(N, H, W, C)``, and gray ones ``(N, H, W)``. Images of files and of
                PIL are converted to the input's shape.
            batch_size: Inputs per forward pass.

        Raises:
            ValueError: If there is no image, a file is unreadable, or inputs have another shape or
                are not finite.
        """
        parameter = next(self.module.parameters())
        ids, fetch = inputs_by_row(inputs, self.input_shape)
        parts = [torch.empty(0, len(self.classes))]
        for start in range(0, len(ids), batch_size):
            rows = np.arange(start, min(start + batch_size, len(ids)))
            batch = fetch(rows)
            check_finite(batch, "inputs", rows)
            check_scale("inputs", batch, warn=start == 0)
            batch = as_float(batch)
            parts.append(self._outputs(batch.to(parameter.device, parameter.dtype))[0].cpu())
        probabilities = torch.cat(parts)
        names = [self.classes[label] for label in probabilities.argmax(dim=1)]
        return Predictions(ids, names, probabilities)

    def example(self, count: int = 2) -> Tensor:
        """Return fixed random inputs ``(count, *input_shape)`` on the module's device."""
        generator = torch.Generator().manual_seed(0)
        inputs = torch.rand(count, *self.input_shape, generator=generator)
        if self.uint8:
            inputs = (inputs * 255.0).to(torch.uint8)
        return inputs.to(next(self.module.parameters()).device)
