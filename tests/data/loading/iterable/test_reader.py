# ruff: noqa: NPY002 - data sets of users draw from the global generator of NumPy
import random

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from supercm_pl.data import PairedLoader, Part
from supercm_pl.data.datasets import Samples, TensorData
from supercm_pl.data.loading.iterable.reader import IterableData, IterableSamples
from tests.support.generators import untouched_generators

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
]


class Numbers(IterableDataset):
    """The numbers ``0..size-1``, in the same order for all; items have a label."""

    def __init__(self, size=13):
        self.size = size

    def __iter__(self):
        return ((torch.tensor([float(i)]), i % 2) for i in range(self.size))


class Shuffled(Numbers):
    """In a new order each time, which the global generators decide, with noise beside them."""

    def __iter__(self):
        numbers = list(range(self.size))
        random.shuffle(numbers)
        for i in numbers:
            yield torch.tensor([float(i), float(np.random.rand()), float(torch.rand(()))])


class Sharing(Numbers):
    """Gives each worker every n-th number: a data set that shares its items out itself."""

    rank, world_size = 0, 1

    def __iter__(self):
        worker = get_worker_info()
        workers, number = (1, 0) if worker is None else (worker.num_workers, worker.id)
        step, first = workers * self.world_size, self.rank * workers + number
        return (torch.tensor([float(i)]) for i in range(first, self.size, step))


class Saved(IterableDataset):
    """Keeps a state of its own; counts how many items were read."""

    read = 0

    def __init__(self, size=13):
        self.size = size
        self.next = 0

    def __iter__(self):
        while self.next < self.size:
            Saved.read += 1
            self.next += 1
            yield torch.tensor([float(self.next - 1)])
        self.next = 0

    def state_dict(self):
        return {"next": self.next}

    def load_state_dict(self, state):
        self.next = state["next"]


def loader(dataset, labeled=5, unlabeled_batch=4, steps_per_epoch=6, **options):
    samples = Samples(TensorData(torch.arange(labeled)[:, None]), targets=np.arange(labeled))
    return PairedLoader(
        {"labeled": Part(samples, 2), "unlabeled": Part(IterableSamples(dataset), unlabeled_batch)},
        steps_per_epoch=steps_per_epoch,
        **options,
    )


def drawn(batches):
    return [int(i) for batch in batches for i in batch["unlabeled"][:, 0]]


def facts(batch):
    return batch["position"], batch["labeled"][0].tolist(), batch["unlabeled"].tolist()


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_it_is_endless_in_its_own_order_and_drops_labels(workers):
    batches = list(loader(Numbers(), num_workers=workers))
    assert drawn(batches) == [i % 13 for i in range(24)]
    assert batches[0].keys() == {"labeled", "unlabeled", "position"}


@pytest.mark.parametrize("workers", [0, 2])
def test_the_other_stream_is_that_without_it(workers):
    labeled = Part(Samples(TensorData(torch.arange(5)[:, None])), 2)
    alone = PairedLoader({"labeled": labeled}, steps_per_epoch=6)
    expected = [batch["labeled"].tolist() for batch in alone]
    batches = loader(Numbers(), num_workers=workers)
    assert [batch["labeled"][0].tolist() for batch in batches] == expected


@pytest.mark.parametrize("dataset", [Numbers, Shuffled])
@pytest.mark.parametrize("workers", [0, 2])
def test_ranks_and_workers_share_the_items_of_one_process(dataset, workers):
    whole = list(loader(dataset(29), unlabeled_batch=8))
    ranks = [
        list(loader(dataset(29), num_workers=workers, world_size=2, rank=rank)) for rank in (0, 1)
    ]
    for step, batch in enumerate(whole):
        parts = torch.cat([rank[step]["unlabeled"] for rank in ranks])
        assert torch.equal(batch["unlabeled"], parts)
    assert len(set(drawn(whole[:3]))) == 24  # no item twice in a pass


def test_each_pass_is_shuffled_anew():
    numbers = drawn(loader(Shuffled(12), unlabeled_batch=12))
    passes = [tuple(numbers[i : i + 12]) for i in range(0, 72, 12)]
    assert all(sorted(one) == list(range(12)) for one in passes)
    assert len(set(passes)) == 6


@pytest.mark.parametrize("workers", [0, 2])
def test_a_data_set_that_shares_itself_out_is_not_shared_again(workers):
    ranks = []
    for rank in (0, 1):
        dataset = Sharing(48)
        dataset.rank, dataset.world_size = rank, 2
        data = IterableData(dataset, sharded=True)
        ranks.append(drawn(loader(data, num_workers=workers, world_size=2, rank=rank)))
    assert sorted(ranks[0] + ranks[1]) == list(range(48))


def of_kind(kind):
    if kind == "sharing":
        return IterableData(Sharing(31), sharded=True)
    return {"numbers": Numbers, "shuffled": Shuffled, "saved": Saved}[kind]()


@pytest.mark.parametrize("kind", ["numbers", "shuffled", "sharing", "saved"])
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("done", [1, 6, 9])
def test_a_state_resumes_with_the_next_batch(kind, workers, done):
    reference = [facts(batch) for batch in loader(of_kind(kind), 5, 4, 24, num_workers=workers)]
    first = loader(of_kind(kind), num_workers=workers)
    seen = []
    while len(seen) < done:
        for batch in first:
            seen.append(facts(batch))
            if len(seen) == done:
                break
    second = loader(of_kind(kind), num_workers=workers)
    second.load_state_dict(first.state_dict())
    seen += [facts(batch) for batch in second]
    seen += [facts(batch) for batch in second]
    assert seen == reference[: len(seen)]


@pytest.mark.parametrize("kind", ["numbers", "sharing"])
@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_left_early_loses_nothing_that_was_read_ahead(kind, workers):
    data = loader(of_kind(kind), num_workers=workers)
    seen = []
    for _ in range(5):
        for batch in data:
            seen.append(facts(batch))
            if batch["position"] % 3 == 1:
                break
    expected = loader(of_kind(kind), 5, 4, 24, num_workers=workers)
    assert seen == [facts(batch) for batch in expected][: len(seen)]


def test_a_state_of_the_data_set_saves_reading_again():
    data = loader(Saved(1000))
    list(data)
    resumed = loader(Saved(1000))
    resumed.load_state_dict(data.state_dict())
    Saved.read = 0
    assert drawn(resumed) == list(range(24, 48))
    assert Saved.read == 24


class Counted(Numbers):
    read = 0

    def __iter__(self):
        for item in super().__iter__():
            Counted.read += 1
            yield item


def test_of_the_passes_only_the_current_one_is_read_again():
    data = loader(Counted(13), steps_per_epoch=60)
    list(data)
    resumed = loader(Counted(13), steps_per_epoch=1)
    resumed.load_state_dict(data.state_dict())
    Counted.read = 0
    assert drawn(resumed) == [i % 13 for i in range(240, 244)]
    assert Counted.read == 240 % 13 + 4


def test_workers_may_change_where_everyone_reads_everything():
    reference = [facts(batch) for batch in loader(Shuffled(), steps_per_epoch=12)]
    first = loader(Shuffled(), num_workers=2)
    seen = [facts(batch) for batch in first]
    second = loader(Shuffled(), num_workers=3)
    second.load_state_dict(first.state_dict())
    assert seen + [facts(batch) for batch in second] == reference


def test_with_other_workers_a_data_set_that_shares_itself_out_begins_a_new_pass():
    first = loader(IterableData(Sharing(64), sharded=True), num_workers=2, steps_per_epoch=5)
    list(first)
    second = loader(IterableData(Sharing(64), sharded=True), num_workers=0, steps_per_epoch=5)
    with pytest.warns(UserWarning, match="'unlabeled' was shared out to other ranks and workers"):
        second.load_state_dict(first.state_dict())
    assert drawn(second) == list(range(20))


def test_a_caller_who_counts_gets_the_state_of_what_is_done():
    done = 0
    data = loader(Saved(), completed=lambda: done)
    iterator = iter(data)
    for _ in range(4):
        next(iterator)
    done = 3  # one was handed out that is not finished with
    resumed = loader(Saved())
    resumed.load_state_dict(data.state_dict())
    assert drawn(resumed)[:2] == [12, 0]


@pytest.mark.parametrize("workers", [0, 2])
def test_the_global_generators_are_left_alone(workers):
    with untouched_generators():
        list(loader(Shuffled(), num_workers=workers))


def test_libraries_that_share_out_their_items_are_known():
    library = type("StreamingDataset", (Numbers,), {"__module__": "litdata.streaming.dataset"})
    assert IterableData(library()).sharded
    assert not IterableData(Numbers()).sharded
    assert not IterableData(library(), sharded=False).sharded
    assert IterableSamples(IterableData(Numbers(), sharded=True)).sharded


class Empty(Numbers):
    def __iter__(self):
        return iter(())


class Ragged(Numbers):
    def __iter__(self):
        return (torch.zeros(1 + i % 2) for i in range(9))


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("data", "workers", "message"),
    [
        (Empty(), 0, "'unlabeled' has no items"),
        (Empty(), 2, "'unlabeled' has no items"),
        (Ragged(), 0, "inputs must have one shape, but sample"),
        (Ragged(), 2, "inputs must have one shape, but sample"),
        (IterableData(Sharing(1), True), 3, "no items for one of the workers: use fewer"),
    ],
)
def test_what_can_not_be_read(data, workers, message):
    with pytest.raises(ValueError, match=message):
        list(loader(data, num_workers=workers))


@pytest.mark.bad_input
def test_inputs_must_be_like_those_of_the_training_data():
    streams = {"unlabeled": Part(IterableSamples(Numbers(), torch.zeros(1, 3)), 2)}
    with pytest.raises(ValueError, match=r"one shape and type, got \(1,\) .* and \(3,\)"):
        next(iter(PairedLoader(streams, steps_per_epoch=1)))


@pytest.mark.bad_input
def test_what_has_no_length_or_numbers():
    with pytest.raises(ValueError, match=r"steps_per_epoch must be given if .* 'unlabeled'"):
        loader(Numbers(), steps_per_epoch=None)
    with pytest.raises(ValueError, match=r"'unlabeled' have no numbers, .* FlexMatch"):
        loader(Numbers(), numbered=["unlabeled"])


class Untouched(Dataset):
    """Nobody may look at its items."""

    def __len__(self):
        return 23

    def __getitem__(self, index):
        raise AssertionError("fetched")


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unused_stream_is_not_fetched_and_changes_nothing_else(workers):
    labeled = Part(Samples(TensorData(torch.arange(5)[:, None])), 2)

    def pair(unlabeled, **options):
        return PairedLoader(
            {"labeled": labeled, "unlabeled": Part(Samples(unlabeled), 4)}, **options
        )

    used = pair(TensorData(torch.arange(23)[:, None]))
    unused = pair(Untouched(), unused=["unlabeled"], num_workers=workers)
    batches = list(unused)
    assert len(unused) == len(batches) == len(used) == 6
    assert [batch.keys() for batch in batches] == [{"labeled", "position"}] * 6
    assert [batch["labeled"].tolist() for batch in batches] == [
        batch["labeled"].tolist() for batch in used
    ]
