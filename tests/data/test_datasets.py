import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset

from supercm_pl.data import ArraySource, DatasetSource, Digits
from supercm_pl.data.datasets import (
    IdentifiedSamples,
    JoinedData,
    Samples,
    TensorData,
    as_is,
    fetch_inputs,
)
from supercm_pl.data.labels import as_labels, checked_classes, labels_of
from tests.support.datasets import Listed
from tests.support.generators import untouched_generators

X = np.random.default_rng(0).random((12, 1, 4, 4), dtype=np.float32)
Y = np.arange(12) % 3


class Pictures(Dataset):
    """As torchvision's data sets: PIL images, labels in `targets`; counts the images read."""

    classes = ("red", "green", "blue")

    def __init__(self, targets=Y, target_transform=None, mode="RGB"):
        self.targets = list(targets)
        self.target_transform = target_transform
        self.mode = mode
        self.read = 0

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        self.read += 1
        target = self.targets[index]
        label = target if self.target_transform is None else self.target_transform(target)
        return Image.new(self.mode, (5, 4), color=index), label


def test_digits_are_the_real_ones_with_a_fixed_stratified_test_set():
    one, two = Digits().load(), Digits().load()
    assert one.train.inputs.shape == (1347, 1, 8, 8)
    assert one.train.inputs.dtype == torch.float32
    assert (one.train.inputs.min(), one.train.inputs.max()) == (0.0, 1.0)
    assert torch.equal(one.test.inputs, two.test.inputs)
    assert len(one.test) == 450
    assert one.test.targets.bincount().min() >= 43
    assert one.classes == Digits().class_names() == tuple("0123456789")
    seen = {tuple(image.flatten().tolist()) for image in one.train.inputs}
    assert not seen & {tuple(image.flatten().tolist()) for image in one.test.inputs}


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((6, 9), (9,)),
        ((6, 5, 4), (1, 5, 4)),
        ((6, 2, 5, 4), (2, 5, 4)),
        ((6, 3, 5, 4), (3, 5, 4)),
        ((6, 5, 4, 3), (3, 5, 4)),
        ((6, 5, 4, 1), (1, 5, 4)),
    ],
)
@pytest.mark.parametrize("as_tensor", [False, True])
def test_shapes_of_arrays(shape, expected, as_tensor):
    x = np.random.default_rng(0).random(shape)
    data = ArraySource(torch.from_numpy(x) if as_tensor else x, np.arange(6) % 2).load()
    assert data.train.inputs.shape[1:] == expected
    assert data.train.inputs.dtype == torch.float32
    if shape[-1] == 3:
        assert torch.allclose(data.train.inputs[1, 2], torch.from_numpy(x[1, :, :, 2]).float())


def test_types_of_arrays():
    kinds = {"uint8": "uint8", "float64": "float32", "int32": "float32", "bool": "float32"}
    for given, expected in kinds.items():
        data = ArraySource((X * 2).astype(given), Y).load()
        assert data.train.inputs.dtype == getattr(torch, expected)


def test_huge_but_finite_values_pass():
    ArraySource(np.full((6, 3), 3e38, dtype=np.float32), np.arange(6) % 2)


def test_labels_are_found_without_reading_the_images():
    data = Pictures(np.arange(50) % 3)
    assert labels_of(data).tolist() == data.targets
    assert data.read == 2  # the first and the last, to see that they agree


def test_labels_are_found_through_subsets_and_joined_sets():
    data = Pictures()
    joined = ConcatDataset(
        [Subset(data, [2, 1]), TensorDataset(torch.zeros(2, 1), torch.tensor([0, 1]))]
    )
    assert labels_of(joined).tolist() == [2, 1, 0, 1]
    assert data.read <= 2


def test_labels_as_the_items_give_them():
    assert labels_of(Pictures([7, 8, 9], target_transform=lambda t: t - 7)).tolist() == [0, 1, 2]
    stale = Pictures()
    stale.targets = [0] * 12
    stale.__class__ = type(
        "Relabeled", (Pictures,), {"__getitem__": lambda _, i: (X[i], int(Y[i]))}
    )
    assert labels_of(stale).tolist() == Y.tolist()
    for kind in (int, np.int16, torch.tensor, np.array, lambda y: torch.tensor([y])):
        assert labels_of(Listed([(X[i], kind(Y[i])) for i in range(12)])).tolist() == Y.tolist()


def test_reading_labels_leaves_the_global_generators_alone():
    drawing = type("Random", (Listed,), {"__getitem__": lambda _, i: (torch.rand(1), i)})
    with untouched_generators():
        labels_of(drawing([0] * 4))


def test_dataset_source_takes_names_and_pictures():
    source = DatasetSource(Pictures(), test=Pictures())
    assert source.load().classes == ("red", "green", "blue")
    images = fetch_inputs(source.load().train, np.array([4, 2]))
    assert images.dtype == torch.uint8
    assert images.shape == (2, 3, 4, 5)
    assert images[:, 0, 0, 0].tolist() == [4, 2]
    assert fetch_inputs(Pictures(mode="L"), np.array([7])).tolist() == [[[[7] * 5] * 4]]
    assert fetch_inputs(Pictures(mode="CMYK"), np.array([7])).shape == (1, 3, 4, 5)


def test_dataset_source_counts_classes_if_they_have_no_names():
    plain = Listed([(X[i], int(Y[i])) for i in range(12)])
    assert DatasetSource(plain).load().classes == ("0", "1", "2")
    assert DatasetSource(plain, classes=["a", "b", "c"]).class_names() == ("a", "b", "c")


def test_items_may_be_inputs_alone_or_with_labels():
    for item in (X[0], torch.from_numpy(X[0]), (X[0],), (X[0], 3), [X[0], "cat", None]):
        assert torch.equal(fetch_inputs(Listed([item]), np.array([0]))[0], torch.from_numpy(X[0]))


def test_a_set_that_fetches_many_items_at_once_is_asked_once():
    class Many(Listed):
        def __getitems__(self, indices):
            return [(torch.tensor([float(i)]), 0) for i in indices]

    assert fetch_inputs(Many([None] * 5), np.array([3, 1])).tolist() == [[3.0], [1.0]]


def test_joined_sets_count_through():
    sizes = (4, 1, 7)
    parts = [TensorData(torch.arange(n)[:, None] + 100 * p) for p, n in enumerate(sizes)]
    joined = JoinedData([*parts[:2], Listed(list(parts[2].inputs.float()))])
    rows = np.array([11, 0, 4, 4, 5, 3, 10])
    assert joined.fetch(rows[:1]).tolist() == [[206.0]]
    expected = [[206], [0], [100], [100], [200], [3], [205]]
    same_type = JoinedData(parts)
    assert same_type.fetch(rows).tolist() == expected
    assert [same_type[int(i)].tolist() for i in rows] == expected
    assert len(joined) == 12
    with pytest.raises(
        ValueError, match=r"inputs of one shape and type, got .*float32 and .*int64"
    ):
        joined.fetch(rows)


def test_samples_have_the_labels_given_and_no_others():
    data = TensorData(torch.from_numpy(X), torch.from_numpy(Y))
    hidden = Samples(data, np.array([5, 3]))
    assert torch.equal(hidden[0], data.inputs[5])
    assert torch.equal(hidden.__getitems__([0, 1]), data.inputs[[5, 3]])
    labeled = Samples(data, np.array([5, 3]), np.array([8, 9]))
    assert labeled[1][1] == 9
    assert labeled.__getitems__([1, 0])[1].tolist() == [9, 8]


def test_samples_with_ids():
    samples = Samples(TensorData(torch.from_numpy(X)), np.array([5, 3, 8]), np.array([0, 0, 0]))
    batch = next(iter(torch.utils.data.DataLoader(IdentifiedSamples(samples), 2, collate_fn=as_is)))
    assert torch.equal(batch["inputs"], torch.from_numpy(X[[5, 3]]))
    assert batch["ids"] == ["5", "3"]
    named = IdentifiedSamples(samples, ["a", "b", "c"])[2]
    assert (named["ids"], torch.equal(named["inputs"], torch.from_numpy(X[8]))) == ("c", True)


def test_tensor_data_works_in_a_plain_loader():
    data = TensorData(torch.from_numpy(X), torch.from_numpy(Y))
    x, y = next(iter(torch.utils.data.DataLoader(data, batch_size=5)))
    assert x.shape == (5, 1, 4, 4)
    assert y.tolist() == Y[:5].tolist()
    assert torch.equal(TensorData(torch.from_numpy(X))[2], torch.from_numpy(X[2]))


def test_names_of_classes_are_text():
    assert checked_classes([0, "one"]) == ("0", "one")


def test_labels_stay_whole_numbers():
    assert as_labels(np.array([2**40, 0]), "y", 2).tolist() == [2**40, 0]
