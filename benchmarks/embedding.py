"""Draw the README's figure: test features of digits without and with SuperCM.

python -m benchmarks.embedding [--seed 0 --output docs/images/embedding.png]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from matplotlib import pyplot

from benchmarks.command import WITHOUT_FILES, run
from supercm_pl.viz import plot_embedding

CONFIGS = {
    "without SuperCM": "configs/ssl/digits_supervised.yaml",
    "with SuperCM": "configs/ssl/digits.yaml",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("docs/images/embedding.png"))
    arguments = parser.parse_args()

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
    for ax, (title, config) in zip(axes, CONFIGS.items(), strict=True):
        words = [
            "fit",
            f"--config={config}",
            f"--seed_everything={arguments.seed}",
        ]
        cli = run([*words, *WITHOUT_FILES])
        accuracy = float(cli.trainer.callback_metrics["test/acc"])
        module = cli.model.eval()
        x, y = zip(*cli.datamodule.test_dataloader(), strict=True)
        with torch.no_grad():
            features = module.backbone(torch.cat(x))
        # Without SuperCM, the centroids are not updated, so they are not shown.
        centroids = module.head.centroids if module.cm_weight > 0 else None
        plot_embedding(
            features, torch.cat(y), centroids, title=f"{title}: test accuracy {accuracy:.3f}", ax=ax
        )
    axes[0].get_legend().remove()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.output, dpi=110)
    print(f"wrote {arguments.output}")


if __name__ == "__main__":
    main()
