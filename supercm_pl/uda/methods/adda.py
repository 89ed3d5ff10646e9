"""ADDA: an encoder of the target that a discriminator takes for the frozen source encoder."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Optimizer

from supercm_pl.checks import (
    check_flag,
    check_fraction,
    check_object,
    check_optional,
    check_positive,
)
from supercm_pl.clustering import ClusteringHead
from supercm_pl.precision import math_dtype
from supercm_pl.training.method import Method, MethodLoss, Ramp
from supercm_pl.uda.components.discriminator import Discriminator
from supercm_pl.uda.step import UDAStep

_ADAPTED = ("lr", "weight_decay", "betas")


class ADDA(Method):
    r"""Two stages in one run: training on the source, then an encoder for the target.

    Until ``progress`` reaches ``pretrain``, the model trains on the labeled samples only. Then the
    encoder, which is the backbone with its bottleneck, is copied and frozen as the source's
    :math:`f_s`. The model's own goes on as the target's :math:`f_t`, without labels and under a
    fixed head, against a discriminator, which learns from

    .. math::
        -\tfrac{1}{2} \mathbb{E}_s \log D(f_s(x_s))
        -\tfrac{1}{2} \mathbb{E}_t \log(1 - D(f_t(x_t))),

    while the encoder learns from inverted labels,
    :math:`-\tfrac{1}{2} \mathbb{E}_t \log D(f_t(x_t))`.

    Tzeng et al., *Adversarial Discriminative Domain Adaptation* (CVPR 2017), equation 9, with two
    hidden layers of 500 units as for their digits. As in the authors' code, one step takes the
    gradients of both. Both stages share one optimizer. The second begins with an empty state of it,
    and has a constant learning rate, no weight decay, and 0.5 as the first β of an optimizer like
    Adam, as in the paper. The first optimizer step at or after ``pretrain`` ends the first stage.
    The frozen encoder uses its running statistics. Labeled target samples only enter
    the cross-entropy of the first stage.

    Validation of the second stage takes the source through the frozen encoder. In the first stage
    the validators are nan, so that ``ModelCheckpoint`` never prefers a model that is not adapted;
    ``EarlyStopping`` needs ``check_finite=False``.

    In the second stage ``train/ce`` is 0, and only target samples go through the model, unless
    ``cm_weight > 0``: the CM loss goes on, and trains the head and the source's features too.
    Under DDP, ``find_unused_parameters`` is needed, as each stage leaves some parameters without a
    gradient. Do not combine it with the module's ``batch_norm="domain"``, where the backbone of
    the first stage has never seen the target.

    Logs ``discriminator`` and ``mapping``, the two losses, and the discriminator's ``accuracy``.

    Args:
        pretrain: Fraction of training at which the second stage begins, in ``(0, 1)``.
        learning_rate: Constant rate of the second stage, ``> 0``, with the backbone's factor kept;
            ``None``: that of the schedule. The default is the paper's, for Adam.
        hidden_features: Widths of the discriminator's hidden layers, ``>= 1``.
        batch_norm: Whether they have batch norm.
    """

    step_type = UDAStep

    # Of the first stage; each stage sets its own.
    views: tuple[str, ...] = ()
    # Of both stages: a loader drops unused parts once, when training begins.
    input_views: tuple[str, ...] = ("weak",)
    # In the first stage the module forwards labeled samples anyway; the second has its own encoder.
    labeled_views: tuple[str, ...] = ()

    def __init__(
        self,
        *,
        pretrain: float = 0.5,
        learning_rate: float | None = 2e-4,
        hidden_features: Sequence[int] = (500, 500),
        batch_norm: bool = False,
        weight: float = 1.0,
        ramp: Ramp | float | None = None,
    ) -> None:
        super().__init__(weight=weight, ramp=ramp)
        self.pretrain = check_fraction("pretrain", pretrain)
        self.learning_rate = check_optional(check_positive, "learning_rate", learning_rate)
        self.source_encoder: nn.Module = nn.Identity()
        self.discriminator = Discriminator(hidden_features, batch_norm)
        self._progress = 0.0
        self.forgotten = False
        self._set_stage(adapting=False)

    @property
    def needs_progress(self) -> bool:
        """Whether the method depends on ``step.progress``."""
        return True

    def build(self, backbone: nn.Module, head: ClusteringHead) -> None:
        """Create the discriminator, and a place for the source's encoder."""
        self.discriminator.build(head.in_features)
        self.source_encoder = copy.deepcopy(backbone).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> ADDA:
        """Set the mode of all but the frozen encoder."""
        super().train(mode)
        self.source_encoder.eval()
        return self

    @torch.no_grad()
    def after_step(self, backbone: nn.Module, head: ClusteringHead) -> None:
        """Copy the encoder at the end of the first stage."""
        adapting = self._progress >= self.pretrain
        if adapting and not self.adapting:
            mine = chain(self.source_encoder.parameters(), self.source_encoder.buffers())
            current = chain(backbone.parameters(), backbone.buffers())
            for copied, tensor in zip(mine, current, strict=True):
                copied.copy_(tensor)
        self._set_stage(adapting)

    @property
    def source_network(self) -> nn.Module | None:
        """The frozen encoder, in the second stage."""
        return self.source_encoder if self.adapting else None

    @property
    def has_begun(self) -> bool:
        """Whether the second stage has begun; a checkpoint of the first is not adapted."""
        return self.adapting

    @contextmanager
    def during_step(self, optimizer: Optimizer) -> Iterator[None]:
        """Apply the optimizer's settings of the second stage, which begins without its memory."""
        if not self.adapting:
            yield
            return
        if not self.forgotten:
            optimizer.state.clear()
            self.forgotten = True
        given = [dict(group) for group in optimizer.param_groups]
        largest = max(group["lr"] for group in given)
        for group in optimizer.param_groups:
            group["weight_decay"] = 0.0
            if "betas" in group:
                group["betas"] = (0.5, group["betas"][1])
            if self.learning_rate is not None and largest > 0:
                group["lr"] = self.learning_rate * group["lr"] / largest
        yield
        for group, before in zip(optimizer.param_groups, given, strict=True):
            group.update({name: before[name] for name in _ADAPTED if name in before})

    def forward(self, step: UDAStep) -> MethodLoss:
        """Return the losses of discriminator and encoder; 0 in the first stage."""
        self._progress = step.progress
        nothing = step.labels.new_zeros((), dtype=torch.float32)
        if not self.adapting:
            return MethodLoss(nothing)
        features, count = self._features(step), step.num_source
        adversary, logs = self.discriminator.loss(features.detach(), count)
        constant = {name: p.detach() for name, p in self.discriminator.named_parameters()}
        fooled = functional_call(self.discriminator, constant, (features,))[count:]
        mapping = 0.5 * nn.functional.softplus(-fooled.to(math_dtype(fooled))).mean()
        logs = {"discriminator": adversary, "mapping": mapping, **logs}
        return MethodLoss(adversary + mapping, logs, supervised=nothing)

    def _features(self, step: UDAStep) -> Tensor:
        with torch.no_grad():
            source = self.source_encoder(step.labeled_inputs["weak"][: step.num_source])
        return torch.cat([source, step.target.features])

    def _set_stage(self, adapting: bool) -> None:
        """Declare what the stage needs; between two steps, so that a step has one stage."""
        self.adapting = adapting
        self.forgotten = adapting and self.forgotten
        self.replaces_supervised = adapting
        self.views = ("weak",) if adapting else ()

    def get_extra_state(self) -> dict[str, bool]:
        """The stage, for the checkpoint."""
        return {"adapting": self.adapting, "forgotten": self.forgotten}

    def set_extra_state(self, state: dict[str, bool]) -> None:
        """Continue in the stage of the checkpoint."""
        check_object("the state of ADDA", state, dict, "{'adapting': True, 'forgotten': False}")
        self._set_stage(check_flag("adapting", state.get("adapting")))
        self.forgotten = check_flag("forgotten", state.get("forgotten"))
