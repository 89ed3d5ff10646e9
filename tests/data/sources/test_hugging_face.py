"""Data sets of Hugging Face ``datasets``, with real PNG and JPEG images in memory."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from supercm_pl import SSLDataModule, UDADataModule
from supercm_pl.data import HuggingFaceSource
from supercm_pl.data.datasets import fetch_inputs
from tests.support.command import supercm, table

datasets = pytest.importorskip("datasets", reason="datasets is not installed: supercm-pl[hf]")

NAMES = ["cat", "dog", "owl"]


def pixels(count: int, size: int = 8) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def png(image: np.ndarray[Any, Any], kind: str = "PNG") -> dict[str, Any]:
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind)
    return {"bytes": file.getvalue(), "path": None}


def pictures(count: int = 12, **changed: Any) -> Any:
    """Images of three classes, as the Hub has them: encoded, with names of the classes."""
    columns = {
        "image": [png(image) for image in pixels(count)],
        "label": [i % 3 for i in range(count)],
        "url": [f"https://example.org/{i}" for i in range(count)],  # not looked at
        **changed,
    }
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=NAMES),
            "url": datasets.Value("string"),
        }
    )
    return datasets.Dataset.from_dict(columns, features=features)


def test_images_and_labels_are_those_of_the_data_set() -> None:
    data = HuggingFaceSource(pictures()).load()
    assert data.classes == ("cat", "dog", "owl")
    image, label = data.train[4]
    assert label == 1
    assert torch.equal(image, torch.from_numpy(pixels(12)[4]).permute(2, 0, 1))
    assert image.dtype == torch.uint8


def test_images_are_resized_and_made_gray_where_that_is_wanted() -> None:
    files = [png(pixels(1, 40 + i)[0], "JPEG") for i in range(12)]  # of different sizes
    resized = HuggingFaceSource(pictures(image=files), image_size=16, grayscale=True).load()
    assert resized.train[3][0].shape == (1, 16, 16)
    plain = HuggingFaceSource(pictures(image=files)).load()
    with pytest.raises(ValueError, match="inputs must have one shape"):
        fetch_inputs(plain.train, np.arange(4))


def test_splits_have_their_parts_and_unlabeled_rows_have_no_label() -> None:
    splits = datasets.DatasetDict(
        train=pictures(), test=pictures(6), extra=pictures(9).remove_columns("label")
    )
    data = HuggingFaceSource(splits, test="test", unlabeled="extra").load()
    assert [len(part) for part in (data.train, data.test, data.unlabeled)] == [12, 6, 9]  # type: ignore[arg-type]
    assert isinstance(data.unlabeled[0], torch.Tensor)  # type: ignore[index]
    assert data.val is None
    renamed = splits["test"].cast_column("label", datasets.ClassLabel(names=[*NAMES[::-1]]))
    data = HuggingFaceSource({**splits, "test": renamed}, test="test").load()
    assert [label for _, label in (data.test[i] for i in range(3))] == [2, 1, 0]  # type: ignore[index]
    with pytest.raises(ValueError, match="no split 'valid', only train, test, extra"):
        HuggingFaceSource(splits, val="valid").load()


def test_labels_are_names_or_numbers_too_and_inputs_vectors() -> None:
    rows = {"x": [[0.5, float(i)] for i in range(6)], "y": ["b", "a"] * 3, "z": [2, 0] * 3}
    dataset = datasets.Dataset.from_dict(rows)
    named = HuggingFaceSource(dataset, input_column="x", label_column="y").load()
    assert named.classes == ("a", "b")
    assert torch.equal(named.train[2][0], torch.tensor([0.5, 2.0]))
    assert [named.train[i][1] for i in range(2)] == [1, 0]
    numbered = HuggingFaceSource(dataset, input_column="x", label_column="z").load()
    assert numbered.classes == ("0", "1", "2")
    with pytest.raises(ValueError, match="has no column 'image', only x, y, z: set input_column"):
        HuggingFaceSource(dataset).load()
    target = HuggingFaceSource(dataset, input_column="x", label_column=None)
    data = UDADataModule(HuggingFaceSource(dataset, input_column="x", label_column="y"), target)
    assert data.describe().startswith("5 source · 5 target · 1 source and 1 target validation · 0 ")
    other = datasets.DatasetDict(train=dataset, test=dataset.map(lambda row: {"y": "c"}))
    with pytest.raises(ValueError, match="split 'test' has labels that train lacks: 'c'"):
        HuggingFaceSource(other, input_column="x", label_column="y", test="test").load()


def test_lists_of_rows_are_gray_images() -> None:
    rows = {"x": torch.rand(12, 8, 6).tolist(), "y": [0, 1] * 6}
    source = HuggingFaceSource(datasets.Dataset.from_dict(rows), input_column="x", label_column="y")
    assert SSLDataModule(source, labels_per_class=1).input_shape == (1, 8, 6)
    rows = {"x": torch.randint(256, (12, 8, 6)).tolist(), "y": [0, 1] * 6}
    source = HuggingFaceSource(datasets.Dataset.from_dict(rows), input_column="x", label_column="y")
    with pytest.raises(ValueError, match=r"floats from 0 to \d+, .* divide by 255"):
        SSLDataModule(source, labels_per_class=1).setup("fit")


@pytest.mark.parametrize("kind", ["torch", "numpy"])
def test_a_format_changes_nothing(kind: str) -> None:
    plain, formatted = (
        HuggingFaceSource(d).load() for d in (pictures(), pictures().with_format(kind))
    )
    rows = np.arange(12)
    assert torch.equal(fetch_inputs(plain.train, rows), fetch_inputs(formatted.train, rows))


def test_the_splits_of_a_data_set_are_parts() -> None:
    splits = datasets.DatasetDict(train=pictures(), test=pictures(6))
    data = SSLDataModule(splits, labels_per_class=1)
    assert data.describe().startswith("3 labeled · 6 unlabeled · 3 validation · 6 test")


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: HuggingFaceSource(pictures(), test=pictures()),
            "test must be the name of a split",
        ),
        (lambda: HuggingFaceSource(pictures(), pictures()), "takes 1 positional argument|by posit"),
        (
            lambda: HuggingFaceSource(
                datasets.Dataset.from_dict({"image": [[0.0]] * 3, "label": [1, 2, 1]})
            ),
            "label has no sample of class 0: number the classes from 0 on, or cast",
        ),
        (lambda: HuggingFaceSource(pictures().to_iterable_dataset()), "without streaming=True"),
        (
            lambda: HuggingFaceSource(pictures().with_transform(dict)),
            "train' has a transform: write",
        ),
        (
            lambda: HuggingFaceSource(
                datasets.Dataset.from_dict({"image": [[0.0]] * 3, "label": [0, None, 1]})
            ),
            "label has no label at sample 1: put such rows into a split of their own",
        ),
    ],
)
def test_what_can_not_be_read(make: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make().load()


@pytest.mark.bad_input
def test_labels_that_are_missing_are_refused() -> None:
    with pytest.raises(ValueError, match="got -1 at sample 0: put such rows into a"):
        HuggingFaceSource(pictures(label=[-1] * 12)).load()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_saved_one_trains_by_the_command(
    workers: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets.DatasetDict(train=pictures(30), test=pictures(6)).save_to_disk("saved")
    words = ["--trainer.max_steps=2", "--model.backbone.in_channels=3"]
    words += [f"--data.num_workers={workers}", "--data.source=supercm_pl.data.HuggingFaceSource"]
    words += ["--data.source.dataset=saved", "--data.source.test=test"]
    outcome = supercm("fit", "--config", "small.yaml", *words)
    assert outcome.status == 0, outcome.err
    assert "test" in table(outcome.out)["supercm fit"]
