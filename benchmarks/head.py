"""Time and memory of `ClusteringHead` relative to the matrix products that it requires.

    python -m benchmarks.head [--n 4096 --d 2048 --k 1000 --repeats 9 --autograd --json FILE]

The products of a forward pass are the logits xWᵀ and the reconstruction γM. Backward adds the
gradients of γ, W and x, and that of M if centroids have a gradient (`batch`, `learnable`). The
products write into preallocated memory and take turns with the head, so that both run under the
same load; a ratio is the median over rounds of the ratio within a round. Every sample is labeled,
the most expensive case of the centroid update. Memory is the peak above the allocations before the
step: logits, assignments, tensors kept for backward, and temporaries. `--autograd` replaces the
handwritten backward pass of the loss by that of autograd.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from typing import Any, get_args

import torch
from torch import Tensor

from benchmarks.timing import interleave, machine, peak_extra_memory, ratio, write_json
from supercm_pl.clustering import CentroidMode, ClusteringHead, functional
from supercm_pl.clustering._reconstruction import ReconstructionSums

FORWARD_BAR = 1.4
BACKWARD_BAR = 1.4
MEMORY_BAR = 6.0


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    if options.autograd:
        functional.reconstruction_sums = autograd_sums
    rows = [measure(mode, options) for mode in options.centroids]
    result = {
        "machine": machine(),
        "n": options.n,
        "d": options.d,
        "k": options.k,
        "repeats": options.repeats,
        "bars": {"forward": FORWARD_BAR, "backward": BACKWARD_BAR, "memory": MEMORY_BAR},
        "rows": rows,
    }
    print(to_markdown(result))
    write_json(options.json, result)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=4096, help="samples per batch")
    parser.add_argument("--d", type=int, default=2048, help="features per sample")
    parser.add_argument("--k", type=int, default=1000, help="classes")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument(
        "--centroids", nargs="+", choices=get_args(CentroidMode), default=get_args(CentroidMode)
    )
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's choice)")
    parser.add_argument("--autograd", action="store_true", help="no handwritten backward pass")
    parser.add_argument("--json", help="write the results to this file")
    return parser.parse_args(arguments)


def measure(mode: CentroidMode, options: argparse.Namespace) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    head = ClusteringHead(options.d, options.k, centroids=mode).to(options.device)
    features = torch.randn(options.n, options.d, generator=generator).to(options.device)
    features.requires_grad_()
    labels = torch.randint(options.k, (options.n,), generator=generator).to(options.device)

    def forward() -> Tensor:
        # Logits and assignments stay allocated, as in a training step.
        out = head(features)
        head.update_centroids(features, labels)
        return head.loss(features, out.assignments).total

    def forward_backward() -> None:
        torch.autograd.backward(forward())
        features.grad = None
        head.zero_grad()

    forward_products, backward_products = matrix_products(mode, options)

    def all_products() -> None:
        forward_products()
        backward_products()

    seconds = interleave(
        {
            "forward": forward,
            "forward_products": forward_products,
            "forward_backward": forward_backward,
            "all_products": all_products,
        },
        rounds=options.repeats,
        warmup=1,
    )
    peaks = []
    for step in (forward, forward_backward):
        head.reset_centroids()  # frees the graph of the last step
        peaks.append(peak_extra_memory(step, options.device))
    floats = options.n * options.k * 4
    return {
        "centroids": mode,
        "milliseconds": {name: 1e3 * statistics.median(times) for name, times in seconds.items()},
        "forward_ratio": ratio(seconds["forward"], seconds["forward_products"]),
        "forward_backward_ratio": ratio(seconds["forward_backward"], seconds["all_products"]),
        "forward_memory": peaks[0] / floats,
        "forward_backward_memory": peaks[1] / floats,
        "peak_bytes": peaks,
    }


def autograd_sums(features: Tensor, assignments: Tensor, centroids: Tensor) -> ReconstructionSums:
    reconstructed = assignments @ centroids
    return ReconstructionSums(
        error=(features - reconstructed).square().sum(),
        energy=reconstructed.square().sum(),
        ambiguity=(assignments * (1 - assignments)).sum(dim=0),
        concentration=assignments.square().sum(dim=0),
    )


def matrix_products(
    mode: CentroidMode, options: argparse.Namespace
) -> tuple[Callable[[], None], Callable[[], None]]:
    n, d, k, device = options.n, options.d, options.k, options.device
    features, weight = torch.randn(n, d, device=device), torch.randn(k, d, device=device)
    assignments = torch.rand(n, k, device=device)
    by_class, by_feature, by_weight = (
        torch.empty(size, device=device) for size in ((n, k), (n, d), (k, d))
    )

    def forward() -> None:
        torch.mm(features, weight.T, out=by_class)  # logits
        torch.mm(assignments, weight, out=by_feature)  # reconstruction

    def backward() -> None:
        torch.mm(features, weight.T, out=by_class)  # gradient of the assignments
        torch.mm(assignments, weight, out=by_feature)  # of the features, through the logits
        torch.mm(assignments.T, features, out=by_weight)  # of the weight
        if mode in ("batch", "learnable"):
            torch.mm(assignments.T, features, out=by_weight)  # of the centroids

    return forward, backward


def to_markdown(result: dict[str, Any]) -> str:
    lines = [
        f"N {result['n']}, d {result['d']}, K {result['k']}, float32, "
        + ", ".join(f"{name} {value}" for name, value in result["machine"].items()),
        "",
        "| centroids | forward + update + loss | over its 2 products "
        f"(bar {FORWARD_BAR}) | peak memory / N·K floats (bar {MEMORY_BAR:g}) "
        f"| with backward | over its 5 or 6 products (bar {BACKWARD_BAR}) | peak memory |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| `{row['centroids']}` | {row['milliseconds']['forward']:.1f} ms "
        f"| {row['forward_ratio']:.2f} | {row['forward_memory']:.2f}, "
        f"{row['peak_bytes'][0] / 2**20:.0f} MiB "
        f"| {row['milliseconds']['forward_backward']:.1f} ms "
        f"| {row['forward_backward_ratio']:.2f} | {row['forward_backward_memory']:.2f}, "
        f"{row['peak_bytes'][1] / 2**20:.0f} MiB |"
        for row in result["rows"]
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
