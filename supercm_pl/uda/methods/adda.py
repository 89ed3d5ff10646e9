"""ADDA: an encoder of the target that is taken for the frozen encoder of the source."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor, nn
from torch.func import functional_call

from supercm_pl.checks import check_flag, check_fraction
from supercm_pl.clustering import ClusteringHead
from supercm_pl.precision import math_dtype
from supercm_pl.training.method import Method, MethodLoss, Ramp
from supercm_pl.uda.methods.discriminator import (
    Discriminator,
    check_widths,
    domain_accuracy,
    domain_loss,
)
from supercm_pl.uda.step import UDAStep


class ADDA(Method):
    r"""Two stages in one run: training on the source, then an encoder for the target.

    Until ``progress`` reaches ``pretrain``, the model is trained on the labeled rows alone. Then
    the encoder, which is the backbone and its bottleneck, is copied and frozen as the source's
    :math:`f_s`. The model's own goes on as the target's :math:`f_t`, without labels and under a
    head that stays as it is, against a discriminator, which learns as ever,

    .. math::
        -\tfrac{1}{2} \mathbb{E}_s \log D(f_s(x_s))
        -\tfrac{1}{2} \mathbb{E}_t \log(1 - D(f_t(x_t))),

    while the encoder learns from inverted labels,
    :math:`-\tfrac{1}{2} \mathbb{E}_t \log D(f_t(x_t))`.

    Tzeng et al., *Adversarial Discriminative Domain Adaptation* (CVPR 2017), equation 9, with two
    hidden layers of 500 units as for their digits. As in the authors' code, one step takes the
    gradients of both; other than there, both stages share one optimizer and schedule. The first
    optimizer step at or after ``pretrain`` is the last one of the first stage, and batch norm in
    the frozen encoder uses its running statistics. Labeled target rows are in the first stage's
    cross-entropy alone.

    In the second stage ``train/ce`` is 0, and only target rows go through the model. With
    ``cm_weight > 0`` that is not so: the CM loss goes on, and trains the head and the source's
    features too. Under DDP, ``find_unused_parameters`` is needed, as each stage leaves some
    parameters without a gradient. Not for the module's ``batch_norm="domain"``, where a backbone
    has never seen the target in the first stage.

    Logs ``discriminator`` and ``mapping``, the two losses, and the discriminator's ``accuracy``.

    Args:
        weight: Weight of the term, ``>= 0``.
        ramp: How the weight grows over training; ``None``: full from the start.
        pretrain: Fraction of training at which the second stage begins, in ``(0, 1)``.
        hidden_features: Widths of the discriminator's hidden layers.
        batch_norm: Whether they have batch norm.

    Raises:
        ValueError: If a number is out of range.
    """

    step_type = UDAStep

    # Of the first stage; each stage sets its own.
    views: tuple[str, ...] = ()
    # Of both, for a loader drops streams that nobody needs once, when training begins.
    input_views: tuple[str, ...] = ("weak",)
    # The module asks for labeled rows itself in the first stage; the second has its own encoder.
    labeled_views: tuple[str, ...] = ()

    def __init__(
        self,
        weight: float = 1.0,
        ramp: Ramp | None = None,
        *,
        pretrain: float = 0.5,
        hidden_features: Sequence[int] = (500, 500),
        batch_norm: bool = False,
    ) -> None:
        super().__init__(weight=weight, ramp=ramp)
        check_widths(hidden_features)
        self.pretrain = check_fraction("pretrain", pretrain)
        self.hidden_features = tuple(hidden_features)
        self.batch_norm = check_flag("batch_norm", batch_norm)
        self.source_encoder: nn.Module = nn.Identity()
        self._progress = 0.0
        self._set_stage(adapting=False)

    def build(self, backbone: nn.Module, head: ClusteringHead) -> None:
        """Make the discriminator, and a place for the source's encoder."""
        self.discriminator = Discriminator(head.in_features, self.hidden_features, self.batch_norm)
        self.source_encoder = copy.deepcopy(backbone).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> ADDA:
        """Set the mode of all but the frozen encoder."""
        super().train(mode)
        self.source_encoder.eval()
        return self

    @torch.no_grad()
    def after_step(self, backbone: nn.Module, head: ClusteringHead) -> None:
        """Where the first stage ends, copy the encoder."""
        adapting = self._progress >= self.pretrain
        if adapting and not self.adapting:
            mine = chain(self.source_encoder.parameters(), self.source_encoder.buffers())
            current = chain(backbone.parameters(), backbone.buffers())
            for copied, tensor in zip(mine, current, strict=True):
                copied.copy_(tensor)
        self._set_stage(adapting)

    def forward(self, step: UDAStep) -> MethodLoss:
        """The losses of discriminator and encoder; 0 in the first stage."""
        self._progress = step.progress
        nothing = step.labels.new_zeros((), dtype=torch.float32)
        if not self.adapting:
            return MethodLoss(nothing)
        features, count = self._features(step), step.num_source
        logits = self.discriminator(features.detach())
        adversary = domain_loss(logits[:count], logits[count:])
        constant = {name: p.detach() for name, p in self.discriminator.named_parameters()}
        fooled = functional_call(self.discriminator, constant, (features,))[count:]
        mapping = 0.5 * nn.functional.softplus(-fooled.to(math_dtype(fooled))).mean()
        logs = {
            "discriminator": adversary,
            "mapping": mapping,
            "accuracy": domain_accuracy(logits[:count], logits[count:]),
        }
        return MethodLoss(adversary + mapping, logs, supervised=nothing)

    def _features(self, step: UDAStep) -> Tensor:
        with torch.no_grad():
            source = self.source_encoder(step.labeled_inputs["weak"][: step.num_source])
        return torch.cat([source, step.target.features])

    def _set_stage(self, adapting: bool) -> None:
        """Say what the stage needs; between two steps, so that a step is of one stage."""
        self.adapting = adapting
        self.replaces_supervised = adapting
        self.views = ("weak",) if adapting else ()

    def get_extra_state(self) -> dict[str, bool]:
        """The stage, for the checkpoint."""
        return {"adapting": self.adapting}

    def set_extra_state(self, state: dict[str, bool]) -> None:
        """Go on in the stage of the checkpoint."""
        self._set_stage(state["adapting"])
