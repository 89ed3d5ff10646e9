"""A stream from a data set in LitData's format."""

import multiprocessing

import numpy as np
import pytest
import torch

from supercm_pl.data import Digits, PairedLoader, Part
from supercm_pl.data.loading.iterable.reader import IterableSamples

litdata = pytest.importorskip("litdata", reason="needs the package litdata")

pytestmark = pytest.mark.filterwarnings("ignore")

IMAGES = Digits().load().train.inputs[:60]


def image(index):
    return IMAGES[index]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("litdata")
    before = multiprocessing.get_start_method(allow_none=True)
    litdata.optimize(
        image, list(range(60)), output_dir=str(path / "digits"), chunk_size=8, num_workers=1
    )
    # It sets another for the whole process, with which workers of later tests start slowly.
    multiprocessing.set_start_method(before, force=True)
    return path / "digits"


def loader(folder, workers, steps=9):
    dataset = litdata.StreamingDataset(str(folder), shuffle=True, seed=1)
    stream = Part(IterableSamples(dataset, IMAGES[:1]), 4)
    return PairedLoader({"unlabeled": stream}, steps_per_epoch=steps, num_workers=workers)


def drawn(batches):
    images = torch.cat([batch["unlabeled"] for batch in batches])
    return (images[:, None] == IMAGES).flatten(2).all(2).float().argmax(1).tolist()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_pass_has_every_image_once_and_a_state_resumes(folder, workers):
    whole = drawn(loader(folder, workers, steps=36))
    assert len(set(whole[:56])) == 56
    first = loader(folder, workers)
    seen = drawn(first)
    for _ in range(2):  # in the middle of the first pass, then of the second
        resumed = loader(folder, workers)
        resumed.load_state_dict(first.state_dict())
        seen += drawn(resumed)
        first = resumed
    assert seen == whole[:108]
    assert np.unique(seen).size == 60
