"""A backbone under a clustering head: what a checkpoint holds, and what predicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict, get_args

import lightning.pytorch as L
import torch
from lightning.pytorch.utilities.model_helpers import _restricted_classmethod
from torch import Tensor, nn
from typing_extensions import Unpack

from supercm_pl.backbones.features import Bottleneck
from supercm_pl.backbones.features import feature_size as find_feature_size
from supercm_pl.checkpoints.files import check_class_paths
from supercm_pl.checkpoints.hyperparameters import keep_class_paths
from supercm_pl.checks import check_at_least, check_choice, check_object
from supercm_pl.clustering import CentroidMode, ClusteringHead
from supercm_pl.options import hands_options_to
from supercm_pl.training.batch import check_joinable, inputs_to_predict, unpack_labeled
from supercm_pl.training.batch_norm import fixed_statistics
from supercm_pl.training.metrics import EvaluationMetrics
from supercm_pl.training.step import Outputs

PartView = tuple[str, str]
"""A part of the data and a view of it, such as ``("labeled", "weak")``."""

CompileMode = Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"]
"""The modes of ``torch.compile``."""

# The functional form, because `class` is a keyword.
Prediction = TypedDict(
    "Prediction",
    {"class": Tensor, "probability": Tensor, "assignments": Tensor, "features": Tensor},
)


class HeadOptions(TypedDict, total=False):
    """The options of :class:`~supercm_pl.ClusteringHead`, with its defaults."""

    centroids: CentroidMode
    momentum: float
    temperature: float
    alpha: float | Sequence[float]
    orthonormal: bool
    ortho_weight: float
    normalize: bool
    bias: bool


@hands_options_to(ClusteringHead)
class ClusteringNetwork(L.LightningModule):
    """A backbone, a bottleneck where asked for, and a :class:`~supercm_pl.ClusteringHead`.

    It loads, computes features, logits and assignments, and predicts; how it is trained is added by
    :class:`~supercm_pl.training.module.SuperCMModule`.

    Args:
        backbone: Maps inputs ``(N, ...)`` to features ``(N, d)``.
        num_classes: Number of classes ``K``, at least 2.
        bottleneck: Features of a linear layer with batch norm and ReLU between backbone and head;
            ``None``: no such layer.
        feature_size: What the backbone returns; ``None`` reads it off the backbone.
        channels_last: Keep images and the backbone's filters with channels last in memory, which
            makes most convolutions faster; results differ by rounding alone.
        compile_mode: Train with the backbone compiled by ``torch.compile`` in this mode;
            ``"reduce-overhead"`` and ``"max-autotune"`` replay CUDA graphs on a GPU. Names in
            checkpoints stay as they are, and results differ by rounding alone. Copies of the
            backbone that base methods keep are not compiled.
        **options: Those of :class:`~supercm_pl.ClusteringHead`.
    """

    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int,
        *,
        bottleneck: int | None = None,
        feature_size: int | None = None,
        channels_last: bool = False,
        compile_mode: CompileMode | None = None,
        **options: Unpack[HeadOptions],
    ) -> None:
        super().__init__()
        check_at_least("num_classes", num_classes, 2)
        check_object("backbone", backbone, nn.Module, "MLP(64, (32,))")
        for name, size in (("bottleneck", bottleneck), ("feature_size", feature_size)):
            if size is not None:
                check_at_least(name, size, 1)
        check_choice("compile_mode", compile_mode, (*get_args(CompileMode), None))
        self.backbone = backbone
        self.channels_last = channels_last
        if channels_last:
            backbone.to(memory_format=torch.channels_last)
        self.compile_mode = compile_mode
        self.num_classes = num_classes
        size = find_feature_size(backbone) if feature_size is None else feature_size
        self.bottleneck = nn.Identity() if bottleneck is None else Bottleneck(size, bottleneck)
        self.head = ClusteringHead(bottleneck or size, num_classes, **options)

    @_restricted_classmethod
    def load_from_checkpoint(
        cls,  # noqa: N805
        checkpoint_path: Any,
        map_location: Any = None,
        hparams_file: Any = None,
        strict: bool | None = None,
        weights_only: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """Lightning's, which unpickles nothing, and builds no class that nobody vouches for.

        ``weights_only=False`` turns both off, for a checkpoint that you trust as you trust code;
        see :func:`~supercm_pl.checkpoints.files.check_class_paths`.
        """
        weights_only = True if weights_only is None else weights_only
        saved = check_class_paths(checkpoint_path) if weights_only else {}
        changed = kwargs or hparams_file is not None
        with keep_class_paths({} if changed else saved):
            return super().load_from_checkpoint(
                checkpoint_path, map_location, hparams_file, strict, weights_only, **kwargs
            )

    @property
    def feature_extractor(self) -> nn.Module:
        """What maps inputs ``(N, ...)`` to features ``(N, d)``, the backbone and its bottleneck."""
        if isinstance(self.bottleneck, nn.Identity):
            return self.backbone
        return nn.Sequential(self.backbone, self.bottleneck)

    def setup(self, stage: str) -> None:
        """Have the backbone compiled at its first call, where ``compile_mode`` says so."""
        if stage == "fit" and self.compile_mode is not None:
            self.backbone.compile(mode=self.compile_mode)  # in place: no name in a checkpoint moves

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits ``(N, K)`` of inputs ``(N, ...)``."""
        return self.forward_outputs(inputs).logits

    def forward_outputs(self, inputs: Tensor) -> Outputs:
        """One forward pass: features, logits and assignments of inputs ``(N, ...)``."""
        if self.channels_last and inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        features = self.backbone(inputs)
        if self.compile_mode is not None:
            # What a CUDA graph returns lies in memory that its next replay writes anew.
            features = features.clone()
        features = self.bottleneck(features)
        return Outputs(inputs, features, *self.head(features))

    def forward_joint(self, parts: Mapping[PartView, Tensor]) -> dict[PartView, Outputs]:
        """One forward pass of all parts together."""
        if not parts:
            return {}
        check_joinable(parts)
        sizes = [len(inputs) for inputs in parts.values()]
        inputs = list(parts.values())
        joined = self.forward_outputs(torch.cat(inputs) if len(inputs) > 1 else inputs[0])
        if len(joined.features) != sum(sizes):
            raise ValueError(
                f"backbone must return a row of features for each of {sum(sizes)} inputs, "
                f"got {len(joined.features)}"
            )
        split = zip(*(torch.split(part, sizes) for part in joined), strict=True)
        return dict(zip(parts, (Outputs(*part) for part in split), strict=True))

    def forward_frozen_bn(self, inputs: Tensor) -> Outputs:
        """A forward pass that moves no statistics of batch norm."""
        with fixed_statistics(self.backbone, self.bottleneck):
            return self.forward_outputs(inputs)

    def predict_step(self, batch: Any, batch_idx: int = 0, dataloader_idx: int = 0) -> Prediction:
        """Class, its probability, assignments and features of a batch.

        Args:
            batch: Inputs ``(N, ...)``; or a mapping with ``inputs``; or a sequence that starts with
                them.
            batch_idx: Unused, as Lightning passes it.
            dataloader_idx: Unused, as Lightning passes it.

        Returns:
            ``class`` ``(N,)`` int64, ``probability`` ``(N,)``, ``assignments`` ``(N, K)``,
            ``features`` ``(N, d)``.
        """
        outputs = self.forward_outputs(inputs_to_predict(batch))
        probability, label = outputs.assignments.max(dim=1)
        return {
            "class": label,
            "probability": probability,
            "assignments": outputs.assignments,
            "features": outputs.features,
        }

    def _evaluate(self, batch: tuple[Tensor, Tensor], metrics: EvaluationMetrics) -> None:
        inputs, labels = unpack_labeled("evaluation", batch, 2)
        metrics.update(self.forward_outputs(inputs).assignments, labels)

    def _log_and_reset(self, metrics: EvaluationMetrics, prog_bar: str | None = None) -> None:
        for name, value in metrics.compute().items():
            # Already the same on every rank; Lightning would warn that it can't know.
            self.log(name, value, prog_bar=name == prog_bar, sync_dist=True)
        metrics.reset()
