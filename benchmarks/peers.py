"""Other libraries beside this one, on the same network, labels, augmented batches and steps.

``semilearn`` (USB), ``pytorch-adapt`` and ``skada`` each run in an environment of their own, by
``benchmarks/peers_driver.py``, on batches that this package drew and augmented. Beside them are
our method alone and with SuperCM, by the trainer on the same seed. The runs of a seed take turns.
"Separate passes" is USB without ``use_cat``.
Times are processor times of one thread, from the batch to the end of the optimizer's step; "to 0.9"
is the training time until the test accuracy, measured every 25 steps, is first 0.9. Runs are
appended to a CSV file, and existing runs are not repeated.

    python -m venv DIR/semilearn && DIR/semilearn/bin/pip install semilearn
    python -m venv DIR/pytorch-adapt && DIR/pytorch-adapt/bin/pip install pytorch-adapt \
        "pytorch-metric-learning<2"
    python -m venv DIR/skada && DIR/skada/bin/pip install "skada[deep]"
    OMP_NUM_THREADS=1 python -m benchmarks.peers --environments DIR --data digits uci_mnist
    python -m benchmarks.peers --render
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import numpy as np
import torch

from benchmarks.accuracy import accuracy
from benchmarks.command import WITHOUT_FILES, built
from benchmarks.results import Results, spread
from benchmarks.timing import quiet

EVERY, MARK = 25, 0.9
KEYS = ("data", "method", "library", "seed")
DATA = {"digits": ("ssl", 1), "mnist5k": ("ssl", 4), "uci_mnist": ("uda", None)}
"""The task, and labels per class."""

OURS = ("supercm_pl, alone", "supercm_pl, with SuperCM")
METHODS: dict[str, dict[str, dict[str, str]]] = {
    "ssl": {
        method: {"semilearn": theirs, "semilearn, separate passes": theirs}
        for method, theirs in {
            "fixmatch": "fixmatch",
            "freematch": "freematch",
            "mean_teacher": "meanteacher",
            "vat": "vat",
        }.items()
    },
    "uda": {
        method: {"pytorch-adapt": method, "skada": method}
        for method in ("dann", "cdan", "mcc", "dan")
    },
}
"""The name of each of our methods in the libraries that have it."""


class Recorder(L.Callback):
    """Keep augmented batches and initial weights, or the time and accuracy of training."""

    def __init__(self, record: bool) -> None:
        self.record = record
        self.batches: list[dict[str, np.ndarray]] = []
        self.weights: list[np.ndarray] = []
        self.seconds: list[float] = []
        self.seen: list[tuple[int, float]] = []
        self.started = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Keep the weights."""
        if self.record:
            parts = (pl_module.backbone, pl_module.head.classifier)
            parameters = itertools.chain.from_iterable(part.parameters() for part in parts)
            self.weights = [weight.detach().numpy().copy() for weight in parameters]

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, *_: Any) -> None:
        """Keep the batch, or start the clock."""
        if self.record:
            self.batches.append(arrays(batch, pl_module))
        self.started = time.process_time()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *_: Any) -> None:
        """Stop the clock; measure the test accuracy every ``EVERY`` steps."""
        self.seconds.append(time.process_time() - self.started)
        last = trainer.global_step == trainer.max_steps
        if not self.record and (trainer.global_step % EVERY == 0 or last):
            self.seen.append((trainer.global_step, accuracy(trainer, pl_module)))


def arrays(batch: Any, module: Any) -> dict[str, np.ndarray]:
    """Return the parts of a batch by the driver's names."""
    (labeled, labels), unlabeled = batch[module.labeled_part], batch[module.unlabeled_part]
    one, other = (x if isinstance(x, dict) else {"weak": x} for x in (labeled, unlabeled))
    views = {name: view for name, view in other.items() if name != "index"}
    found = {"labeled": one["weak"], "labels": labels, **views}
    return {name: tensor.numpy().copy() for name, tensor in found.items()}


def words_of(data: str, method: str, seed: int) -> list[str]:
    """Return the arguments of ``supercm fit`` with a method's file."""
    task, labels = DATA[data]
    return [
        "fit",
        f"--config=configs/{task}/{data}.yaml",
        f"--config=configs/{task}/methods/{method}.yaml",
        f"--seed_everything={seed}",
        *([] if labels is None else [f"--data.labels_per_class={labels}"]),
        *WITHOUT_FILES,
    ]


def fitted(words: list[str], record: bool, steps: int | None) -> tuple[Recorder, Any]:
    """Train; return what the recorder kept, and the command."""
    command = built([*words, *([] if steps is None else [f"--trainer.max_steps={steps}"])])
    recorder = Recorder(record)
    trainer = command.trainer
    trainer.callbacks.append(recorder)
    trainer.limit_val_batches = 0
    if record:
        command.model.training_step = lambda batch: None  # the batches are all that is wanted
    for bar in [kept for kept in trainer.callbacks if isinstance(kept, L.callbacks.ProgressBar)]:
        bar.disable()
    trainer.fit(command.model, command.datamodule)
    return recorder, command


def record(data: str, seed: int, path: Path, steps: int | None) -> None:
    """Write the batches of a seed, the initial weights and the test images."""
    task, _ = DATA[data]
    # Methods that together need all views.
    views = ["--model.methods+=supercm_pl.ssl.methods.MeanTeacher"] if task == "ssl" else []
    method = "fixmatch" if task == "ssl" else "mcc"
    recorder, command = fitted([*words_of(data, method, seed), *views], True, steps)
    batches = {
        name: np.stack([batch[name] for batch in recorder.batches]) for name in recorder.batches[0]
    }
    weights = {f"weight_{number:02}": weight for number, weight in enumerate(recorder.weights)}
    command.datamodule.setup("test")
    test = [
        command.datamodule.on_after_batch_transfer(list(batch))
        for batch in command.datamodule.test_dataloader()
    ]
    images, answers = (torch.cat(parts).numpy() for parts in zip(*test, strict=True))
    np.savez(path, test=images, answers=answers, **batches, **weights)


def theirs(python: Path, library: str, method: str, batches: Path) -> dict[str, Any]:
    """Train a method of another library in its environment."""
    driver = Path(__file__).with_name("peers_driver.py")
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        words = [python, "-I", driver, library, method, batches, result]
        process = subprocess.run(
            [str(word) for word in words], capture_output=True, text=True, check=False
        )
        if process.returncode:
            raise RuntimeError(f"{library} {method} failed:\n{process.stderr[-3000:]}")
        found: dict[str, Any] = json.loads(result.read_text())
        return found


def metrics(seconds: Sequence[float], seen: Sequence[tuple[int, float]]) -> dict[str, float]:
    """Return the last accuracy, milliseconds per step, and seconds and steps to the mark."""
    reached = next((step for step, found in seen if found >= MARK), None)
    return {
        "accuracy": seen[-1][1],
        "ms": 1e3 * statistics.median(seconds),
        "to_mark": float("nan") if reached is None else sum(seconds[:reached]),
    }


def render(results: Results) -> str:
    """Return a table for each data set."""
    text = []
    for data in dict.fromkeys(row["data"] for row in results):
        text += [f"### {data}", "", table([row for row in results if row["data"] == data]), ""]
    return "\n".join(text)


def table(results: Sequence[dict[str, str]]) -> str:
    """Return a table of the runs of a data set."""
    lines = [
        f"| method | library | accuracy | worst | ms | to {MARK}, s | seeds |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for method in dict.fromkeys(row["method"] for row in results):
        for library in dict.fromkeys(r["library"] for r in results if r["method"] == method):
            rows = [r for r in results if (r["method"], r["library"]) == (method, library)]
            found = [float(row["accuracy"]) for row in rows]
            ms = statistics.median(float(row["ms"]) for row in rows)
            times = [float(row["to_mark"]) for row in rows if row["to_mark"] != "nan"]
            to = f"{statistics.median(times):.1f}" if times else "never"
            to += f" ({len(times)} of {len(rows)})" if 0 < len(times) < len(rows) else ""
            cells = [spread(found), f"{min(found):.3f}", f"{ms:.1f}", to, str(len(rows))]
            lines.append(f"| {method} | {library} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--environments", type=Path, help="folder with an environment per library")
    parser.add_argument("--data", nargs="+", choices=DATA, default=["digits", "uci_mnist"])
    parser.add_argument("--methods", nargs="+", help="of our names; default: all")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, help="default: the configuration's")
    parser.add_argument("--csv", type=Path, default=Path("benchmarks/results/peers.csv"))
    parser.add_argument("--render", action="store_true", help="only render existing results")
    given = parser.parse_args()
    quiet()
    results = Results(given.csv, KEYS)
    for seed, data in itertools.product([] if given.render else given.seeds, given.data):
        names = METHODS[DATA[data][0]]
        with tempfile.TemporaryDirectory() as folder:
            batches = Path(folder) / "batches.npz"
            for method in given.methods or names:
                for library in (*names[method], *OURS):
                    key = dict(zip(KEYS, (data, method, library, seed), strict=True))
                    environment = library.partition(",")[0]
                    python = (given.environments or Path()) / environment / "bin" / "python"
                    if key in results or (library not in OURS and not python.exists()):
                        continue
                    if library in OURS:
                        alone = [] if library == OURS[1] else ["--model.cm_weight=0"]
                        words = [*words_of(data, method, seed), *alone]
                        recorder, _ = fitted(words, False, given.steps)
                        found = metrics(recorder.seconds, recorder.seen)
                    else:
                        if not batches.exists():
                            record(data, seed, batches, given.steps)
                        run = theirs(python, library, names[method][library], batches)
                        found = metrics(run["seconds"], run["seen"])
                    results.append({**key, **found})
                    print(*key.values(), found, flush=True)
    print(render(results))


if __name__ == "__main__":
    main()
