import os

import numpy as np
import pytest
import torch
from PIL import Image

from supercm_pl import SSLDataModule, UDADataModule
from supercm_pl.data import FolderSource, Split, UnlabeledFolder
from supercm_pl.data.labels import labels_of
from supercm_pl.data.sources import image_reading
from supercm_pl.data.sources.folder import images_to_predict
from supercm_pl.data.sources.image_folders import find_images
from supercm_pl.data.sources.image_reading import read_image
from supercm_pl.report.runs import _split


def paint(path, color=(200, 100, 50), size=(6, 4), mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color).save(path, **options)
    return path


@pytest.fixture
def folders(tmp_path):
    for name, color in (("dog", (0, 0, 255)), ("cat", (255, 0, 0))):
        for i in range(3):
            paint(tmp_path / "labeled" / name / f"{i}.png", color)
        paint(tmp_path / "test" / name / "9.jpg", color)
    paint(tmp_path / "unlabeled" / "b.png")
    paint(tmp_path / "unlabeled" / "deep" / "er" / "a.PNG")
    (tmp_path / "unlabeled" / "notes.txt").write_text("not an image")
    return tmp_path


def source(folders, **options):
    options = {"unlabeled": folders / "unlabeled", "test": folders / "test", **options}
    return FolderSource(folders / "labeled", **options)


def test_folders_become_data_sets(folders):
    data = source(folders, image_size=8).load()
    assert data.classes == ("cat", "dog") == source(folders).class_names()
    assert labels_of(data.train).tolist() == [0, 0, 0, 1, 1, 1]
    assert labels_of(data.test).tolist() == [0, 1]
    assert len(data.unlabeled) == 2
    cat, label = data.train[0]
    assert cat.dtype == torch.uint8
    assert (cat.shape, label) == ((3, 8, 8), 0)
    assert cat[:, 3, 3].tolist() == [255, 0, 0]
    assert data.train.fetch(np.array([5, 0]))[:, :, 0, 0].tolist() == [[0, 0, 255], [255, 0, 0]]


def test_grayscale_has_one_channel(folders):
    image = source(folders, grayscale=True, image_size=5).load().unlabeled[0]
    assert image.shape == (1, 5, 5)


def test_a_class_may_be_missing_from_the_test(folders):
    for path in (folders / "test" / "cat").iterdir():
        path.unlink()
    (folders / "test" / "cat").rmdir()
    assert labels_of(source(folders).load().test).tolist() == [1]


def test_validation_folder(folders):
    assert len(source(folders, val=folders / "test").load().val) == 2


def test_the_order_of_files_does_not_depend_on_the_file_system(folders):
    for name in ("a10.png", "a9.png", "B.png", "ä.png"):
        paint(folders / "many" / name)
    names = [path.name for path in find_images(folders / "many")]
    assert names == sorted(names)


def test_links_are_followed_and_loops_end(folders):
    (folders / "unlabeled" / "again").symlink_to(folders / "labeled")
    (folders / "unlabeled" / "loop").symlink_to(folders / "unlabeled")
    assert len(find_images(folders / "unlabeled")) == 8


def test_hidden_files_are_passed_over(folders):
    paint(folders / "labeled" / "cat" / ".thumb.png")
    paint(folders / "labeled" / ".cache" / "1.png")
    data = source(folders).load()
    assert (len(data.train), data.classes) == (6, ("cat", "dog"))


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "1", "CMYK", "I;16", "I", "YCbCr"])
@pytest.mark.parametrize("grayscale", [True, False])
def test_any_kind_of_pixel(tmp_path, mode, grayscale):
    suffix = {"CMYK": "jpg", "YCbCr": "jpg", "I": "tif"}.get(mode, "png")
    color = {"I;16": 257 * 99, "I": 257 * 99, "1": 1, "L": 99, "LA": (99, 255), "P": 3}.get(mode)
    if color is None:
        color = (99, 99, 99, 255)[: len(Image.new(mode, (1, 1)).getbands())]
    path = paint(tmp_path / f"x.{suffix}", color, mode=mode)
    image = read_image(path, (5, 7), grayscale)
    assert image.shape == (1 if grayscale else 3, 5, 7)
    if mode not in ("P", "1", "CMYK", "YCbCr"):
        assert abs(image.float() - 99).max() <= 1


def test_a_palette_with_transparency_warns_of_nothing(tmp_path):
    path = tmp_path / "x.png"
    Image.new("P", (4, 4), 1).save(path, transparency=b"\x00\x80")
    assert read_image(path, (4, 4)).shape == (3, 4, 4)


def test_large_photos_keep_their_content(tmp_path):
    image = Image.new("RGB", (1600, 1200))
    image.paste((250, 250, 250), (800, 0, 1600, 1200))
    image.save(tmp_path / "x.jpg", quality=95)
    small = read_image(tmp_path / "x.jpg", (32, 32)).float()
    assert small[:, :, :14].max() < 10
    assert small[:, :, 18:].min() > 240


@pytest.mark.bad_input
def test_a_missing_folder(tmp_path):
    with pytest.raises(ValueError, match=r"labeled folder .*nowhere does not exist"):
        FolderSource(tmp_path / "nowhere").load()


@pytest.mark.bad_input
def test_a_file_for_a_folder(folders):
    with pytest.raises(ValueError, match=r"unlabeled folder .*notes.txt is not a folder"):
        source(folders, unlabeled=folders / "unlabeled" / "notes.txt").load()


@pytest.mark.bad_input
def test_a_folder_without_class_subfolders_shows_both_layouts(folders):
    for name in "abcde":
        paint(folders / "flat" / f"{name}.png")
    layouts = r"expected .*flat/<class>/<image>, found a.png, b.png, c.png and 2 more"
    with pytest.raises(ValueError, match=layouts):
        FolderSource(folders / "flat").load()


@pytest.mark.bad_input
def test_a_class_that_training_does_not_have(folders):
    paint(folders / "test" / "owl" / "1.png")
    with pytest.raises(ValueError, match="lacks: owl; its classes are cat, dog"):
        source(folders).load()


@pytest.mark.bad_input
def test_an_unlabeled_folder_without_images(folders):
    (folders / "empty").mkdir()
    with pytest.raises(ValueError, match=r"unlabeled folder .*empty has no images .*found nothing"):
        source(folders, unlabeled=folders / "empty").load()


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
def test_names_that_are_not_unicode(folders):
    image = (folders / "unlabeled" / "b.png").read_bytes()
    with open(os.fsencode(folders / "unlabeled") + b"/\xff.png", "wb") as file:
        file.write(image)
    assert len(source(folders).load().unlabeled) == 3


def save(folder, *names):
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path, format="PNG")


@pytest.mark.bad_input
def test_a_file_in_two_parts(tmp_path):
    save(tmp_path, "labeled/a/1.png", "labeled/b/1.png", "test/a/2.png", "test/b/2.png", "3.png")
    (tmp_path / "linked").symlink_to(tmp_path / "test")
    cases = [
        (FolderSource(tmp_path / "labeled", tmp_path), "labeled and in the unlabeled"),
        (FolderSource(tmp_path / "labeled", tmp_path / "test", tmp_path / "linked"), "test part"),
        (FolderSource(tmp_path / "labeled", test=tmp_path / "labeled"), "labeled and in the test"),
    ]
    for source, message in cases:
        with pytest.raises(ValueError, match=f"png is in the .*{message}"):
            source.load()
    data = UDADataModule.from_folders(tmp_path / "labeled", tmp_path)
    with (
        pytest.raises(ValueError, match="is in the source and in the target part"),
        pytest.warns(RuntimeWarning, match="has a folder test"),
    ):
        data.load()


@pytest.mark.bad_input
def test_parts_that_are_given_as_classes(tmp_path):
    save(tmp_path, *(f"{part}/{name}/1.png" for part in ("train", "val") for name in "ab"))
    with pytest.raises(ValueError, match="has the parts train, val where classes are expected"):
        FolderSource(tmp_path).load()
    FolderSource(tmp_path / "train", val=tmp_path / "val").load()
    save(tmp_path / "own", "labeled/a/1.png", "labeled/b/1.png", "unlabeled/1.png", "rest/2.png")
    with pytest.raises(ValueError, match="has the parts labeled, unlabeled where classes are exp"):
        FolderSource(tmp_path / "own").load()
    save(tmp_path / "classes", "test/1.png", "train/1.png")  # of rapid tests and railways
    assert FolderSource(tmp_path / "classes").load().classes == ("test", "train")


def test_the_line_that_opens_a_run_names_classes_and_what_is_left_out(tmp_path):
    names = [
        f"labeled/{name}/{i}.{end}"
        for name in ("cat", "dog")
        for i, end in enumerate(("png", "jfif", "jpe", "PNG"))
    ]
    save(tmp_path, *names, *(f"unlabeled/{i}.png" for i in range(3)))
    (tmp_path / "labeled" / "cat" / "x.heic").write_bytes(b"")
    (tmp_path / "unlabeled" / "notes.txt").write_bytes(b"")
    (tmp_path / "unlabeled" / "broken.png").write_bytes(b"")
    (tmp_path / "unlabeled" / ".hidden").write_bytes(b"")
    data = SSLDataModule.from_folder(tmp_path / "labeled", tmp_path / "unlabeled")
    with pytest.warns(RuntimeWarning, match=r"1 image is damaged \(.*broken.png\): left out"):
        described = data.describe()
    assert described == (
        "8 labeled · 3 unlabeled · 0 validation · 0 test, 2 classes (cat, dog) · "
        "2 files left out (.heic, .txt) · 1 damaged"
    )


def test_test_images_in_the_unlabeled_folder_are_noticed(tmp_path):
    save(tmp_path, "labeled/a/1.png", "labeled/b/1.png", "more/1.png", "more/Test/a/2.png")
    source = FolderSource(tmp_path / "labeled", tmp_path / "more")
    with pytest.warns(RuntimeWarning, match="more has a folder Test, whose 1 images are trained"):
        source.load()
    with pytest.warns(RuntimeWarning, match="target folder .*more has a folder Test"):
        UnlabeledFolder(tmp_path / "more").load()


def test_folders_of_domains_are_not_taken_for_classes_in_silence(tmp_path):
    save(tmp_path, *(f"{domain}/{name}/1.png" for domain in ("pc", "web") for name in "ab"))
    names = r"pc, web .* are taken for the classes, .* same names \(a, b\): .* such as .*pc"
    with pytest.warns(RuntimeWarning, match=names):
        FolderSource(tmp_path).load()
    FolderSource(tmp_path / "pc", test=tmp_path / "web").load()


def test_class_names_are_compared_whatever_their_accents_are_made_of(tmp_path):
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    labeled = [f"labeled/{name}/1.png" for name in (composed, decomposed, "tea")]
    target = [f"target/{name}/1.png" for name in (decomposed, "tea")]
    save(tmp_path, *labeled, *target, f"test/{decomposed}/3.png")
    data = FolderSource(tmp_path / "labeled", test=tmp_path / "test").load()
    assert data.classes == (composed, "tea")
    assert (data.train.targets, data.test.targets) == ([0, 0, 1], [0])
    data = UDADataModule.from_folders(tmp_path / "labeled", tmp_path / "target")
    assert data.classes == (composed, "tea")
    assert data.has_test_data


def test_folders_of_predict_are_checked_too(tmp_path, caplog):
    save(tmp_path, "1.png", "2.jp2")
    (tmp_path / "0.png").write_bytes(b"")
    (tmp_path / "3.heic").write_bytes(b"")
    caplog.set_level("INFO")
    with pytest.warns(RuntimeWarning, match=r"1 image is damaged \(.*0.png\): left out"):
        found = images_to_predict(tmp_path, (3, 8, 8))
    assert found.ids == ["1.png", "2.jp2"]
    assert "1 file left out (.heic)" in caplog.text
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "0.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"no image of the folder .*none can be read: .*0.png"):
        images_to_predict(tmp_path / "none", (3, 8, 8))


def test_a_long_check_says_so(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("supercm_pl.data.sources.file_check._PATIENCE", 0.0)
    save(tmp_path, "1.png", "2.png")
    caplog.set_level("INFO")
    images_to_predict(tmp_path, (3, 8, 8))
    assert caplog.text.count("checking 2 image files") == 1


def test_a_saved_split_counts_the_samples_of_all_folders(tmp_path):
    labeled = [f"labeled/{name}/{i}.png" for name in "ab" for i in range(3)]
    unlabeled = [f"unlabeled/{i}.png" for i in range(5)]
    save(tmp_path, *labeled, *unlabeled, "val/a/1.png", "val/b/1.png")
    data = SSLDataModule.from_folder(
        tmp_path / "labeled", tmp_path / "unlabeled", val=tmp_path / "val"
    )
    data.save_split(tmp_path / "version_0" / "split.json")
    (tmp_path / "version_0" / "metrics.csv").write_text("step\n")
    assert _split(tmp_path / "version_0" / "split.json") == {"labeled": 6, "unlabeled": 5, "val": 2}
    assert Split.load(tmp_path / "version_0" / "split.json") == data.split


def test_ranks_share_the_check_of_files(tmp_path, monkeypatch):
    paths = [paint(tmp_path / f"{i}.png") for i in range(5)]
    for i in (1, 2, 4):
        paths[i].write_bytes(b"")
    parts = []
    monkeypatch.setattr(image_reading, "world_size", lambda: 2)
    monkeypatch.setattr(
        image_reading, "gather_objects", lambda part: (parts.append(part), parts)[1]
    )
    for rank in (0, 1):
        monkeypatch.setattr(image_reading, "rank", lambda rank=rank: rank)
        found = image_reading.damaged_files(paths)
    assert [list(part) for part in parts] == [[paths[2], paths[4]], [paths[1]]]
    assert list(found) == [paths[1], paths[2], paths[4]]
