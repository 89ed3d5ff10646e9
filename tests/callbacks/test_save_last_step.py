"""The checkpoint at the end of a run has the weights of its last step."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.support.command import SMALL, supercm, table

EPOCHS = ("--trainer.max_steps=-1", "--trainer.max_epochs=2", "--data.steps_per_epoch=4")


@pytest.mark.parametrize(
    ("words", "steps"),
    [
        (["--trainer.max_steps=12"], 12),  # a step at which ModelCheckpoint saves
        (["--trainer.max_steps=10"], 10),
        (["--trainer.max_steps=4"], 4),
        (["--trainer.max_steps=5", "--trainer.accumulate_grad_batches=2"], 5),
        (EPOCHS, 8),
        (["--budget=1s"], None),
    ],
)
def test_the_results_are_those_of_the_checkpoint(words, steps, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(SMALL)
    trained = supercm("fit", "--config=small.yaml", *words)
    assert trained.status == 0, trained.err
    run = "runs/small/version_0"
    saved = f"{run}/checkpoints/last.ckpt"
    assert table(trained.out)["checkpoint"] == [saved]
    found = torch.load(saved, weights_only=True)["global_step"]
    assert found == steps or (steps is None and found > 12)
    tested = supercm("test", f"--config={run}/config.yaml", f"--ckpt_path={saved}")
    assert table(tested.out)["accuracy"][0] == table(trained.out)["accuracy"][0]


def test_nothing_is_saved_without_checkpoints(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(SMALL)
    without = ("--trainer.callbacks=[]", "--trainer.enable_checkpointing=false")
    assert supercm("fit", "--config=small.yaml", "--trainer.max_steps=4", *without).status == 0
    assert not list(Path().rglob("*.ckpt"))
