"""Sends signals to real runs of the command, and lets each go on to its end.

python -m tests.support.interrupting FOLDER [PART]

52 runs: SIGTERM, SIGINT and SIGKILL, to the process and to its group, with 0 and 2 workers, 1 and 2
ranks, and both kinds of data; and SIGTERM to two ranks with unequal numbers of unlabeled samples,
for four methods; those whose description contains PART. Each must end with the right status, leave
a checkpoint and no process, and end like a run without interruption.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import random
import shlex
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any, NamedTuple

import torch

from supercm_pl.cli.command import SuperCMCLI  # noqa: F401
from supercm_pl.cli.main import main
from tests.support.command import COMMAND
from tests.support.runs import equal

STEPS = 24
FIT = ["fit", "--config", "c.yaml"]
CONFIG = """
seed_everything: 3
trainer:
  accelerator: cpu
  devices: {ranks}
  strategy: {strategy}
  max_steps: {steps}
  num_sanity_val_steps: 0
  logger:
    class_path: lightning.pytorch.loggers.CSVLogger
    init_args: {{save_dir: runs, name: k}}
  callbacks:
    - class_path: lightning.pytorch.callbacks.ModelCheckpoint
      init_args: {{save_last: true, every_n_train_steps: 2}}
    - class_path: progress.Progress
model:
  class_path: supercm_pl.{kind}Module
  init_args:
    backbone:
      class_path: supercm_pl.backbones.ConvNet
      init_args: {{in_channels: {channels}, widths: [8, 64]}}
    methods: {{class_path: {method}}}
    optimizer: {{class_path: torch.optim.Adam, init_args: {{lr: 0.01}}}}
data:
  class_path: {data}
  init_args:
    steps_per_epoch: 9
    num_workers: {workers}
    weak: {{class_path: supercm_pl.data.AffineNoise}}
    strong: {{class_path: supercm_pl.data.AffineNoise, init_args: {{noise: 0.2}}}}
{labels}test_after_fit: false
"""
PROGRESS = """
import time
from pathlib import Path
from lightning.pytorch.callbacks import Callback
from supercm_pl import SSLDataModule
from supercm_pl.distributed import rank

class Uneven(SSLDataModule):
    def on_after_batch_transfer(self, batch, dataloader_idx=0):
        batch = super().on_after_batch_transfer(batch, dataloader_idx)
        if rank() and isinstance(batch, dict):  # training
            batch["unlabeled"] = {k: rows[:9] for k, rows in batch["unlabeled"].items()}
        return batch

class Progress(Callback):
    def on_train_batch_start(self, trainer, *_):
        time.sleep(0.02)
        if trainer.is_global_zero:
            Path("step").write_text(str(trainer.global_step))
"""


class Case(NamedTuple):
    number: signal.Signals
    to_group: bool
    workers: int
    ranks: int
    kind: str
    uneven: str = ""
    """A method, of a run whose ranks have unequal numbers of unlabeled samples."""

    def __str__(self) -> str:
        target = "group" if self.to_group else "process"
        told = f"{self.number.name} {target} workers={self.workers} ranks={self.ranks} {self.kind}"
        return f"{told} uneven {self.uneven}" if self.uneven else told


def all_cases() -> list[Case]:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGKILL)
    cases = itertools.product(numbers, (False, True), (0, 2), (1, 2), ("SSL", "UDA"))
    methods = ("FlexMatch", "FreeMatch", "SoftMatch", "AdaMatch")
    uneven = [Case(signal.SIGTERM, n % 2 == 0, 0, 2, "SSL", name) for n, name in enumerate(methods)]
    return [*(Case(*each) for each in cases), *uneven]


def prepare(folder: Path, case: Case) -> None:
    folder.mkdir(parents=True)
    (folder / "progress.py").write_text(PROGRESS)
    options = {"strategy": "auto" if case.ranks == 1 else "ddp", "steps": STEPS}
    options["data"] = "progress.Uneven" if case.uneven else f"supercm_pl.{case.kind}DataModule"
    if case.kind == "SSL":
        options |= {"channels": 1, "method": f"supercm_pl.ssl.methods.{case.uneven or 'FlexMatch'}"}
        options |= {"labels": "    labels_per_class: 2\n"}
    else:
        options |= {"channels": 3, "method": "supercm_pl.uda.methods.DANN", "labels": ""}
    (folder / "c.yaml").write_text(CONFIG.format(**case._asdict(), **options))


def start(folder: Path, words: list[str], ranks: int) -> int:
    """The process of the command in ``folder``, in a session of its own."""
    child = os.fork()  # after the imports, which take longer than all else
    if child:
        return child
    os.setsid()
    os.chdir(folder)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open("err", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    sys.path.insert(0, str(folder))
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    if ranks > 1:  # each rank starts the command anew
        os.execv(COMMAND, [str(COMMAND), *words])
    sys.stderr = os.fdopen(2, "w", buffering=1)
    status: Any = 1
    try:
        main(words)
        status = 0
    except SystemExit as stop:
        status = stop.code
    except BaseException:
        traceback.print_exc()
    finally:
        for child in multiprocessing.active_children():  # as at the end of a program
            child.terminate()
            child.join()
        os._exit(status)


def finished(child: int, seconds: float = 240) -> int:
    """The status of a process, which is killed after ``seconds``."""
    limit = time.monotonic() + seconds
    while not os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        if time.monotonic() > limit:
            os.killpg(child, signal.SIGKILL)
            raise TimeoutError("the run does not end")
        time.sleep(0.01)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def processes_of(session: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            found += (
                [int(path.parent.name)] if int(fields[3]) == session and fields[0] != "Z" else []
            )
    return found


def end_state(folder: Path) -> dict[str, Any]:
    files = folder.glob("runs/k/*/checkpoints/last*.ckpt")
    path = max(files, key=lambda each: each.stat().st_mtime)
    content = torch.load(path, weights_only=True)
    assert content["global_step"] == STEPS
    return {name: content[name] for name in ("state_dict", "optimizer_states")}


def resumed(folder: Path) -> list[str]:
    """The arguments that resume a run from its checkpoint, or start it again without one."""
    files = folder.glob("runs/k/*/checkpoints/last.ckpt")
    return [*FIT, *(word for file in files for word in ("--ckpt_path", str(file)))]


def interrupt(folder: Path, case: Case, step: int) -> list[str]:
    """Start a run and end it by the signal of ``case`` when it is at ``step``.

    Returns:
        The arguments of the command that resumes it.
    """
    prepare(folder, case)
    process = start(folder, FIT, case.ranks)
    limit = time.monotonic() + 240
    while not (folder / "step").exists() or int((folder / "step").read_text() or 0) < step:
        assert time.monotonic() < limit, (folder / "err").read_text()
        time.sleep(0.01)
    (os.killpg if case.to_group else os.kill)(process, case.number)
    status = finished(process, 180)
    limit = time.monotonic() + 10
    while (left := processes_of(process)) and time.monotonic() < limit:
        time.sleep(0.1)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)
    err = (folder / "err").read_text()
    assert not left, f"processes left: {left}"
    killed = case.number == signal.SIGKILL
    assert status == (-signal.SIGKILL if killed else 128 + case.number), f"{status}: {err}"
    if not killed:
        assert "Traceback" not in err, err
        words = shlex.split(err.strip().splitlines()[-1])[1:]
        assert words[-1].endswith("interrupted.ckpt"), err
        return words
    return resumed(folder)


def check(place: Path, part: str) -> None:
    torch.set_num_threads(1)
    draw = random.Random(0)
    expected: dict[tuple[int, str, str], dict[str, Any]] = {}
    cases = [case for case in all_cases() if part in str(case)]
    for count, case in enumerate(cases):
        key = (case.ranks, case.kind, case.uneven)
        twin = place / "_".join(map(str, ("whole", *key)))
        if key not in expected:
            prepare(twin, case)
            assert finished(start(twin, FIT, case.ranks)) == 0
            expected[key] = end_state(twin)
        folder, began = place / str(count), time.monotonic()
        words = interrupt(folder, case, step := draw.randrange(2, STEPS - 4))
        assert finished(start(folder, words, case.ranks)) == 0, (folder / "err").read_text()
        same = equal(end_state(folder), expected[key])
        assert same, f"{case} ends otherwise"
        print(
            f"{case} at step {step}: ended the same, {time.monotonic() - began:.0f} s", flush=True
        )
    print(f"{len(cases)} runs interrupted, all resumed to the same end")


if __name__ == "__main__":
    check(Path(sys.argv[1]), " ".join(sys.argv[2:]))
