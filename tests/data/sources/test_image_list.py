"""Domain data sets in the layouts in which people have them, as small stand-ins."""

import pytest

from supercm_pl.data.labels import labels_of
from supercm_pl.data.sources.folder import DomainFolder
from supercm_pl.data.sources.image_list import ImageList
from tests.support.images import paint


@pytest.fixture
def office_31(tmp_path):
    for domain in ("amazon", "dslr", "webcam"):
        names = [f"{domain}/images/{c}/frame_{i}.jpg" for c in ("mug", "pen") for i in (1, 2)]
        paint(tmp_path, *names)
    return tmp_path


# Domain folders.


def test_office_31(office_31):
    source = DomainFolder(office_31, "amazon", image_size=8)
    data = source.load()
    assert data.classes == ("mug", "pen") == source.class_names()
    assert labels_of(data.train).tolist() == [0, 0, 1, 1]
    assert data.train[0][0].shape == (3, 8, 8)
    assert data.test is None


def test_office_home_and_domain_net(tmp_path):
    paint(tmp_path, "Real World/Alarm_Clock/1.jpg", "Real World/Mug/1.jpg", "Art/Mug/1.jpg")
    assert DomainFolder(tmp_path, "Real World").load().classes == ("Alarm_Clock", "Mug")
    assert DomainFolder(tmp_path, "Art").load().classes == ("Mug",)


def test_visda_has_a_list_beside_the_folders(tmp_path):
    paint(tmp_path, "train/bus/1.png", "train/car/1.png")
    (tmp_path / "train/image_list.txt").write_text("bus/1.png 0\ncar/1.png 1\n")
    assert DomainFolder(tmp_path, "train").load().classes == ("bus", "car")


def test_a_class_of_the_name_images_is_a_class(tmp_path):
    paint(tmp_path, "d/images/1.jpg", "d/other/1.jpg", "e/images/1.jpg")
    assert DomainFolder(tmp_path, "d").load().classes == ("images", "other")
    assert DomainFolder(tmp_path, "e").class_names() == ("images",)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("root", "domain", "message"),
    [
        (".", "amazn", r"has no domain 'amazn': expected .*/amazn/<class>/<image>, found amazon, "),
        ("none", "amazon", "has no domain 'amazon': .* found no folder there"),
        (
            "amazon/images",
            "mug",
            "'mug' domain folder .* no class subfolders; expected .* found fr",
        ),
        ("..", "office", r"expected .*/office/<class>/<image>, found .*amazon/images/mug/frame_1"),
    ],
)
def test_a_wrong_layout_shows_what_was_expected_and_found(tmp_path, root, domain, message):
    tmp_path = tmp_path / "office"
    for name in ("amazon", "dslr", "webcam"):
        paint(tmp_path, f"{name}/images/mug/frame_1.jpg", f"{name}/images/pen/frame_1.jpg")
    with pytest.raises(ValueError, match=message):
        DomainFolder(tmp_path / root, domain).load()


@pytest.mark.bad_input
def test_a_class_folder_without_images(office_31):
    (office_31 / "dslr/images/stapler").mkdir()
    with pytest.raises(
        ValueError, match=r"class 'stapler' of the 'dslr' domain folder .* no images"
    ):
        DomainFolder(office_31, "dslr").load()


@pytest.mark.bad_input
def test_an_empty_domain(tmp_path):
    (tmp_path / "art").mkdir()
    with pytest.raises(ValueError, match=r"no class subfolders; expected .* found nothing"):
        DomainFolder(tmp_path, "art").load()


# Lists.


def listed(root, text, name="list.txt"):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)
    return root / name


def test_domain_net_lists(tmp_path):
    paint(tmp_path, *(f"clipart/{c}/{i}.jpg" for c in ("axe", "bee") for i in (1, 2)))
    train = listed(tmp_path, "clipart/bee/1.jpg 1\nclipart/axe/1.jpg 0\n", "clipart_train.txt")
    test = listed(tmp_path, "clipart/axe/2.jpg 0\nclipart/bee/2.jpg 1\n", "clipart_test.txt")
    data = ImageList(train, test_list=test, image_size=8).load()
    assert data.classes == ("axe", "bee")
    assert labels_of(data.train).tolist() == [1, 0]
    assert labels_of(data.test).tolist() == [0, 1]
    assert data.train[0][0].shape == (3, 8, 8)


def test_visda_lists_start_from_their_own_folder(tmp_path):
    paint(tmp_path, "train/bus/1.png", "train/car/1.png")
    file = listed(tmp_path, "bus/1.png 0\ncar/1.png 1\n", "train/image_list.txt")
    assert ImageList(file).load().classes == ("bus", "car")


def test_image_clef_has_no_class_folders(tmp_path):
    paint(tmp_path, "b/1.jpg", "b/2.jpg", "b/3.jpg")
    file = listed(tmp_path, "b/1.jpg 2\nb/2.jpg 0\nb/3.jpg 1\n", "list/bList.txt")
    data = ImageList(file, root=tmp_path).load()
    assert data.classes == ("0", "1", "2")
    assert labels_of(data.train).tolist() == [2, 0, 1]
    assert ImageList(file, tmp_path, classes=["a", "b", "c"]).load().classes == ("a", "b", "c")


def test_paths_may_hold_spaces_and_lines_any_white_space(tmp_path):
    paint(tmp_path, "Real World/Desk Lamp/1.jpg", "Real World/Mug/1.jpg")
    text = "\ufeffReal World/Desk Lamp/1.jpg 0\r\n\r\n  Real World/Mug/1.jpg\t1  \r\n"
    data = ImageList(listed(tmp_path, text)).load()
    assert data.classes == ("Desk Lamp", "Mug")


def test_absolute_paths(tmp_path):
    paint(tmp_path, "a/1.jpg", "b/1.jpg")
    file = listed(tmp_path, f"{tmp_path}/a/1.jpg 0\n{tmp_path}/b/1.jpg 1\n", "lists/all.txt")
    assert len(ImageList(file, root=tmp_path).load().train) == 2


@pytest.mark.bad_input
@pytest.mark.parametrize("path", ["../private/1.jpg", "a/../../private/1.jpg", "{}/private/1.jpg"])
def test_a_list_names_no_file_outside_its_root(path, tmp_path):
    paint(tmp_path, "private/1.jpg", "data/a/1.jpg")
    file = listed(tmp_path, f"a/1.jpg 0\n{path.format(tmp_path)} 1\n", "data/all.txt")
    with pytest.raises(
        ValueError, match=r"1 of 2 lines name a file that is not below .*data, .* 2:"
    ):
        ImageList(file).load()


@pytest.mark.bad_input
@pytest.mark.parametrize("label", ["1000000000", "9" * 5000])
def test_a_label_that_would_fill_the_memory_with_names(label, tmp_path):
    file = listed(tmp_path, f"a/1.jpg 0\na/1.jpg {label}\n")
    with pytest.raises(ValueError, match=r"line 2: expected .* with a label from 0 to 999,999"):
        ImageList(file).load()


def test_numbers_name_the_classes_where_folders_do_not(tmp_path):
    paint(tmp_path, "a/1.jpg", "a/2.jpg", "b/1.jpg")
    file = listed(tmp_path, "a/1.jpg 0\na/2.jpg 1\nb/1.jpg 1\n")
    assert ImageList(file).load().classes == ("0", "1")
    gap = listed(tmp_path, "a/1.jpg 0\na/2.jpg 0\nb/1.jpg 2\n")
    assert ImageList(gap).load().classes == ("0", "1", "2")
    with pytest.raises(ValueError, match=r"list.txt has no sample of class 0: name all classes by"):
        ImageList(listed(tmp_path, "a/1.jpg 1\na/2.jpg 2\nb/1.jpg 2\n")).load()


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a/1.jpg 0\na/1.jpg\n", "line 2: expected '<path> <label>' .* found 'a/1.jpg'"),
        ("a/1.jpg dog\n", "line 1: expected '<path> <label>' .* found 'a/1.jpg dog'"),
        ("a/1.jpg -1\n", "line 1: expected .* label from 0 to 999,999, found 'a/1.jpg -1'"),
        ("7\n", "line 1: expected '<path> <label>' .* found '7'"),
        ("", r"list.txt is empty; expected lines '<path> <label>'"),
        (
            "a/1.jpg 0\n\na/9.jpg 1\nc/1.jpg 1\n",
            "2 of 3 lines name a file that is not below .* first line 3: a/9.jpg; give .* as root",
        ),
    ],
)
def test_a_bad_list_names_the_line(tmp_path, text, message):
    paint(tmp_path, "a/1.jpg", "b/1.jpg")
    with pytest.raises(ValueError, match=message):
        ImageList(listed(tmp_path, text)).load()


@pytest.mark.bad_input
def test_other_mistakes(tmp_path):
    paint(tmp_path, "a/1.jpg", "b/1.jpg")
    file = listed(tmp_path, "a/1.jpg 0\nb/1.jpg 2\n")
    with pytest.raises(ValueError, match=r"line 2: labels must be in 0..1, got b/1.jpg 2"):
        ImageList(file, classes=["a", "b"]).load()
    with pytest.raises(ValueError, match=r"can't read the list of images .*none.txt"):
        ImageList(tmp_path / "none.txt").load()
    with pytest.raises(ValueError, match="image_size must be at least 1, got 0"):
        ImageList(file, image_size=0)
    with pytest.raises(ValueError, match="at least two classes are needed"):
        ImageList(listed(tmp_path, "a/1.jpg 0\n")).load()
