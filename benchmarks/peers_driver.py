"""Train a method of another library on recorded batches; runs in that library's environment.

    python -I benchmarks/peers_driver.py LIBRARY METHOD BATCHES.npz RESULT.json

It imports nothing of this package. ``benchmarks.peers`` writes the batches, with all augmentation,
and the initial weights, so that the library's losses, its treatment of batch norm and its step are
what is compared. The optimizer is that of the configurations, Adam with warm-up and cosine decay.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import importlib.util
import json
import math
import sys
import time
import types
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

EVERY = 25
OPTIMIZER = {"lr": 0.002, "weight_decay": 0.01}
Batch = dict[str, Tensor]


class Backbone(nn.Module):
    """The ConvNet of this package: convolution, batch norm, SiLU, pooling, one linear layer."""

    def __init__(self, weights: list[Tensor]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for kernel in (weight for weight in weights if weight.ndim == 4):
            out, inputs = kernel.shape[:2]
            layers += [nn.MaxPool2d(2)] if layers else []
            layers += [nn.Conv2d(inputs, out, 3, padding=1, bias=False), nn.BatchNorm2d(out)]
            layers += [nn.SiLU()]
        self.layers = nn.Sequential(*layers)
        *_, matrix, _ = weights
        self.projection = nn.Linear(matrix.shape[1], matrix.shape[0])
        self.features = matrix.shape[0]

    def forward(self, images: Tensor) -> Tensor:
        """Return features ``(N, d)``."""
        features: Tensor = self.projection(self.layers(images).mean(dim=(2, 3)))
        return features


def network(weights: list[Tensor]) -> nn.Sequential:
    """Build backbone and linear classifier with the recorded weights."""
    backbone = Backbone(weights[:-2])
    head = nn.Linear(backbone.features, len(weights[-1]))
    model = nn.Sequential(OrderedDict(backbone=backbone, head=head))
    with torch.no_grad():
        for parameter, weight in zip(model.parameters(), weights, strict=True):
            parameter.copy_(weight)
    return model.to(memory_format=torch.channels_last)


def decay(steps: int, warmup: int = 20) -> Callable[[int], float]:
    """Return the factor of the learning rate by step."""

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * min((step - warmup) / (steps - warmup), 1.0)))

    return factor


def schedule(optimizer: torch.optim.Optimizer, steps: int) -> Any:
    return torch.optim.lr_scheduler.LambdaLR(optimizer, decay(steps))


class _Blank:
    def __init__(self, *args: Any, **options: Any) -> None:
        pass

    def __class_getitem__(cls, item: Any) -> Any:
        return cls


def _blank(name: str) -> type[_Blank]:
    if name.startswith("__"):
        raise AttributeError(name)
    return _Blank


class _Missing(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Stands in for packages that semilearn imports and that no comparison needs."""

    NAMES = ("aim", "wandb", "transformers", "torchaudio", "skimage", "medmnist", "progress")

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name.split(".", maxsplit=1)[0] in self.NAMES:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: Any) -> types.ModuleType:
        module = types.ModuleType(spec.name)
        module.__getattr__ = _blank  # type: ignore[method-assign]
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        pass


def semilearn(
    method: str, model: nn.Module, steps: int, joint: bool = True
) -> Callable[[Batch], None]:
    """USB: an algorithm's ``train_step`` and its hooks that update weights and their average.

    ``joint`` is its ``use_cat``: one pass for labeled and unlabeled samples.
    """
    missing = _Missing()
    sys.meta_path.append(missing)  # only of what is not installed
    if importlib.util.find_spec("tensorboard") is None:
        name = "torch.utils.tensorboard"
        sys.modules[name] = missing.create_module(importlib.machinery.ModuleSpec(name, missing))
    from semilearn.core.utils import ALGORITHMS  # type: ignore[import-not-found]

    # Settings of this package's configurations, where USB has the same one.
    settings = {
        "fixmatch": {"T": 0.5, "p_cutoff": 0.95, "hard_label": True},
        "freematch": {
            "T": 0.5, "hard_label": True, "ema_p": 0.99, "use_quantile": False,
            "clip_thresh": False, "ent_loss_ratio": 0.05,
        },
        "meanteacher": {"unsup_warm_up": 0.4, "ulb_loss_ratio": 10.0, "ema_m": 0.95},
        "vat": {"unsup_warm_up": 0.4, "vat_eps": 2.0, "vat_embed": False, "ent_loss_ratio": 0.0},
    }  # fmt: skip
    common = {
        "num_classes": 10, "ema_m": 0.999, "epoch": 1, "num_train_iter": steps, "use_cat": joint,
        "num_eval_iter": steps, "num_log_iter": steps, "ulb_loss_ratio": 1.0, "amp": False,
        "clip_grad": 0, "save_name": "", "save_dir": "", "resume": False, "algorithm": method,
        "gpu": None, "rank": 0, "distributed": False, "world_size": 1, "use_wandb": False,
        "use_aim": False,
    }  # fmt: skip
    torch.Tensor.cuda = lambda self, *_, **__: self  # type: ignore[method-assign,assignment]

    class Outputs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, images: Tensor) -> dict[str, Tensor]:
            features = self.model.backbone(images)
            return {"logits": self.model.head(features), "feat": features}

    class Run(ALGORITHMS[method]):  # type: ignore[misc]
        def set_dataset(self) -> None:
            pass

        def set_model(self) -> nn.Module:
            return Outputs()

        def set_ema_model(self) -> nn.Module:
            import copy

            return copy.deepcopy(self.model)

        def set_optimizer(self) -> tuple[Any, Any]:
            optimizer = torch.optim.Adam(self.model.parameters(), **OPTIMIZER)
            return optimizer, schedule(optimizer, steps)

    run = Run(types.SimpleNamespace(**{**common, **settings[method]}), None)
    run.call_hook("before_run", "EMAHook")

    def step(batch: Batch) -> None:
        # Mean Teacher shows two weak views, VAT one.
        second = batch["weak_2" if method == "meanteacher" else "strong"]
        given = {"x_lb": batch["labeled"], "y_lb": batch["labels"], "x_ulb_w": batch["weak"]}
        given |= {} if method == "vat" else {"x_ulb_s": second}
        run.out_dict, run.log_dict = run.train_step(**given)
        run.call_hook("after_train_step", "ParamUpdateHook")
        run.call_hook("after_train_step", "EMAHook")
        run.it += 1

    return step


def _discriminator(inputs: int) -> nn.Module:
    hidden = [nn.Linear(inputs, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU()]
    return nn.Sequential(*hidden, nn.Linear(128, 1), nn.Flatten(0))


def pytorch_adapt(method: str, model: Any, steps: int) -> Callable[[Batch], None]:
    """Use an adapter's ``training_step``."""
    from pytorch_adapt import adapters, hooks, layers  # type: ignore[import-not-found]
    from pytorch_adapt.containers import Misc, Models, Optimizers  # type: ignore[import-not-found]

    features, classes = model.head.in_features, model.head.out_features
    parts: dict[str, nn.Module] = {"G": model.backbone, "C": model.head}
    options: dict[str, Any] = {}
    if method in ("dann", "cdan"):
        parts["D"] = _discriminator(features * classes if method == "cdan" else features)
    if method == "cdan":

        class Product(nn.Module):
            def forward(self, one: Tensor, other: Tensor) -> Tensor:
                return (one[:, :, None] * other[:, None]).flatten(1)

        options["misc"] = Misc({"feature_combiner": Product()})
    elif method == "mcc":
        options["hook_kwargs"] = {"post": [hooks.MCCHook(layers.MCCLoss(T=2.5))]}
    elif method == "dan":
        scales = 2.0 ** torch.arange(-2, 3)
        loss = layers.MMDLoss(kernel_scales=scales, mmd_type="quadratic")
        options["hook_kwargs"] = {"aligner_hook": hooks.AlignerHook(loss, layer="features")}
    kinds = {"dann": "DANN", "cdan": "CDAN", "mcc": "Classifier", "dan": "Aligner"}
    adapter = getattr(adapters, kinds[method])(
        models=Models(parts), optimizers=Optimizers((torch.optim.Adam, OPTIMIZER)), **options
    )
    schedulers = [schedule(optimizer, steps) for optimizer in adapter.optimizers.values()]

    def step(batch: Batch) -> None:
        adapter.training_step(
            {
                "src_imgs": batch["labeled"],
                "src_labels": batch["labels"],
                "src_domain": torch.zeros(len(batch["labeled"])),
                "target_imgs": batch["weak"],
                "target_domain": torch.ones(len(batch["weak"])),
            }
        )
        for scheduler in schedulers:
            scheduler.step()

    return step


def skada(method: str, model: Any, steps: int) -> Callable[[Batch], None]:
    """Use ``train_step`` of skada's networks."""
    from skada import deep  # type: ignore[import-not-found]
    from skada.deep.modules import GradientReversalLayer  # type: ignore[import-not-found]

    features, classes = model.head.in_features, model.head.out_features

    class Domain(nn.Module):
        # Their default ends in a softmax over one number, which is 1 whatever the features.
        def __init__(self, inputs: int) -> None:
            super().__init__()
            self.network = _discriminator(inputs)

        def forward(self, inputs: Tensor) -> Tensor:
            reversed_ = GradientReversalLayer.apply(inputs, 1.0)
            return torch.sigmoid(self.network(reversed_))

    options: dict[str, dict[str, Any]] = {
        "dann": {"domain_classifier": Domain(features)},
        "cdan": {"domain_classifier": Domain(features * classes)},
        "mcc": {"T": 2.5},
        "dan": {},
    }
    kind = {"dann": deep.DANN, "cdan": deep.CDAN, "mcc": deep.MCC, "dan": deep.DAN}[method]
    net = kind(
        model,
        layer_name="backbone",
        optimizer=torch.optim.Adam,
        **{f"optimizer__{name}": value for name, value in OPTIMIZER.items()},
        **options[method],
    ).initialize()
    scheduler = schedule(net.optimizer_, steps)

    def step(batch: Batch) -> None:
        x = torch.cat([batch["labeled"], batch["weak"]])
        domain = torch.tensor([1] * len(batch["labeled"]) + [-2] * len(batch["weak"]))
        labels = torch.cat([batch["labels"], torch.full((len(batch["weak"]),), -1)])
        net.train_step(({"X": x, "sample_domain": domain}, labels))
        scheduler.step()

    step.model = net.module_.base_module_  # type: ignore[attr-defined]  # may be a copy
    return step


def main() -> None:
    library, method, recorded, result = sys.argv[1:]
    data = {name: torch.from_numpy(value) for name, value in np.load(recorded).items()}
    names = sorted(name for name in data if name.startswith("weight_"))
    torch.manual_seed(0)
    model = network([data.pop(name) for name in names])
    test, answers = data.pop("test"), data.pop("answers")
    steps = len(data["labels"])
    make = {
        "semilearn": semilearn,
        "semilearn, separate passes": functools.partial(semilearn, joint=False),
        "pytorch-adapt": pytorch_adapt,
        "skada": skada,
    }[library]
    step = make(method, model, steps)
    model = getattr(step, "model", model)
    seconds: list[float] = []
    seen: list[tuple[int, float]] = []
    for number in range(steps):
        batch = {name: values[number] for name, values in data.items()}
        model.train()
        start = time.process_time()
        step(batch)
        seconds.append(time.process_time() - start)
        if (number + 1) % EVERY == 0 or number + 1 == steps:
            model.eval()
            with torch.no_grad():
                right = (model(test).argmax(1) == answers).double().mean().item()
            seen.append((number + 1, right))
    with open(result, "w") as file:
        json.dump({"seconds": seconds, "seen": seen}, file)


if __name__ == "__main__":
    main()
