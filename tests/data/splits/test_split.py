import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supercm_pl.data import Split, make_split
from supercm_pl.data.splits.stratified import parse_fraction, row_numbers

LABELS = np.repeat([0, 1, 2], [50, 30, 20])
NAMES = ["cat", "dog", "owl"]


def per_class(rows, labels=LABELS):
    return np.bincount(labels[rows], minlength=labels.max() + 1).tolist()


def test_labels_per_class_gives_this_many_of_each():
    split = make_split(LABELS, NAMES, labels_per_class=4)
    assert per_class(split.labeled) == [4, 4, 4]


def test_a_larger_budget_contains_the_smaller_one():
    small = make_split(LABELS, NAMES, labels_per_class=2, seed=3)
    large = make_split(LABELS, NAMES, labels_per_class=5, seed=3)
    assert set(small.labeled) < set(large.labeled)


def test_num_labels_is_spread_as_evenly_as_the_classes_allow():
    assert sorted(per_class(make_split(LABELS, NAMES, num_labels=14).labeled)) == [4, 5, 5]
    few = np.repeat([0, 1, 2], [50, 30, 3])
    assert per_class(make_split(few, NAMES, num_labels=23, val_size=0).labeled, few) == [10, 10, 3]


@pytest.mark.parametrize("fraction", [0.1, "10%", "10 %"])
def test_a_fraction_keeps_the_proportions_of_the_classes(fraction):
    assert per_class(make_split(LABELS, NAMES, labeled_fraction=fraction).labeled) == [5, 3, 2]


def test_a_fraction_takes_at_least_one_of_each_class():
    assert per_class(make_split(LABELS, NAMES, labeled_fraction="1%").labeled) == [1, 1, 1]


def test_explicit_rows_are_labeled():
    split = make_split(LABELS, NAMES, labeled_indices=[99, 3, 60])
    assert split.labeled.tolist() == [3, 60, 99]


def test_validation_is_as_large_as_the_label_budget_and_stratified():
    split = make_split(LABELS, NAMES, num_labels=10)
    assert len(split.val) == 10
    assert max(abs(a - b) for a, b in zip(per_class(split.val), [5, 3, 2], strict=True)) <= 1


@pytest.mark.parametrize(
    ("val_size", "expected"), [(7, 7), (0, 0), (0.2, 20), ("20%", 20), ("labels", 12), (0.0, 0)]
)
def test_size_of_the_validation_set(val_size, expected):
    assert len(make_split(LABELS, NAMES, labels_per_class=4, val_size=val_size).val) == expected


def test_validation_by_default_takes_at_most_half_of_what_is_left():
    split = make_split(LABELS, NAMES, num_labels=90)
    assert (len(split.labeled), len(split.val), len(split.unlabeled)) == (90, 5, 5)


def test_all_rows_are_labeled_if_none_is_chosen():
    split = make_split(LABELS, NAMES)
    assert (len(split.labeled), len(split.val), len(split.unlabeled)) == (100, 0, 0)
    split = make_split(LABELS, NAMES, val_size=0.1)
    assert (per_class(split.labeled), per_class(split.val)) == ([45, 27, 18], [5, 3, 2])


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(3, 40), min_size=2, max_size=6),
    k=st.integers(1, 3),
    val=st.sampled_from(["labels", 0, 2, 0.1]),
    both=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_every_row_has_one_part(sizes, k, val, both, seed):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    if val != "labels" and sum(sizes) - k * len(sizes) < 0.1 * sum(sizes) + 2:
        val = 0
    split = make_split(
        labels,
        [str(i) for i in range(len(sizes))],
        labels_per_class=k,
        val_size=val,
        unlabeled_includes_labeled=both,
        seed=seed,
    )
    labeled, unlabeled, held = set(split.labeled), set(split.unlabeled), set(split.val)
    assert labeled | unlabeled | held == set(range(sum(sizes)))
    assert not held & (labeled | unlabeled)
    assert labeled & unlabeled == (labeled if both else set())


def test_the_seed_decides():
    one, again, other = (make_split(LABELS, NAMES, labels_per_class=3, seed=s) for s in (1, 1, 2))
    assert one == again
    assert one != other


def test_the_file_of_a_split_is_the_same_everywhere(tmp_path):
    # Bytes written down once: another platform, NumPy or Python must reproduce them.
    split = make_split(np.arange(12) % 3, NAMES, labels_per_class=1, val_size=2, seed=7)
    split.save(tmp_path / "split.json")
    assert (tmp_path / "split.json").read_bytes().decode() == GOLDEN


GOLDEN = """{
"format": "supercm_pl split 1",
"num_samples": 12,
"label_hash": "87a822a41d22a1b96aba7af31dc6ef54b05dea918295437a61cecd52136de8e2",
"labeled": [1, 3, 11],
"val": [9, 10],
"unlabeled": [0, 2, 4, 5, 6, 7, 8]
}
"""


def test_a_saved_split_comes_back(tmp_path):
    split = make_split(LABELS, NAMES, labels_per_class=3, seed=5)
    split.save(tmp_path / "runs" / "split.json")
    loaded = Split.load(tmp_path / "runs" / "split.json")
    assert loaded == split
    assert loaded.digest == split.digest
    loaded.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "runs/split.json").read_bytes()
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["split.json"]


@pytest.mark.bad_input
def test_a_split_knows_its_data(tmp_path):
    split = make_split(LABELS, NAMES, labels_per_class=3)
    split.check_belongs_to(LABELS, "x.json")
    with pytest.raises(
        ValueError, match=r"split x.json is for 100 training samples, the data has 99"
    ):
        split.check_belongs_to(LABELS[:-1], "x.json")
    with pytest.raises(ValueError, match="other labels or another order"):
        split.check_belongs_to(LABELS[::-1], "x.json")
    poisoned = LABELS.copy()
    poisoned[split.unlabeled] = 0
    split.check_belongs_to(poisoned, "x.json")  # labels it never looks at are none of its business


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not json", "not a saved split"),
        ("{}", "not a saved split: 'format'"),
        ('{"format": "other"}', "its format is 'other'"),
        ("[1, 2]", "not a saved split"),
    ],
)
def test_a_file_that_is_no_split(tmp_path, text, message):
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        Split.load(tmp_path / "bad.json")


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labeled": [0, 100]}, "labeled rows of .* must be in 0..99, got 100"),
        ({"labeled": [1, 1]}, "must be different rows, but 1 is repeated"),
        ({"val": [0], "labeled": [0]}, "validation rows must not be labeled or unlabeled"),
    ],
)
def test_a_split_that_was_edited_wrongly(tmp_path, changes, message):
    path = tmp_path / "split.json"
    make_split(LABELS, NAMES, labels_per_class=3).save(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(ValueError, match=message):
        Split.load(path)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels_per_class": 25}, "asked for 25 labels of a class, but class 'owl' has 20"),
        ({"labels_per_class": 31}, "'dog' has 30, 'owl' has 20"),
        ({"num_labels": 2}, "num_labels must be in 3..100, .* got 2"),
        ({"num_labels": 101}, "num_labels must be in 3..100, .* got 101"),
        ({"labeled_fraction": 0.0}, r"labeled_fraction must be in \(0, 1\].*got 0.0"),
        ({"labeled_fraction": "120%"}, "labeled_fraction must be .* got '120%'"),
        ({"labeled_fraction": "many"}, "labeled_fraction must be .* got 'many'"),
        ({"labeled_fraction": float("nan")}, "labeled_fraction must be"),
        ({"labeled_indices": []}, "at least one row"),
        ({"labeled_indices": [0, 100]}, "labeled_indices must be in 0..99, got 100"),
        ({"labeled_indices": [-1]}, "labeled_indices must be in 0..99, got -1"),
        ({"labeled_indices": [4, 4]}, "4 is repeated"),
        ({"labels_per_class": 4, "val_size": 89}, "val_size asks for 89 samples, but only 88"),
        ({"val_size": 100}, "val_size asks for 100 samples"),
        ({"labels_per_class": 4, "val_size": -1}, "val_size must be .* got -1"),
        ({"labels_per_class": 4, "val_size": 1.5}, "val_size must be .* got 1.5"),
        ({"labels_per_class": 4, "val_size": "all"}, "val_size must be .* got 'all'"),
    ],
)
def test_what_cannot_be_chosen(options, message):
    with pytest.raises(ValueError, match=message):
        make_split(LABELS, NAMES, **options)


def test_percentages():
    assert parse_fraction("2.5%", "x") == 0.025
    assert parse_fraction(1, "x") == 1.0


@pytest.mark.parametrize("text", ["3 1 4", "3\n1\n4\n", "3, 1, 4"])
def test_rows_from_a_text_file(tmp_path, text):
    (tmp_path / "rows.txt").write_text(text)
    assert row_numbers(tmp_path / "rows.txt", 5, "x").tolist() == [3, 1, 4]


@pytest.mark.bad_input
def test_a_file_without_rows(tmp_path):
    (tmp_path / "rows.txt").write_text("3 cats")
    with pytest.raises(ValueError, match=r"can't read row numbers from .*rows.txt"):
        row_numbers(tmp_path / "rows.txt", 5, "x")
    with pytest.raises(ValueError, match=r"can't read row numbers from .*missing.txt"):
        row_numbers(tmp_path / "missing.txt", 5, "x")
