"""The recipe for photographs, ``configs/ssl/folder.yaml``, on a network pretrained on other images.

No weights can be downloaded here, so a ResNet-18 trained on the letters of the field, in many
fonts, stands in for one of ImageNet. Its target are sets of other classes. Images are written as
PNG files and resized to 96 pixels, which is above the size at which label propagation looks at
more than features; the network sees 32. Each way to fine-tune is run on the labels alone, with
SuperCM alone, and as the recipe is, with a start by label propagation. Beside them are simple
classifiers of the frozen features. Runs are appended to a CSV file, and existing ones not repeated.

    python -m benchmarks.field.pretrained --sets digits --seeds 0 1 2
    python -m benchmarks.field.pretrained --render
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from benchmarks.command import run
from benchmarks.field.__main__ import draw_labels, write
from benchmarks.field.data import CACHE, Images, load
from benchmarks.results import Results
from supercm_pl.backbones import TorchvisionBackbone
from supercm_pl.data.transforms.augment import AffineNoise
from supercm_pl.graphs.label_graph import LabelGraph

RESULTS = Path("benchmarks/results/field_pretrained.csv")
WEIGHTS = CACHE / "resnet18_letters.pt"
KEYS = ("data", "finetune", "arm", "seed")
LABELS = 5
FROZEN = "frozen features"
FINETUNE = ("none", "last_block", "lora", "all")
ARMS = {
    "labels alone": "model: {init_args: {cm_weight: 0, methods: []}}",
    "SuperCM": "model: {init_args: {methods: []}}",
    "default": "{}",  # with a start by label propagation
}
# For a small network and a few minutes; digits must not be flipped.
SMALL = """
trainer: {max_steps: 300, enable_checkpointing: false, callbacks: null}
model: {init_args: {lr_scheduler: {init_args: {warmup_steps: 10}}}}
data:
  init_args:
    source: {init_args: {image_size: 96}}
    labeled_batch_size: 16
    unlabeled_batch_size: 48
    num_workers: 0
    val_size: 0
    weak: {init_args: {padding: 12, flip: 0.0}}
"""


def pretrain(steps: int = 600, batch_size: int = 128) -> None:
    """Train the network that stands in, once."""
    if WEIGHTS.exists():
        return
    images = load("letters")
    torch.manual_seed(0)
    model = torchvision.models.resnet18(num_classes=len(images.classes))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=steps)
    augment = AffineNoise(rotation=0.15, shift=0.1, scale=0.1, noise=0.05)
    x, y = torch.from_numpy(images.x).float() / 255, torch.from_numpy(images.y)
    for _ in range(steps):
        rows = torch.randint(len(x), (batch_size,))
        inputs = (augment(x[rows]).expand(-1, 3, -1, -1) - 0.5) / 0.25
        loss = F.cross_entropy(model(inputs), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    torch.save(model.state_dict(), WEIGHTS)


@torch.no_grad()
def features(x: np.ndarray) -> np.ndarray:
    """Features of the frozen network, ``(N, 512)``."""
    backbone = TorchvisionBackbone("resnet18", str(WEIGHTS), finetune="none", image_size=32)
    inputs: Tensor = torch.from_numpy(x).float() / 255
    return torch.cat([backbone(part) for part in inputs.split(500)]).numpy()


def baselines(images: Images, labeled: np.ndarray) -> dict[str, float]:
    """Test accuracy of classifiers of the frozen features; the graph also sees the test images."""
    train, test = features(images.x), features(images.x_test)
    labels, rest = images.y[labeled], np.setdiff1d(np.arange(len(train)), labeled)
    model = LogisticRegression(max_iter=2000).fit(train[labeled], labels)
    graph = LabelGraph(np.concatenate([train[labeled], train[rest], test]))
    scores = graph.scores(np.arange(len(labels)), labels, len(images.classes))
    found = {
        "logistic regression": model.predict(test),
        "Poisson learning": scores[len(train) :].argmax(axis=1),
    }
    return {name: float((each == images.y_test).mean()) for name, each in found.items()}


def train(folder: Path, finetune: str, arm: str, seed: int) -> dict[str, float]:
    """Run the command on a folder."""
    (folder / "small.yaml").write_text(SMALL)
    (folder / "arm.yaml").write_text(ARMS[arm])
    words = ["fit", "--config=configs/ssl/folder.yaml", f"--config={folder / 'small.yaml'}"]
    words += [f"--config={folder / 'arm.yaml'}", f"--model.backbone.weights={WEIGHTS.absolute()}"]
    words += ["--model.backbone.image_size=32", f"--model.backbone.finetune={finetune}"]
    words += [f"--data.source.{part}={folder / part}" for part in ("labeled", "unlabeled", "test")]
    words += [f"--seed_everything={seed}", f"--trainer.logger.save_dir={folder}"]
    metrics = run(words).trainer.callback_metrics
    return {"acc": float(metrics["test/acc"]), "ece": float(metrics["test/ece"])}


def main() -> None:
    """Run the cells that are missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sets", nargs="+", default=["digits", "font_digits", "mnist5k"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--finetune", nargs="+", choices=FINETUNE, default=list(FINETUNE))
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--render", action="store_true")
    options = parser.parse_args()
    results = Results(options.results, KEYS)
    if options.render:
        print(render(results))
        return
    pretrain()
    for seed in options.seeds:
        for name in options.sets:
            images = load(name)
            labeled = draw_labels(images, LABELS, seed)
            key = {"data": name, "finetune": FROZEN, "seed": str(seed)}
            if {**key, "arm": "Poisson learning"} not in results:
                for arm, accuracy in baselines(images, labeled).items():
                    row = {"data": name, "finetune": FROZEN, "arm": arm, "seed": str(seed)}
                    results.append({**row, "acc": accuracy, "ece": "", "s": ""})
            for finetune in options.finetune:
                for arm in options.arms:
                    key = {"data": name, "finetune": finetune, "arm": arm, "seed": str(seed)}
                    if key in results:
                        continue
                    start = time.process_time()
                    with tempfile.TemporaryDirectory() as folder:
                        write(images, labeled, Path(folder))
                        values = train(Path(folder), finetune, arm, seed)
                    results.append({**key, **values, "s": round(time.process_time() - start, 1)})


def render(results: Results) -> str:
    """Accuracies by what is trained, mean and worst over seeds."""
    cells: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in results.rows:
        cells[row["data"], row["finetune"]][row["arm"]].append(float(row["acc"]))
    heads = ("data", "trained", *ARMS, "worst of the default", "seeds")
    lines = [f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|"]
    for (data, finetune), arms in sorted(cells.items()):
        if finetune == FROZEN:
            best = max(arms, key=lambda arm: statistics.mean(arms[arm]))
            mean = f"{statistics.mean(arms[best]):.3f} ({best})"
            lines.append(f"| {data} | {finetune} | {mean} | | | | {len(arms[best])} |")
            continue
        if all(arms[arm] for arm in ARMS):
            means = " | ".join(f"{statistics.mean(arms[arm]):.3f}" for arm in ARMS)
            found = arms["default"]
            lines.append(f"| {data} | {finetune} | {means} | {min(found):.3f} | {len(found)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
