# ruff: noqa: NPY002 - the global generator of NumPy is what these tests are about
import contextlib
import random

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from supercm_pl.data import PairedLoader, Part
from supercm_pl.data.datasets import Samples, TensorData
from supercm_pl.seeding import derive_seed, isolated_rng, permutation
from tests.support.generators import untouched_generators

# Forking with threads about is torch's own way of starting workers on Linux.
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")


def numbers(size):
    """Samples whose input is their own number."""
    return TensorData(torch.arange(size)[:, None])


def loader(sizes=(5, 23), batch_sizes=(2, 4), **options):
    labeled, unlabeled = (numbers(size) for size in sizes)
    return PairedLoader(
        {
            "labeled": Part(Samples(labeled, targets=np.arange(sizes[0])), batch_sizes[0]),
            "unlabeled": Part(Samples(unlabeled), batch_sizes[1]),
        },
        **options,
    )


def rows(batches, name="unlabeled"):
    parts = [batch[name] for batch in batches]
    return [int(i) for part in parts for i in (part[0] if isinstance(part, tuple) else part)]


def facts(batch):
    return batch["position"], rows([batch], "labeled"), rows([batch])


class Noisy(Dataset):
    """A data set of a user's with random transforms of every kind."""

    def __len__(self):
        return 10

    def __getitem__(self, index):
        noise = [random.random(), float(np.random.rand()), float(torch.rand(()))]
        return torch.tensor([float(index), *noise])


def test_the_order_is_the_same_on_every_platform():
    # Written down once: NumPy's specification of SeedSequence and PCG64 fixes these numbers.
    assert permutation(10, 0, "stream", "labeled", 0).tolist() == PERMUTATION
    assert derive_seed(3, "view", 17, 0, "unlabeled", "weak") == SEED


PERMUTATION = [0, 8, 4, 5, 1, 7, 3, 2, 6, 9]
SEED = 17848203676932740976


def test_permutations_are_uniform():
    counts = np.zeros((4, 4))
    for seed in range(2400):
        counts[np.arange(4), permutation(4, seed, "x")] += 1
    assert abs(counts - 600).max() < 100  # about 4.7 standard deviations


def test_batches_have_the_streams_asked_for():
    batch = next(iter(loader()))
    x, y = batch["labeled"]
    assert x.shape == (2, 1)
    assert torch.equal(x[:, 0], y)
    assert batch["unlabeled"].shape == (4, 1)
    assert batch["position"] == 0


def test_a_stream_without_labels_carries_none_at_all():
    data = TensorData(torch.zeros(9, 1), torch.arange(9))
    stream = Part(Samples(data, np.arange(3, 9)), 6)
    batch = next(iter(PairedLoader({"unlabeled": stream})))
    assert batch.keys() == {"unlabeled", "position"}
    assert isinstance(batch["unlabeled"], torch.Tensor)


def test_an_epoch_is_one_pass_over_the_longest_stream():
    assert len(loader()) == 6  # ceil(23 / 4)
    assert len(loader(world_size=2, rank=0)) == 3
    assert len(loader(steps_per_epoch=4)) == 4
    assert len(list(loader(steps_per_epoch=4))) == 4


def test_streams_run_on_over_the_epochs():
    short, long = loader(steps_per_epoch=3), loader(steps_per_epoch=30)
    pieces = [facts(batch) for _ in range(10) for batch in short]
    assert pieces == [facts(batch) for batch in long]
    drawn = rows(list(loader(steps_per_epoch=46)))
    assert all(drawn.count(i) == 8 for i in range(23))  # 46 * 4 / 23


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_the_batch_of_one_process(world_size):
    whole = list(loader(batch_sizes=(2 * world_size, 4 * world_size), steps_per_epoch=9))
    ranks = [
        list(loader(world_size=world_size, rank=r, steps_per_epoch=9)) for r in range(world_size)
    ]
    for name in ("labeled", "unlabeled"):
        for step, batch in enumerate(whole):
            assert rows([batch], name) == rows([rank[step] for rank in ranks], name)
    first_cycle = [rows(rank[: 23 // (4 * world_size)]) for rank in ranks]
    assert sum(map(len, first_cycle)) == len(set().union(*first_cycle))  # no row twice


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("done", [0, 1, 5, 6, 7, 11, 12])
def test_a_state_resumes_with_the_next_batch_and_ends_the_epoch(workers, done):
    reference = [facts(batch) for batch in loader(steps_per_epoch=24)]
    first = loader(num_workers=workers)
    seen = []
    while len(seen) < done:
        for batch in first:
            seen.append(facts(batch))
            if len(seen) == done:
                break
    state = first.state_dict()
    assert first.position == state["position"] == done

    second = loader(num_workers=workers)
    second.load_state_dict(state)
    rest = [facts(batch) for batch in second]
    assert len(rest) == (6 - done % 6 if done % 6 else 6)
    assert seen + rest == reference[: done + len(rest)]
    assert [facts(batch) for batch in second] == reference[done + len(rest) :][:6]  # a whole epoch


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_left_early_shortens_no_other(workers):
    data = loader(num_workers=workers)
    for _ in range(3):
        for batch in data:
            if batch["position"] % 2:
                break
    assert data.position == 6
    assert [batch["position"] for batch in data] == list(range(6, 12))


def test_a_caller_who_counts_decides_where_to_go_on():
    done = 0
    data = loader(completed=lambda: done)
    iterator = iter(data)
    next(iterator)
    assert data.state_dict()["position"] == 0  # handed out, but not finished with
    done = 4
    assert data.state_dict()["position"] == 4
    assert [batch["position"] for batch in data] == list(range(4, 10))


def test_spare_iterators_consume_nothing():
    data = loader()
    iter(data)
    iter(data)
    assert next(iter(data))["position"] == 0


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_random_transforms_depend_on_seed_and_step_alone(workers):
    def run(seed, num_workers=workers):
        data = PairedLoader(
            {"a": Part(Samples(Noisy()), 3), "b": Part(Samples(Noisy()), 3)},
            seed=seed,
            num_workers=num_workers,
        )
        return list(data)

    random.seed(workers)
    torch.manual_seed(workers)
    np.random.seed(workers)
    mine, reference, other = run(0), run(0, 0), run(1)
    for batch, expected in zip(mine, reference, strict=True):
        assert torch.equal(batch["a"], expected["a"])
        assert torch.equal(batch["b"], expected["b"])
    noise = torch.cat([batch[name][:, 1:] for batch in [*mine, *other] for name in "ab"])
    assert (
        len(noise.flatten().unique()) == noise.numel()
    )  # other for every item, step, stream, seed


@pytest.mark.parametrize("workers", [0, 2])
def test_the_global_generators_are_left_alone(workers):
    with untouched_generators():
        list(PairedLoader({"a": Part(Samples(Noisy()), 3)}, num_workers=workers))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_of_the_data_reads_the_same_from_a_worker(workers):
    class Broken(Noisy):
        def __getitem__(self, index):
            raise ValueError("sample 3 is broken")

    data = PairedLoader({"a": Part(Samples(Broken()), 3)}, num_workers=workers)
    with pytest.raises(ValueError, match=r"^sample 3 is broken$"):
        next(iter(data))


def test_generators_come_back_after_an_error():
    with untouched_generators(), contextlib.suppress(KeyError), isolated_rng() as reseed:
        reseed(1)
        _ = random.random(), np.random.rand(), torch.rand(())
        raise KeyError


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: loader(sizes=(0, 4)), "no samples in the part 'labeled'"),
        (lambda: loader(batch_sizes=(2, 0)), "batch size of 'unlabeled' must be at least 1, got 0"),
        (lambda: loader(batch_sizes=(-1, 2)), "batch size of 'labeled' must be at least 1, got -1"),
        (lambda: loader(steps_per_epoch=0), "steps_per_epoch must be at least 1, got 0"),
        (lambda: PairedLoader({}), "at least one part"),
        (lambda: next(iter(loader(world_size=2, rank=2))), r"rank must be in 0..1, got 2"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
