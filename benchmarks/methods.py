"""Time of a method's step relative to the forward and backward passes that its paper requires.

``PLANS`` lists these passes. The step is ``training_step`` and its backward, including everything
else that the method computes; the passes run through the same network by themselves. Neither
includes the optimizer step. 1.00 means that the method costs nothing beyond its passes.

    python -m benchmarks.methods ssl [--methods vat fixmatch] [--rounds 7] [--json FILE]
    python -m benchmarks.methods uda
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.command import WITHOUT_FILES, built
from benchmarks.timing import interleave, machine, ratio, write_json
from supercm_pl.training.module import SuperCMModule

Pass = tuple[str, int, int]
"""Kind, and how many copies of the labeled and of the unlabeled samples it has. ``train`` is a
forward and a backward pass, ``forward`` has no gradients, ``input`` has that of the input only."""

_STRONG: list[Pass] = [("train", 1, 2)]
_JOINT: list[Pass] = [("train", 1, 1)]
PLANS: dict[str, dict[str, list[Pass]]] = {
    "ssl": {
        "pi_model": [("train", 1, 1), ("train", 0, 1)],
        "pseudo_label": _JOINT,
        "mean_teacher": [("train", 1, 0), ("train", 0, 1), ("forward", 0, 1)],
        "vat": [("train", 1, 0), ("forward", 0, 1), ("input", 0, 1), ("train", 0, 1)],
        "vat_entropy": [("train", 1, 1), ("forward", 0, 1), ("input", 0, 1), ("train", 0, 1)],
        "ict": [("train", 1, 0), ("forward", 0, 1), ("train", 0, 1)],
        "mixmatch": [("forward", 0, 2), ("train", 1, 2)],
        "uda": _STRONG,
        "fixmatch": _STRONG,
        "flexmatch": _STRONG,
        "freematch": _STRONG,
        "softmatch": _STRONG,
        "adamatch": [("train", 2, 2), ("train", 2, 0)],
    },
    "uda": {
        **dict.fromkeys(("dann", "cdan", "cdan_e", "dan", "jan", "deep_coral"), _JOINT),
        **dict.fromkeys(("mdd", "mcc", "afn", "bnm"), _JOINT),
        "mcd": [("train", 1, 0), ("train", 0, 1)],
        "adda": [("train", 1, 0)],  # its first half
        "fixmatch": _STRONG,
        "adamatch": [("train", 2, 2), ("train", 2, 0)],
    },
}


def module_of(task: str, method: str, images: tuple[int, ...]) -> SuperCMModule:
    """Build the module of a method's file, without SuperCM, on a wide residual network."""
    words = [
        "fit",
        f"--config=configs/{task}/digits.yaml",
        f"--config=configs/{task}/methods/{method}.yaml",
        "--model.cm_weight=0",
        "--model.backbone=supercm_pl.backbones.WideResNet",
        f"--model.backbone.in_channels={images[0]}",
        *WITHOUT_FILES,
    ]
    module: SuperCMModule = built(words).model
    return module.train()


def batch_of(module: SuperCMModule, x: Tensor, y: Tensor, u: Tensor) -> Mapping[str, Any]:
    """Return a batch with the views that the module requires."""
    views = module.required_views
    labeled = {view: x.clone() for view in views[module.labeled_part]}
    unlabeled = {view: u.clone() for view in views[module.unlabeled_part]}
    if "index" in unlabeled:
        unlabeled["index"] = torch.arange(len(u), device=u.device)
        for term in module.terms:
            term.num_samples = len(u)  # normally provided by the data module
    return {module.labeled_part: (labeled, y), module.unlabeled_part: unlabeled}


def step_of(module: SuperCMModule, batch: Mapping[str, Any]) -> Callable[[], None]:
    """Return a function that takes the method's step."""

    def step() -> None:
        module.zero_grad()
        module.training_step(batch).backward()

    return step


def passes_of(module: SuperCMModule, plan: list[Pass], x: Tensor, u: Tensor) -> Callable[[], None]:
    """Return a function that runs the passes of the plan."""
    inputs = [torch.cat([x] * labeled + [u] * unlabeled) for _, labeled, unlabeled in plan]

    def loss_of(rows: Tensor) -> Tensor:
        logits = module.forward_outputs(rows).logits
        return F.cross_entropy(logits, torch.zeros(len(rows), dtype=torch.long, device=rows.device))

    def passes() -> None:
        module.zero_grad()
        for (kind, _, _), rows in zip(plan, inputs, strict=True):
            if kind == "forward":
                with torch.no_grad():
                    loss_of(rows)
            elif kind == "input":
                leaf = rows.clone().requires_grad_()
                torch.autograd.grad(loss_of(leaf), leaf)
            else:
                loss_of(rows).backward()

    return passes


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=PLANS)
    parser.add_argument("--methods", nargs="+", default=None)
    parser.add_argument("--labeled", type=int, default=32)
    parser.add_argument("--unlabeled", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", default=None, help="write the results to this file")
    given = parser.parse_args()

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    x = torch.rand(given.labeled, 3, 32, 32, device=device)
    u = torch.rand(given.unlabeled, 3, 32, 32, device=device)
    y = torch.arange(given.labeled, device=device) % 10
    ratios, medians = {}, {}
    print(f"WRN-28-2, {given.labeled} + {given.unlabeled} images of 32x32, {machine()}\n")
    print("| method | step, ms | its passes, ms | ratio |\n| --- | --- | --- | --- |")
    for method, plan in PLANS[given.task].items():
        if method not in (given.methods or PLANS[given.task]):
            continue
        module = module_of(given.task, method, tuple(x.shape[1:])).to(device)
        arms = {
            "step": step_of(module, batch_of(module, x, y, u)),
            "passes": passes_of(module, plan, x, u),
        }
        seconds = interleave(arms, given.rounds)
        ratios[method] = ratio(seconds["step"], seconds["passes"])
        medians[method] = {name: statistics.median(times) for name, times in seconds.items()}
        step, passes = (medians[method][name] * 1e3 for name in arms)
        print(f"| {method} | {step:.1f} | {passes:.1f} | {ratios[method]:.3f} |", flush=True)
    write_json(
        given.json,
        {"arguments": vars(given), "machine": machine(), "seconds": medians, "ratios": ratios},
    )


if __name__ == "__main__":
    main()
