"""Tune β, the weight of SuperCM's loss, without target labels.

``python examples/tune_beta.py --trials 8`` trains the configuration once per trial. Optuna chooses
the next β by a validator that uses no target labels. The script prints the best β and the command
that trains with it; only that command uses target labels, in its test.

docs/choosing.md shows how well validators rank values of β.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import optuna

from supercm_pl.cli.main import main as supercm


def score(folder: Path, monitor: str) -> float:
    """Return the best value of ``monitor`` in the run below ``folder``."""
    (metrics,) = folder.rglob("metrics.csv")
    with metrics.open(newline="") as file:
        return max(float(row[monitor]) for row in csv.DictReader(file) if row.get(monitor))


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", default="configs/uda/digits.yaml")
    parser.add_argument("--monitor", default="val/bnm", help="a validator; larger is better")
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--max_steps", type=int, default=300, help="steps per trial")
    parser.add_argument("--output", type=Path, default=Path("runs/tune_beta"))
    options = parser.parse_args()
    common = ["fit", "--config", options.config, "--quiet", "--test_after_fit", "false"]

    def objective(trial: optuna.Trial) -> float:
        beta = trial.suggest_float("cm_weight", 0.05, 2.0, log=True)
        folder = options.output / f"trial_{trial.number}"
        settings = {
            "model.cm_weight": beta,
            "trainer.max_steps": options.max_steps,
            "trainer.logger.save_dir": folder,
        }
        supercm([*common, *(f"--{name}={value}" for name, value in settings.items())])
        return score(folder, options.monitor)

    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=4)
    )
    study.enqueue_trial({"cm_weight": 0.5})  # the default first
    study.optimize(objective, n_trials=options.trials)
    print(f"best of {options.trials}: {options.monitor} {study.best_value:.4f}")
    beta = study.best_params["cm_weight"]
    print(f"supercm fit --config {options.config} --model.cm_weight {beta:.4g}")


if __name__ == "__main__":
    main()
