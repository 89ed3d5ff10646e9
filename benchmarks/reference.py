"""A training step of the SuperCM authors' code, from a checkout of their repository.

This package contains none of their code. Their training loop is a script, so this module repeats
its order: centroids of the labeled samples, forward pass of all samples, both losses, backward,
optimizer, moving average. Each part except the optimizer is one of their functions.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import torch
import torch.nn.functional as F

# Modules that their code imports for plots and logs, which a step does not use.
_UNUSED = (
    "matplotlib",
    "matplotlib.cm",
    "matplotlib.colors",
    "pandas",
    "tabulate",
    "umap",
    "wandb",
)


def step(folder: Path, batch: dict[str, Any], cm_weight: float) -> Callable[[], None]:
    """Return a function that takes one step on the batch, with a WRN-28-2 and Adam.

    Args:
        folder: The checkout.
        batch: `{"labeled": (x, y), "unlabeled": x}`, images of 3×32×32, 10 classes.
        cm_weight: β.

    Raises:
        FileNotFoundError: If the folder is not a checkout of their repository.
    """
    util, losses = _modules(folder)
    (labeled, labels), unlabeled = batch["labeled"], batch["unlabeled"]
    device = labeled.device
    torch.manual_seed(0)
    # No augmentation, as in the other arms.
    model = util.create_model("wr28-2", 10, None, device)
    average = util.EMA(model=model, decay=0.99)
    average.register()
    clustering = losses.CM_loss(num_clusters=10).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-4)
    inputs = torch.cat([labeled, unlabeled])
    no_label = labels.new_full((len(unlabeled),), -1)
    targets = torch.cat([labels, no_label])
    iteration = 0

    def one_step() -> None:
        nonlocal iteration
        iteration += 1
        util.set_centroids(i=iteration, model=model, imgs=labeled, lbls=labels)
        optimizer.zero_grad()
        outputs = model(inputs)
        supervised = F.cross_entropy(outputs[1], targets, reduction="none", ignore_index=-1).mean()
        torch.autograd.backward(supervised + cm_weight * clustering(outputs))
        optimizer.step()
        average.update()

    return one_step


def _modules(folder: Path) -> tuple[Any, Any]:
    if not (folder / "lib" / "algs" / "cm_loss.py").is_file():
        raise FileNotFoundError(f"{folder} has no lib/algs/cm_loss.py, as the authors' code has")
    before = {name: sys.modules.get(name) for name in _UNUSED}
    sys.modules.update({name: MagicMock() for name in _UNUSED})
    sys.path.insert(0, str(folder))
    try:
        return import_module("lib.util"), import_module("lib.algs.cm_loss")
    finally:
        sys.path.remove(str(folder))
        for name, module in before.items():
            del sys.modules[name]
            if module is not None:
                sys.modules[name] = module
