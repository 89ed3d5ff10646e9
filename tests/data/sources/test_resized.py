import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F
from torch.utils.data import Dataset, TensorDataset

from supercm_pl.data import ArraySource, DatasetSource, Digits, FolderSource
from supercm_pl.data.datasets import fetch_inputs
from supercm_pl.data.labels import labels_of
from supercm_pl.data.sources.digits import DigitsM
from supercm_pl.data.sources.folder import UnlabeledFolder
from supercm_pl.data.sources.image_reading import ImageFiles
from supercm_pl.data.sources.resized import Reshape, Resized

ALL = np.arange(3)


class Photos(Dataset):
    """PIL images of three sizes; a label is not read before somebody asks for it."""

    def __init__(self, mode="RGB"):
        self.mode = mode

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return Image.new(self.mode, (9 + index, 6), 100 if self.mode == "L" else (100, 0, 0)), index


# Digits-M.


def test_digits_m_has_the_rows_labels_and_parts_of_digits():
    plain, blended = Digits().load(), DigitsM().load()
    for one, other in ((plain.train, blended.train), (plain.test, blended.test)):
        assert torch.equal(one.targets, other.targets)
        assert other.inputs.shape == (len(one), 3, 16, 16)
        assert other.inputs.min() >= 0
        assert other.inputs.max() <= 1
    assert blended.classes == plain.classes == DigitsM().class_names()


def test_digits_m_is_the_difference_of_a_patch_and_the_digit():
    from sklearn.datasets import load_sample_images

    data = DigitsM(size=64).load().test  # at 64 pixels, photographs have their own size
    digits = F.interpolate(Digits().load().test.inputs, size=64, mode="bilinear")
    photos = [torch.from_numpy(p.copy()).float() / 255 for p in load_sample_images().images]
    for row in range(3):
        digit, seen = digits[row, 0, :, :, None], data.inputs[row].permute(1, 2, 0)
        # Where there is no ink, the photograph is seen as it is: that finds the patch.
        inkless = (digit[..., 0] == 0).nonzero()[::40].tolist()
        found = []
        for photo in photos:
            height, width = (side - 63 for side in photo.shape[:2])
            fits = torch.ones(height, width, dtype=torch.bool)
            for r, c in inkless:
                offset = photo[r : r + height, c : c + width] - seen[r, c]
                fits &= offset.abs().amax(-1) < 1e-5
            found += [photo[t : t + 64, left : left + 64] for t, left in fits.nonzero().tolist()]
        errors = [((patch - digit).abs() - seen).abs().max() for patch in found]
        assert min(errors) < 1e-5


def test_digits_m_is_always_the_same_and_patches_differ():
    one, two = DigitsM().load(), DigitsM().load()
    assert torch.equal(one.train.inputs, two.train.inputs)
    assert len(one.train.inputs[:, :, 0].flatten(1).unique(dim=0)) > 1300  # corners, without ink


def test_the_colors_of_a_digit_depend_on_its_patch_alone():
    # A classifier of the plain digits must not read the label off the mean color.
    data = DigitsM().load().train
    means = torch.stack([data.inputs[data.targets == k].mean((0, 2, 3)) for k in range(10)])
    assert means.std(0).max() < 0.03


@pytest.mark.bad_input
@pytest.mark.parametrize("size", [7, 65])
def test_digits_m_of_sizes_that_make_no_sense(size):
    with pytest.raises(ValueError, match=rf"size must be in 8..64 pixels, got {size}"):
        DigitsM(size=size)


# Resized.


def test_images_in_memory_are_resized_at_once():
    source = Resized(Digits(), size=16, channels=3)
    data = source.load()
    assert data.train.inputs.shape == (1347, 3, 16, 16)
    assert data.test.inputs.shape == (450, 3, 16, 16)
    expected = F.interpolate(Digits().load().train.inputs, size=16, mode="bilinear")
    assert torch.allclose(data.train.inputs, expected.expand(-1, 3, -1, -1), atol=1e-6)
    assert torch.equal(data.train.targets, Digits().load().train.targets)
    assert source.class_names() == data.classes == tuple("0123456789")


def test_bytes_stay_bytes_and_the_center_is_cut_out():
    x = np.zeros((2, 1, 28, 28), dtype=np.uint8)
    x[:, :, 4:24, 4:24] = 200
    data = Resized(ArraySource(x, np.array([0, 1])), size=(16, 10), crop=20).load()
    assert data.train.inputs.dtype == torch.uint8
    assert data.train.inputs.shape == (2, 1, 16, 10)
    assert (data.train.inputs == 200).all()


def test_rgb_becomes_gray_as_pillow_does():
    x = np.random.default_rng(0).integers(0, 256, (3, 5, 5, 3), dtype=np.uint8)
    data = Resized(ArraySource(x, ALL), channels=1).load()
    pillow = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in x])
    assert data.train.inputs.shape == (3, 1, 5, 5)
    assert np.abs(data.train.inputs[:, 0].numpy().astype(int) - pillow).max() <= 1


def test_shrinking_averages():
    x = np.indices((8, 8)).sum(0)[None, None] % 2  # a chessboard
    data = Resized(ArraySource(x.repeat(2, 0).astype(np.float32), np.array([0, 1])), size=2).load()
    assert torch.allclose(data.train.inputs, torch.tensor(0.5), atol=0.05)


def test_other_data_sets_are_resized_as_they_are_read():
    data = Resized(DatasetSource(Photos(), test=Photos(), classes=list("abc")), size=4).load()
    assert fetch_inputs(data.train, ALL).shape == (3, 3, 4, 4)
    assert labels_of(data.train).tolist() == [0, 1, 2]
    image, label = data.test[2]
    assert (image.shape, label) == ((3, 4, 4), 2)
    assert image[0].unique().tolist() == [100]


def test_files_are_read_at_the_new_size(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        Image.new("RGB", (40, 30), (0, 0, 200)).save(tmp_path / name / "1.png")
    rgb, gray = (FolderSource(tmp_path, image_size=32, grayscale=gray) for gray in (False, True))
    shrunk = Resized(rgb, size=8).load().train
    assert isinstance(shrunk, ImageFiles)  # so that a photo is resized only once
    assert fetch_inputs(shrunk, ALL[:2]).shape == (2, 3, 8, 8)
    colored = Resized(gray, size=8, channels=3).load().train
    images = fetch_inputs(colored, ALL[:2])
    assert images.shape == (2, 3, 8, 8)
    assert torch.equal(images[:, 0], images[:, 2])  # still without color
    assert labels_of(colored).tolist() == [0, 1]
    cropped = fetch_inputs(Resized(rgb, crop=10).load().train, ALL[:2])
    assert cropped.shape == (2, 3, 10, 10)
    one = fetch_inputs(Resized(rgb, channels=1).load().train, ALL[:2])
    assert one.shape == (2, 1, 32, 32)


def test_all_parts_of_a_source_are_resized():
    x, y = torch.zeros(4, 1, 6, 6), torch.arange(4)
    part = TensorDataset(x, y)
    data = Resized(DatasetSource(part, part, part, part), size=3).load()
    for dataset in (data.train, data.test, data.val, data.unlabeled):
        assert fetch_inputs(dataset, ALL).shape == (3, 1, 3, 3)
    assert Resized(DatasetSource(part)).load().train is part  # nothing to do


def test_bytes_can_become_floats():
    bytes_ = torch.tensor([[[[0, 255]]]], dtype=torch.uint8)
    assert Reshape(floating=True)(bytes_).tolist() == [[[[0.0, 1.0]]]]


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"size": 0}, ValueError, "size must be at least 1, got 0"),
        ({"size": (4, 4, 4)}, TypeError, r"size must be a number of pixels or \(height, width\)"),
        ({"size": True}, TypeError, "size must be an int, got True"),
        ({"crop": 2.5}, TypeError, "crop must be an int, got 2.5"),
        ({"channels": 2}, ValueError, "channels must be .*1, 3.* got 2"),
        ({"crop": 9}, ValueError, r"no larger than the images, got \(9, 9\) .* \(8, 8\)"),
    ],
)
def test_sizes_that_make_no_sense(options, error, message):
    with pytest.raises(error, match=message):
        Resized(Digits(), **options).load()


@pytest.mark.bad_input
def test_vectors_cannot_be_resized():
    source = Resized(ArraySource(np.zeros((3, 5)), ALL), size=4)
    with pytest.raises(ValueError, match=r"only images .* got inputs of shape \(5,\)"):
        source.load()


# Targets without labels.


def test_a_folder_of_unlabeled_images(tmp_path):
    for name in ("x/1.png", "2.png", "test/a/1.png", "test/b/2.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (5, 5)).save(tmp_path / name)
    data = UnlabeledFolder(tmp_path / "x", image_size=4).load()
    assert data.classes == ()
    assert data.train[0].shape == (3, 4, 4)  # an image, no label beside it
    data = UnlabeledFolder(tmp_path, tmp_path / "test", image_size=4, grayscale=True).load()
    assert len(data.train) == 2  # without the test images, which lie below
    assert data.classes == ("a", "b")
    assert data.test[1][0].shape == (1, 4, 4)
    with pytest.raises(ValueError, match=r"target folder .*none does not exist"):
        UnlabeledFolder(tmp_path / "none").load()


def test_unlabeled_arrays():
    x = np.zeros((4, 1, 3, 3), dtype=np.uint8)
    data = ArraySource(x).load()
    assert (data.classes, data.test) == ((), None)
    assert data.train.targets is None
    test = {"x_test": x[:2], "y_test": np.array([0, 1])}
    data = ArraySource(x, **test, classes=["a", "b"]).load()
    assert data.classes == ("a", "b")
    assert labels_of(data.test).tolist() == [0, 1]
    with pytest.raises(ValueError, match="x_test and y_test go together, got only x_test"):
        ArraySource(x, x_test=x)
