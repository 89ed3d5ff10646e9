from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy
from torch.utils.data import DataLoader, Dataset

from supercm_pl.callbacks.prediction_csv import PredictionCSV, PredictionWriter
from tests.support.fitting import join
from tests.support.ranks import free_port, needs_ranks, run_ranks
from tests.support.trainers import quiet_trainer

# Lightning's advice for machines with many cores; there is nothing to read here.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The 'predict_dataloader' does not have many workers"
)


class Answers(L.LightningModule):
    """Takes the inputs (N, K) for the assignments."""

    num_classes = 3

    def predict_step(self, batch: Any, batch_idx: int = 0) -> dict[str, torch.Tensor]:
        shares = batch["inputs"] if isinstance(batch, dict) else batch
        probability, label = shares.max(dim=1)
        return {"class": label, "probability": probability, "assignments": shares}


class Questions(L.LightningDataModule):
    def __init__(self, batches: list[Any], classes: list[str] | None = None) -> None:
        super().__init__()
        self.batches = batches
        if classes is not None:
            self.classes = classes

    def predict_dataloader(self) -> Any:
        return DataLoader(self.batches, batch_size=None)  # type: ignore[arg-type]


def predict(
    path: Path, data: L.LightningDataModule, module: L.LightningModule | None = None
) -> None:
    trainer = quiet_trainer(callbacks=[PredictionCSV(path)])
    trainer.predict(Answers() if module is None else module, data, return_predictions=False)


def rows_of(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.reader(file))


FIRST = torch.tensor([[0.2, 0.7, 0.1], [0.5, 0.25, 0.25]])
SECOND = torch.tensor([[0.0, 0.0, 1.0]])


def test_a_row_says_id_class_probability_and_all_assignments(tmp_path: Path) -> None:
    batches = [{"inputs": FIRST, "ids": ["a.png", "b,c.png"]}, {"inputs": SECOND, "ids": ["ü.png"]}]
    predict(tmp_path / "out.csv", Questions(batches, ["cat", "dog", "a bird"]))
    assert rows_of(tmp_path / "out.csv") == [
        ["id", "class", "probability", "cat", "dog", "a bird"],
        ["a.png", "dog", "0.700000", "0.200000", "0.700000", "0.100000"],
        ["b,c.png", "cat", "0.500000", "0.500000", "0.250000", "0.250000"],
        ["ü.png", "a bird", "1.000000", "0.000000", "0.000000", "1.000000"],
    ]


def test_samples_without_ids_are_numbered_through_all_batches(tmp_path: Path) -> None:
    predict(tmp_path / "out.csv", Questions([FIRST, SECOND]))
    header, *rows = rows_of(tmp_path / "out.csv")
    assert [row[0] for row in rows] == ["0", "1", "2"]
    assert header == ["id", "class", "probability", "0", "1", "2"]


def test_ids_may_be_a_tensor(tmp_path: Path) -> None:
    predict(tmp_path / "out.csv", Questions([{"inputs": FIRST, "ids": torch.tensor([7, 9])}]))
    assert [row[0] for row in rows_of(tmp_path / "out.csv")[1:]] == ["7", "9"]


def test_classes_are_numbered_where_the_data_name_another_number_of_them(tmp_path: Path) -> None:
    predict(tmp_path / "out.csv", Questions([SECOND], ["cat", "dog"]))
    assert rows_of(tmp_path / "out.csv")[1][1] == "2"


def test_a_file_name_that_is_not_unicode_comes_back_byte_for_byte(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    predict(tmp_path / "out.csv", Questions([{"inputs": SECOND, "ids": [name]}]))
    assert b"\r\ncaf\xe9.png," in (tmp_path / "out.csv").read_bytes()


def test_the_folder_is_made_and_an_older_file_replaced(tmp_path: Path) -> None:
    path = tmp_path / "new" / "out.csv"
    predict(path, Questions([FIRST]))
    predict(path, Questions([SECOND]))
    assert len(rows_of(path)) == 2


def test_a_run_that_fails_leaves_whole_rows(tmp_path: Path) -> None:
    class Failing(Answers):
        def predict_step(self, batch: Any, batch_idx: int = 0) -> dict[str, torch.Tensor]:
            if batch_idx == 1:
                raise RuntimeError("out of luck")
            return super().predict_step(batch, batch_idx)

    with pytest.raises(RuntimeError, match="out of luck"):
        predict(tmp_path / "out.csv", Questions([FIRST, SECOND]), Failing())
    rows = rows_of(tmp_path / "out.csv")
    assert [len(row) for row in rows] == [6, 6, 6]


class Numbers(Dataset[Any]):
    """Samples whose number shows in their probabilities."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.tensor([index / 100, 1 - index / 100, 0.0])


def predict_as_rank(rank: int, folder: str, port: int) -> None:
    join(rank, port)
    with_ids = [{"inputs": FIRST + n, "ids": [f"{n}a", f"{n}b"]} for n in range(3)]
    loaders = {
        "samples": DataLoader(Numbers(21), batch_size=4),  # 11 and 10 samples: 3 batches each
        "uneven": DataLoader(Numbers(9), batch_size=4),  # 5 and 4 samples: 2 batches, and 1
        "batches": DataLoader(with_ids, batch_size=None),  # type: ignore[arg-type]
    }
    for name, loader in loaders.items():
        csv_file = PredictionCSV(Path(folder, "out", f"{name}.csv"))
        strategy = DDPStrategy(process_group_backend="gloo")
        trainer = quiet_trainer(devices=2, strategy=strategy, callbacks=[csv_file])
        trainer.predict(Answers(), loader, return_predictions=False)


@needs_ranks
def test_two_ranks_write_one_file_in_the_order_of_the_data(tmp_path: Path) -> None:
    run_ranks(predict_as_rank, (str(tmp_path), free_port()), 2)
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == [
        "batches.csv",
        "samples.csv",
        "uneven.csv",
    ]
    for name, count in (("samples", 21), ("uneven", 9)):
        rows = rows_of(out / f"{name}.csv")[1:]
        assert [(row[0], row[3]) for row in rows] == [
            (str(n), f"{n / 100:f}") for n in range(count)
        ]
    assert [row[0] for row in rows_of(out / "batches.csv")[1:]] == [
        "0a",
        "0b",
        "1a",
        "1b",
        "2a",
        "2b",
    ]


def test_a_spreadsheet_runs_no_name(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    writer = PredictionWriter(path, ["=cmd", "b"])
    writer.write(["+1.png", "-2.png", "@3.png", "＝4.png", -5], torch.eye(2)[[0, 0, 0, 1, 1]])
    writer.close()
    rows = [line.split(",") for line in path.read_text().splitlines()]
    assert rows[0][3:] == ["'=cmd", "b"]
    assert [row[0] for row in rows[1:]] == ["'+1.png", "'-2.png", "'@3.png", "'＝4.png", "-5"]
    assert [row[1] for row in rows[1:]] == ["'=cmd", "'=cmd", "'=cmd", "b", "b"]
