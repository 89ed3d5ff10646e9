"""A backbone with a clustering head: loading, forward passes and prediction."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, TypedDict, get_args

import lightning.pytorch as L
import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from supercm_pl._lightning import data_module_of, restricted_classmethod
from supercm_pl.backbones.features import (
    Bottleneck,
    check_features,
    check_fits,
    check_no_classifier,
)
from supercm_pl.backbones.features import feature_size as find_feature_size
from supercm_pl.checkpoints.building import load_module, read_hyperparameters
from supercm_pl.checkpoints.data_state import data_state, load_preprocess
from supercm_pl.checkpoints.files import forget_other_files, read_checkpoint
from supercm_pl.checkpoints.hyperparameters import plain_values
from supercm_pl.checks import (
    check_at_least,
    check_choice,
    check_object,
    check_optional,
    is_readable,
)
from supercm_pl.clustering import CentroidMode, ClusteringHead
from supercm_pl.data.datasets import as_float, check_finite
from supercm_pl.data.inspection import check_scale
from supercm_pl.data.labels import check_same_classes, known_names
from supercm_pl.options import check_options, hands_options_to
from supercm_pl.training.batch import check_joinable, inputs_to_predict, unpack_labeled
from supercm_pl.training.metrics import EvaluationMetrics
from supercm_pl.training.modes import fixed_statistics
from supercm_pl.training.step import Outputs

_COMPILED = "_orig_mod."  # in the names of a module that torch.compile has wrapped

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
    alpha: float | Sequence[float] | Literal["balanced"]
    orthonormal: bool
    ortho_weight: float
    normalize: bool
    bias: bool


class _NoHead(nn.Module):
    """Holds the place of the head, and that of its parameters in an optimizer."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"there is no head.{name} before num_classes is known: override build_head, where it "
            "is; self.num_features is the size of the head's input"
        )


@hands_options_to(ClusteringHead)
class ClusteringNetwork(L.LightningModule):
    """A backbone, an optional bottleneck and a :class:`~supercm_pl.ClusteringHead`.

    It loads checkpoints, computes features, logits and assignments, and predicts.
    :class:`~supercm_pl.training.module.SuperCMModule` adds training.

    Args:
        backbone: Maps inputs ``(N, ...)`` to features ``(N, d)``.
        num_classes: Number of classes ``K``, at least 2; ``None``: that of the data module, in its
            ``setup``, or of the labels of a loader. A different number in the data is an error.
        bottleneck: Size of a linear layer with batch norm and ReLU between backbone and head;
            ``None``: no such layer.
        feature_size: Number ``d`` of features of the backbone; ``None``: read from the backbone.
        channels_last: Store images and convolution weights with channels last, which makes most
            convolutions faster; results differ only by rounding.
        compile_mode: Train with the backbone compiled by ``torch.compile`` in this mode;
            ``"reduce-overhead"`` and ``"max-autotune"`` replay CUDA graphs on a GPU. Names in
            checkpoints do not change, and results differ only by rounding. Copies of the backbone
            in methods are not compiled.
        **options: Options of :class:`~supercm_pl.ClusteringHead`.

    Attributes:
        head: The head; it exists once the number of classes is known.
        num_features: ``d``, the number of features that the head takes.
    """

    head: ClusteringHead
    _preprocess: list[nn.Module]
    _lacks: str | None

    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int | None = None,
        *,
        bottleneck: int | None = None,
        feature_size: int | None = None,
        channels_last: bool = False,
        compile_mode: CompileMode | None = None,
        **options: Unpack[HeadOptions],
    ) -> None:
        check_options(type(self), options, HeadOptions)
        super().__init__()
        check_optional(check_at_least, "num_classes", num_classes, 2)
        example = "MLP(64, (32,))"
        if isinstance(backbone, str):
            name = backbone.removeprefix("timm/")
            example = f'{"Torchvision" if name == backbone else "Timm"}Backbone("{name}")'
        check_object("backbone", backbone, nn.Module, example)
        check_no_classifier(backbone)
        check_optional(check_at_least, "bottleneck", bottleneck, 1)
        check_optional(check_at_least, "feature_size", feature_size, 1)
        check_choice("compile_mode", compile_mode, (*get_args(CompileMode), None))
        self.backbone = backbone
        self.channels_last = channels_last
        if channels_last:
            backbone.to(memory_format=torch.channels_last)
        self.compile_mode = compile_mode
        self.use_preprocess(None)
        self._class_names: tuple[str, ...] = ()  # of the data that it was trained on
        self.has_trained_head = False
        self._has_looked = False  # at inputs on a device, which costs a synchronization
        self.num_classes = num_classes
        size = find_feature_size(backbone) if feature_size is None else feature_size
        self._feature_size = size
        self.bottleneck = nn.Identity() if bottleneck is None else Bottleneck(size, bottleneck)
        self.num_features = size if bottleneck is None else bottleneck
        self.head = _NoHead()  # type: ignore[assignment]
        self._head_options: dict[str, Any] = {"in_features": self.num_features, **options}

    def build_head(self, num_classes: int) -> None:
        """Create the head; a subclass also creates what depends on the number of classes.

        The constructor calls it, or the start of training if ``num_classes`` is then known first.
        """
        self.num_classes = num_classes
        self.head = ClusteringHead(num_classes=num_classes, **self._head_options)

    @restricted_classmethod
    def load_from_checkpoint(
        cls,  # noqa: N805
        checkpoint_path: Any,
        map_location: Any = None,
        hparams_file: Any = None,
        strict: bool | None = None,
        weights_only: bool | None = None,
        *,
        trust: str | Collection[str] = (),
        **kwargs: Any,
    ) -> Any:
        """Load as Lightning does, but unpickle nothing, parse no text, build only trusted classes.

        Trusted are the classes that :func:`~supercm_pl.checkpoints.trust.resolve` accepts, this
        class and its package, and the packages in ``trust``, such as ``"mine"``.
        ``weights_only=False`` disables all of this: the file can then run any code.
        """
        if isinstance(map_location, nn.Module):
            raise TypeError("write load_from_checkpoint(path, backbone=...), by its name")
        if weights_only is False:
            return super().load_from_checkpoint(
                checkpoint_path, map_location, hparams_file, strict, weights_only, **kwargs
            )
        content = read_checkpoint(checkpoint_path, map_location)
        if hparams_file is not None:
            content["hyper_parameters"] = read_hyperparameters(hparams_file)
        return load_module(cls, content, strict, trust, **kwargs)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave objects out of the hyperparameters, which a subclass may have saved."""
        checkpoint["hyper_parameters"] = plain_values(checkpoint.get("hyper_parameters", {}))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Make callbacks forget files outside the folders of the run."""
        if self._trainer is not None:
            forget_other_files(self._trainer, checkpoint)
        state = data_state(checkpoint)
        names, self.has_trained_head = state.get("classes"), True
        self._class_names = known_names(names if isinstance(names, list) else ())
        self._check_class_names()
        if "preprocess" in state and not self._preprocess:
            try:
                self.use_preprocess(load_preprocess(state))
            except ValueError:  # the user's own class, which only a data module has then
                kind = state.get("preprocess_class")
                known = kind.get("class_path") if isinstance(kind, Mapping) else None
                self._lacks = str(known or "a module of your own")

    def _check_class_names(self) -> None:
        names = known_names(getattr(data_module_of(self._trainer), "classes", None) or ())
        check_same_classes(self._class_names, names)

    def use_preprocess(self, preprocess: nn.Module | None) -> None:
        """Apply a fitted module to inputs that no data module has prepared.

        The data module calls it with its ``preprocess``, and so do checkpoints.
        """
        # In a list: its parameters and buffers are those of the data module, not of this one.
        self._preprocess, self._lacks = [] if preprocess is None else [preprocess], None

    def state_dict(self, *args: Any, **options: Any) -> dict[str, Any]:  # type: ignore[override]
        """Return the state, with the names of an uncompiled backbone also if it is compiled."""
        state: dict[str, Any] = super().state_dict(*args, **options)
        for name in [name for name in state if _COMPILED in name]:
            state[name.replace(_COMPILED, "")] = state.pop(name)
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **options: Any) -> Any:
        """Load the state, of a compiled backbone or not."""
        names = (name for name, _ in (*self.named_parameters(), *self.named_buffers()))
        own = {name.replace(_COMPILED, ""): name for name in names}
        plain = {name.replace(_COMPILED, ""): value for name, value in state_dict.items()}
        state = {own.get(name, name): value for name, value in plain.items()}
        return super().load_state_dict(state, *args, **options)

    @property
    def preprocess(self) -> nn.Module | None:
        """The module of :meth:`use_preprocess`; a ``ValueError`` if none can be rebuilt."""
        if self._lacks is not None:
            raise ValueError(
                f"the model was trained on inputs that {self._lacks} had preprocessed: pass the "
                "fitted object to use_preprocess, or use the data module"
            )
        return self._preprocess[0] if self._preprocess else None

    def prepare(self, inputs: Tensor) -> Tensor:
        """Convert inputs ``(N, ...)`` of the data to those of the backbone, as in training.

        ``uint8`` becomes floats in ``[0, 1]``, and the data module's ``preprocess`` follows.

        Raises:
            TypeError: If they are not a tensor.
            ValueError: If images are floats from 0 to 255, which is checked on the CPU, and on
                another device in the first call; or as in :attr:`preprocess`.
        """
        given: Any = inputs
        if not isinstance(given, Tensor):
            kind = type(given).__name__
            hint = "torch.as_tensor(inputs)"
            if isinstance(given, str | Mapping):
                hint = 'x = batch["inputs"] for a batch to predict, {"inputs": x, "ids": ids}'
            raise TypeError(f"inputs must be a tensor, got {kind}: write {hint}")
        if not self._has_looked or is_readable(inputs):
            check_scale("inputs", inputs, warn=not self._has_looked)
            self._has_looked = True
        inputs, preprocess = as_float(inputs), self.preprocess
        if inputs.dtype == torch.float64:  # NumPy's default
            inputs = inputs.to(self.dtype)
        return inputs if preprocess is None else preprocess.to(inputs.device)(inputs)

    def _prepared(self, inputs: Tensor) -> Tensor:
        # The data modules of this package prepare batches on the device.
        data = data_module_of(self._trainer)
        if getattr(data, "prepares_inputs", False):
            return inputs
        if not self.training and is_readable(inputs):  # else NaN would be of some class
            check_finite(inputs, "inputs")
        return self.prepare(inputs)

    @property
    def feature_extractor(self) -> nn.Module:
        """The backbone and the bottleneck, which map inputs ``(N, ...)`` to features ``(N, d)``."""
        if isinstance(self.bottleneck, nn.Identity):
            return self.backbone
        return nn.Sequential(self.backbone, self.bottleneck)

    def setup(self, stage: str) -> None:
        """Compile the backbone at its first call, if ``compile_mode`` is set.

        A ``ValueError`` outside ``fit`` if the classes of the data have other names, or another
        order, than those that the model was trained on.
        """
        if stage != "fit":
            self._check_class_names()
        if stage == "fit" and self.compile_mode is not None:
            self.backbone.compile(mode=self.compile_mode)  # in place: names do not change

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits ``(N, K)`` of inputs ``(N, ...)`` of the data; see :meth:`prepare`."""
        return self.forward_outputs(self.prepare(inputs)).logits

    def forward_outputs(self, inputs: Tensor) -> Outputs:
        """Run a forward pass: features, logits and assignments of inputs ``(N, ...)``."""
        if self.num_classes is None:
            raise RuntimeError(
                "num_classes is not known before training with a data module: pass it to the module"
            )
        if self.channels_last and inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        try:
            features = self.backbone(inputs)
            if self.compile_mode is not None:
                # The next replay of a CUDA graph overwrites the memory of its outputs.
                features = features.clone()
            check_features(self.backbone, features, self._feature_size)
            features = self.bottleneck(features)
        except (RuntimeError, AssertionError, ValueError) as error:
            check_fits(self.backbone, inputs, error)
            raise
        return Outputs(inputs, features, *self.head(features))

    def forward_joint(self, parts: Mapping[PartView, Tensor]) -> dict[PartView, Outputs]:
        """Run one forward pass of all parts together."""
        if not parts:
            return {}
        check_joinable(parts)
        sizes = [len(inputs) for inputs in parts.values()]
        inputs = list(parts.values())
        joined = self.forward_outputs(torch.cat(inputs) if len(inputs) > 1 else inputs[0])
        if len(joined.features) != sum(sizes):
            raise ValueError(
                f"backbone must return one feature vector for each of {sum(sizes)} inputs, "
                f"got {len(joined.features)}"
            )
        split = zip(*(torch.split(part, sizes) for part in joined), strict=True)
        return dict(zip(parts, (Outputs(*part) for part in split), strict=True))

    def forward_frozen_bn(self, inputs: Tensor) -> Outputs:
        """Run a forward pass that does not update batch-norm statistics."""
        with fixed_statistics(self.backbone, self.bottleneck):
            return self.forward_outputs(inputs)

    def predict_step(self, batch: Any, batch_idx: int = 0, dataloader_idx: int = 0) -> Prediction:
        """Predict a batch: inputs ``(N, ...)``, a mapping with ``inputs``, or a sequence of them.

        Returns:
            ``class`` ``(N,)`` int64, ``probability`` ``(N,)``, ``assignments`` ``(N, K)``,
            ``features`` ``(N, d)``.
        """
        outputs = self.forward_outputs(self._prepared(inputs_to_predict(batch)))
        probability, label = outputs.assignments.max(dim=1)
        return {
            "class": label,
            "probability": probability,
            "assignments": outputs.assignments,
            "features": outputs.features,
        }

    def _evaluate(self, batch: tuple[Tensor, Tensor], metrics: EvaluationMetrics) -> None:
        inputs, labels = unpack_labeled("evaluation", batch, 2)
        metrics.update(self.forward_outputs(self._prepared(inputs)).assignments, labels)

    def _log_and_reset(self, metrics: EvaluationMetrics, prog_bar: str | None = None) -> None:
        # All ranks decide together: with few samples, some ranks may have none.
        if not self.trainer.strategy.reduce_boolean_decision(metrics.has_data, all=False):
            return
        for name, value in metrics.compute().items():
            # All ranks have the same value; `sync_dist` avoids Lightning's warning.
            self.log(name, value, prog_bar=name == prog_bar, sync_dist=True)
        metrics.reset()
