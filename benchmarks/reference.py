"""A training step of the authors' own code, from a checkout of their repository.

Nothing of theirs is in this package. Their training loop is a script, so its order is written here:
centroids of the labeled rows, forward of all rows, the two losses, backward, optimizer, moving
average; each of these but the optimizer is a function of theirs.
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

# What their modules import for plots and logs, which a step has none of.
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
    """A function that takes one step on the batch, with a WRN-28-2 and Adam.

    Args:
        folder: The checkout.
        batch: `{"labeled": (x, y), "unlabeled": x}`, images of 3×32×32, 10 classes.
        cm_weight: β.

    Raises:
        FileNotFoundError: If that is not a checkout of theirs.
    """
    util, losses = _modules(folder)
    (labeled, labels), unlabeled = batch["labeled"], batch["unlabeled"]
    device = labeled.device
    torch.manual_seed(0)
    # No augmentation, which the others have none of either.
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
