"""A start from features that were learned without labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning.pytorch as L
import torch
import torch.nn.functional as F
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn

from supercm_pl.checks import check_at_least, check_positive, check_size
from supercm_pl.data.contract import Contract
from supercm_pl.data.transforms.randaugment import Cutout
from supercm_pl.data.views import check_views, make_view
from supercm_pl.seeding import derive_seed, isolated_rng
from supercm_pl.training.batch import inputs_to_predict
from supercm_pl.training.optim import WarmupCosineLR


class SelfSupervisedStart(L.Callback):
    """Trains the backbone without labels before ``fit``, so that classes are clusters of features.

    SimCLR (Chen et al., *A Simple Framework for Contrastive Learning of Visual Representations*,
    ICML 2020) on all training samples, labeled and unlabeled: two draws of the data module's strong
    view, with Cutout in images, have to find each other among those of the batch. The network that
    projects features is dropped. For small networks from scratch; all samples are kept in memory.

    A resumed run does not repeat it. All ranks compute the same, so a run of several ranks saves no
    time here.

    Args:
        steps: Steps of AdamW, ``>= 1``.
        batch_size: Samples of a step, ``>= 2``; each is there twice.
        temperature: Of the similarities, ``> 0``.
        lr: Learning rate, which warms up and decays by a cosine.
    """

    def __init__(
        self,
        steps: int = 400,
        batch_size: int = 128,
        temperature: float = 0.2,
        lr: float = 0.002,
    ) -> None:
        self.steps = check_size("steps", steps)
        self.batch_size = check_at_least("batch_size", batch_size, 2)
        self.temperature = check_positive("temperature", temperature)
        self.lr = check_positive("lr", lr)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Train, before the optimizer of the run is built."""
        if stage != "fit" or trainer.ckpt_path is not None:
            return
        module: Any = pl_module
        device = trainer.strategy.root_device
        contract = Contract.of(trainer)
        parts = (module.labeled_part, module.unlabeled_part)
        batches = (b for part in parts for b in contract.training_batches(part, device))
        images = torch.cat([inputs_to_predict(batch) for batch in batches])
        draw = _drawing(trainer, images)
        rank_zero_info(f"{self.steps} self-supervised steps on {len(images):,} samples")
        module.to(device)
        with isolated_rng(device) as reseed, torch.enable_grad():
            seed = contract.seed or 0
            reseed(derive_seed(seed, "self-supervised start"))
            self._train(module, images, draw, lambda step: reseed(derive_seed(seed, "step", step)))
        for method in module.methods:  # copies of the backbone follow
            method.build(module.feature_extractor, module.head)

    def _train(
        self,
        module: Any,
        images: Tensor,
        draw: Callable[[Tensor], Tensor],
        reseed: Callable[[int], None],
    ) -> None:
        width, size = module.head.in_features, min(self.batch_size, len(images))
        projection = nn.Sequential(
            nn.Linear(width, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 64)
        ).to(images.device)
        network = nn.Sequential(module.feature_extractor, projection).train()
        optimizer = torch.optim.AdamW(network.parameters(), lr=self.lr, weight_decay=1e-4)
        schedule = WarmupCosineLR(
            optimizer, warmup_steps=min(20, self.steps), total_steps=self.steps
        )
        order = torch.empty(0, dtype=torch.int64)
        for step in range(self.steps):
            reseed(step)
            if len(order) < size:
                order = torch.randperm(len(images))
            rows, order = order[:size], order[size:]
            batch = images[rows.to(images.device)]
            views = torch.cat([draw(batch), draw(batch)])
            if module.channels_last and views.ndim == 4:
                views = views.contiguous(memory_format=torch.channels_last)
            loss = contrastive_loss(network(views), self.temperature)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()


def contrastive_loss(projections: Tensor, temperature: float) -> Tensor:
    """NT-Xent, equation 1 of SimCLR, averaged over the samples.

    Args:
        projections: ``(2 N, d)``; row ``i`` and row ``N + i`` are views of the same sample.
        temperature: ``> 0``.
    """
    unit = F.normalize(projections, dim=1)
    similar = unit @ unit.T / temperature
    similar.fill_diagonal_(-torch.inf)
    return F.cross_entropy(
        similar, torch.arange(len(unit), device=unit.device).roll(len(unit) // 2)
    )


def _drawing(trainer: Any, images: Tensor) -> Callable[[Tensor], Tensor]:
    transforms = trainer.datamodule.transforms
    check_views({"strong": ("SelfSupervisedStart",)}, transforms)
    cut = Cutout() if images.ndim == 4 else nn.Identity()
    return lambda batch: cut(make_view("strong", batch, transforms))
