"""The command ``supercm``, run by tests in this process or as it is installed."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from supercm_pl.cli.main import main

COMMAND = Path(sys.executable).parent / "supercm"

SMALL = """
seed_everything: 0
no_report: true
trainer:
  accelerator: cpu
  max_steps: 12
  num_sanity_val_steps: 0
  log_every_n_steps: 1
  logger:
    class_path: lightning.pytorch.loggers.CSVLogger
    init_args: {save_dir: runs, name: small}
  callbacks:
    - class_path: lightning.pytorch.callbacks.ModelCheckpoint
      init_args: {save_last: true, save_top_k: 1, every_n_train_steps: 6}
model:
  class_path: supercm_pl.SSLModule
  init_args:
    backbone:
      class_path: supercm_pl.backbones.ConvNet
      init_args: {in_channels: 1, widths: [8]}
    optimizer:
      class_path: torch.optim.AdamW
      init_args: {lr: 0.01}
data:
  class_path: supercm_pl.SSLDataModule
  init_args: {labels_per_class: 2, steps_per_epoch: 6, unlabeled_batch_size: 32}
"""


class Outcome(NamedTuple):
    status: int
    out: str
    err: str


def supercm(*words: str) -> Outcome:
    """The command in this process."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(words)
        except SystemExit as stop:
            status = int(stop.code or 0)
    return Outcome(status, out.getvalue(), err.getvalue())


def supercm_process(*words: str) -> subprocess.CompletedProcess[str]:
    """The command as it is installed."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [str(COMMAND), *words],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=300,
    )


def table(out: str) -> dict[str, list[str]]:
    """The rows of the closing table by their label, in order."""
    lines = out[out.index("supercm ") :].splitlines()
    pairs = [re.split(r"\s{2,}", line.strip()) for line in lines if "──" not in line]
    return {label: values for label, *values in pairs}


def printed_config(*words: str) -> Any:
    """What ``fit --print_config`` shows, parsed."""
    return yaml.safe_load(supercm("fit", *words, "--print_config").out)
