"""Time and memory of `ClusteringHead` as a function of samples N, classes K and features d.

Each size varies over two decades while the others are fixed. A step is forward, update, loss and
backward with every sample labeled. Its time is the median over the rounds; on the CPU it is the
processor time of one thread, which excludes other load. A line a + b·x is fitted to the times by
least relative squares, and the largest deviation is reported: faster than linear growth would
deviate from any line.

    export MALLOC_MMAP_THRESHOLD_=4000000000 MALLOC_TRIM_THRESHOLD_=8000000000
    python -m benchmarks.cost [--n 2048 --d 512 --k 200 --rounds 20 --json FILE --png FILE]

The ``export`` configures the C library of Linux. Otherwise it returns large blocks to the system
after every step, and the time to clear them again bends the curve.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, get_args

import numpy as np
import torch

from benchmarks.timing import interleave, machine, peak_extra_memory, write_json
from supercm_pl.clustering import CentroidMode, ClusteringHead

DECADES = {"N": (128, 12_800), "K": (10, 1_000), "d": (40, 4_000)}
BAR = 0.15


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    torch.set_num_threads(1)
    sweeps = {axis: sweep(axis, options) for axis in DECADES}
    result = {"arguments": vars(options), "machine": machine(), "bar": BAR, "sweeps": sweeps}
    print(to_markdown(result))
    write_json(options.json, result)
    if options.png is not None:
        draw(result, options.png)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--n", type=int, default=2048, help="samples, while others vary")
    parser.add_argument("--d", type=int, default=512, help="features, while others vary")
    parser.add_argument("--k", type=int, default=200, help="classes, while others vary")
    parser.add_argument("--points", type=int, default=7, help="sizes per sweep")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--centroids", choices=get_args(CentroidMode), default="cumulative")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--json", help="write the results to this file")
    parser.add_argument("--png", help="plot the results to this file")
    return parser.parse_args(arguments)


def sweep(axis: str, options: argparse.Namespace) -> dict[str, Any]:
    """Measure time and memory at sizes that grow by equal factors."""
    sizes = np.geomspace(*DECADES[axis], options.points)
    # Matrix products are slower at odd sizes, which are rare in networks.
    sizes = np.where(sizes < 40, sizes.round(), 8 * (sizes / 8).round()).astype(int).tolist()
    held = {"N": options.n, "K": options.k, "d": options.d}
    steps = {size: step_of({**held, axis: size}, options) for size in sizes}
    clock = time.process_time if options.device.type == "cpu" else time.perf_counter
    arms = {str(size): step for size, step in steps.items()}
    seconds = interleave(arms, options.rounds, clock=clock)
    times = [statistics.median(seconds[str(size)]) for size in sizes]
    base, slope = line(sizes, times)
    off = [time / (base + slope * size) - 1 for size, time in zip(sizes, times, strict=True)]
    return {
        "held": {name: size for name, size in held.items() if name != axis},
        "sizes": sizes,
        "milliseconds": [1e3 * time for time in times],
        "line_milliseconds": [1e3 * base, 1e3 * slope],
        "greatest_deviation": max(map(abs, off)),
        "peak_bytes": [peak_extra_memory(steps[size], options.device) for size in sizes],
    }


def step_of(size: dict[str, int], options: argparse.Namespace) -> Callable[[], None]:
    generator = torch.Generator().manual_seed(0)
    head = ClusteringHead(size["d"], size["K"], centroids=options.centroids).to(options.device)
    features = torch.randn(size["N"], size["d"], generator=generator).to(options.device)
    features.requires_grad_()
    labels = torch.randint(size["K"], (size["N"],), generator=generator).to(options.device)

    def step() -> None:
        out = head(features)
        head.update_centroids(features, labels)
        torch.autograd.backward(head.loss(features, out.assignments).total)
        features.grad = None
        head.zero_grad()

    return step


def line(sizes: Sequence[int], times: Sequence[float]) -> tuple[float, float]:
    """Find a and b of a + b·x with the least sum of squared relative deviations."""
    x, t = np.asarray(sizes, dtype=float), np.asarray(times)
    base, slope = np.linalg.lstsq(np.stack([1 / t, x / t], axis=1), np.ones_like(t), rcond=None)[0]
    return float(base), float(slope)


def to_markdown(result: dict[str, Any]) -> str:
    lines = [
        "| varied | held | ms | MiB | off the line, at most |",
        "| --- | --- | --- | --- | --- |",
    ]
    for axis, found in result["sweeps"].items():
        sizes, times, peaks = found["sizes"], found["milliseconds"], found["peak_bytes"]
        held = ", ".join(f"{name} {size}" for name, size in found["held"].items())
        lines.append(
            f"| {axis} {sizes[0]} to {sizes[-1]} | {held} | {times[0]:.2f} to {times[-1]:.1f} "
            f"| {peaks[0] / 2**20:.1f} to {peaks[-1] / 2**20:.1f} "
            f"| {found['greatest_deviation']:.0%} |"
        )
    return "\n".join([str(result["machine"]), "", *lines])


def draw(result: dict[str, Any], path: str) -> None:
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(9, 5), sharex="col", layout="constrained")
    for column, (axis, found) in zip(axes.T, result["sweeps"].items(), strict=True):
        sizes = np.asarray(found["sizes"])
        base, slope = found["line_milliseconds"]
        column[0].plot(sizes, base + slope * sizes, color="0.6", label="a + b·x")
        column[0].plot(sizes, found["milliseconds"], "o", color="C0", label="measured")
        column[1].plot(sizes, np.asarray(found["peak_bytes"]) / 2**20, "o-", color="C1")
        column[1].set_xlabel(axis)
        column[0].set_title(", ".join(f"{name} = {size}" for name, size in found["held"].items()))
        for panel in column:
            panel.set(xscale="log", yscale="log")
            panel.grid(color="0.9")
    axes[0, 0].set_ylabel("time of a step, ms")
    axes[1, 0].set_ylabel("peak memory, MiB")
    axes[0, 0].legend()
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
