"""Two small domains, steps of them, and a short real fit, for the tests of methods."""

from __future__ import annotations

import lightning.pytorch as L
import torch
from torch import Tensor

from supercm_pl import UDAModule
from supercm_pl.backbones import MLP
from supercm_pl.training.method import Method
from supercm_pl.training.step import Outputs
from supercm_pl.uda.methods import UDAStep

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def rows(features: Tensor, logits: Tensor) -> Outputs:
    return Outputs(features, features, logits, logits.float().softmax(dim=1))


def step_of(source: Outputs, target: Outputs) -> UDAStep:
    return UDAStep(
        labels=torch.zeros(len(source.features), dtype=torch.long),
        labeled={"weak": source},
        unlabeled={"weak": target},
        labeled_inputs={"weak": source.inputs},
        unlabeled_inputs={"weak": target.inputs},
        progress=0.0,
        extra_forward=lambda inputs: rows(inputs, inputs),
        forward_frozen_bn=lambda inputs: rows(inputs, inputs),
        num_source=len(source.features),
    )


def random_step(seed: int = 0, num_source: int = 5, num_target: int = 7) -> UDAStep:
    generator = torch.Generator().manual_seed(seed)

    def draw(count: int) -> Outputs:
        features = torch.randn(count, 4, generator=generator)
        return rows(features, 2 * torch.randn(count, 3, generator=generator))

    return step_of(draw(num_source), draw(num_target))


class Blobs:
    """Paired batches of three classes whose target is shifted, as a data module yields them."""

    def __init__(self, steps: int = 6) -> None:
        generator = torch.Generator().manual_seed(0)
        means = 4 * torch.randn(3, 4, generator=generator)

        def draw(count: int, shift: float) -> tuple[Tensor, Tensor]:
            labels = torch.randint(0, 3, (count,), generator=generator)
            return means[labels] + torch.randn(count, 4, generator=generator) + shift, labels

        self.batches = [{"source": draw(6, 0.0), "target": draw(10, 1.0)[0]} for _ in range(steps)]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self):
        return iter(self.batches)


def fit(adapter: Method, **options) -> dict[str, float]:
    """Train for six steps; what was logged, after a check that the weights are finite."""
    torch.manual_seed(0)
    module = UDAModule(MLP(4, (8,)), 3, adapter, cm_weight=0.1)
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"max_epochs": 1, **options},
    )
    trainer.fit(module, Blobs())
    assert all(parameter.isfinite().all() for parameter in module.parameters())
    return {name: value.item() for name, value in trainer.callback_metrics.items()}
