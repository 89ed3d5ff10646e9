"""Time of a training step: plain supervised, SuperCM, and SuperCM as its authors' code does it.

All arms see the same batch. "Plain" is cross-entropy on all rows, so it has the same forward and
backward through the network. "The authors' way" is written here from its description: the centroids
come from an extra forward of the labeled rows in eval mode, class by class in a loop, and the
weights' moving average is kept parameter by parameter.

    python -m benchmarks.step [--labeled 50 --unlabeled 50 --rounds 15 --json FILE]
"""

from __future__ import annotations

import argparse
import copy
import statistics
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.timing import interleave, machine, ratio, write_json
from supercm_pl import SSLModule
from supercm_pl.backbones import WideResNet
from supercm_pl.clustering.functional import clustering_loss

Batch = dict[str, object]


def _module(cm_weight: float) -> SSLModule:
    torch.manual_seed(0)
    return SSLModule(WideResNet(), num_classes=10, cm_weight=cm_weight)


def _step(module: SSLModule, batch: Batch, autocast: bool) -> Callable[[], None]:
    device = next(module.parameters()).device.type
    optimizer = torch.optim.Adam(module.parameters(), lr=3e-4)

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=autocast):
            loss = module.training_step(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def _authors_step(labeled: Tensor, labels: Tensor, unlabeled: Tensor) -> Callable[[], None]:
    module = _module(cm_weight=0.186).to(labeled.device)
    average = copy.deepcopy(module)
    optimizer = torch.optim.Adam(module.parameters(), lr=3e-4)
    centroids = torch.zeros_like(module.head.centroids)
    iteration = 0

    def step() -> None:
        nonlocal iteration
        iteration += 1
        module.eval()
        with torch.no_grad():
            features = module.backbone(labeled)
            for k in range(10):
                members = features[labels == k]
                if len(members):
                    centroids[k] += (members.mean(0) - centroids[k]) / iteration
        module.train()
        rows = module.rows(torch.cat([labeled, unlabeled]))
        loss = F.cross_entropy(rows.logits[: len(labeled)], labels)
        loss = loss + 0.186 * clustering_loss(rows.features, rows.assignments, centroids).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for mean, current in zip(average.parameters(), module.parameters(), strict=True):
                mean.mul_(0.99).add_(current, alpha=0.01)

    return step


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--labeled", type=int, default=50)
    parser.add_argument("--unlabeled", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--arms", nargs="+", default=None, help="only these, such as plain SuperCM")
    parser.add_argument("--json", default=None, help="also write the figures to this file")
    arguments = parser.parse_args()

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    labeled = torch.rand(arguments.labeled, 3, 32, 32, device=device)
    unlabeled = torch.rand(arguments.unlabeled, 3, 32, 32, device=device)
    labels = torch.arange(arguments.labeled, device=device) % 10
    every = torch.cat([labeled, unlabeled])
    every_label = torch.arange(len(every), device=device) % 10

    def channels_last(images: Tensor) -> Tensor:
        return images.contiguous(memory_format=torch.channels_last)

    fast = _module(cm_weight=0.186).to(device)
    fast.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    arms = {
        "plain": _step(_module(0.0).to(device), {"labeled": (every, every_label)}, False),
        "SuperCM": _step(
            _module(0.186).to(device), {"labeled": (labeled, labels), "unlabeled": unlabeled}, False
        ),
        "the authors' way": _authors_step(labeled, labels, unlabeled),
        "SuperCM, bf16, channels last": _step(
            fast,
            {"labeled": (channels_last(labeled), labels), "unlabeled": channels_last(unlabeled)},
            True,
        ),
    }
    arms = {name: arm for name, arm in arms.items() if name in (arguments.arms or arms)}
    seconds = interleave(arms, arguments.rounds)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    over_plain = {name: ratio(times, seconds["plain"]) for name, times in seconds.items()}

    print(f"WRN-28-2, {arguments.labeled} + {arguments.unlabeled} images of 32x32, {machine()}\n")
    print("| step | ms, median | over plain |\n| --- | --- | --- |")
    for name in arms:
        print(f"| {name} | {medians[name] * 1e3:.1f} | {over_plain[name]:.3f} |")
    result = {
        "arguments": vars(arguments),
        "machine": machine(),
        "seconds": seconds,
        "over_plain": over_plain,
    }
    write_json(arguments.json, result)


if __name__ == "__main__":
    main()
