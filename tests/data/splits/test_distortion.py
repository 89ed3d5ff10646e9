"""Splits of data that are made worse: wrong labels, long tails, classes without labels."""

import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supercm_pl.data import Distortion, make_split
from supercm_pl.data.splits.distortion import long_tail, wrong_labels

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(5), 200))
NAMES = ["ant", "bee", "cat", "dog", "eel"]


def choose(distortion=None, labels=LABELS, **options):
    options = {"labels_per_class": 20, **options}
    return make_split(labels, NAMES, distortion=distortion, **options)


def per_class(rows):
    return np.bincount(LABELS[rows], minlength=5).tolist()


def test_no_distortion_changes_nothing():
    assert choose(Distortion()) == choose()
    assert choose().distortion is None
    assert choose().noisy_labels is None


# Label noise.


@pytest.mark.parametrize(("noise", "wrong"), [(0.2, 20), (0.004, 0), (0.006, 1), (1.0, 100)])
def test_label_noise_replaces_its_share_of_the_labels(noise, wrong):
    split = choose(Distortion(label_noise=noise))
    own = LABELS[split.labeled]
    assert (split.noisy_labels != own).sum() == wrong
    assert set(split.noisy_labels) <= set(range(5))
    clean = choose()
    for role in ("labeled", "unlabeled", "val"):
        assert np.array_equal(getattr(split, role), getattr(clean, role))


def test_every_other_class_is_as_likely():
    labels = np.zeros(40_000, dtype=np.int64) + 2
    counts = np.bincount(wrong_labels(labels, 1.0, 5, seed=0), minlength=5)
    assert counts[2] == 0
    assert np.abs(counts[[0, 1, 3, 4]] - 10_000).max() < 4 * np.sqrt(40_000 * 0.25 * 0.75)


def test_which_labels_are_wrong_depends_on_the_seed_alone():
    one, again, other = (wrong_labels(LABELS, 0.3, 5, seed) for seed in (0, 0, 1))
    assert np.array_equal(one, again)
    # Two independent choices of 30 % have 9 % in common.
    assert 0.05 < ((one != LABELS) & (other != LABELS)).mean() < 0.13


# Long tails.


@settings(max_examples=60, deadline=None)
@given(n=st.integers(0, 5000), k=st.integers(2, 12), ratio=st.floats(1, 500))
def test_a_long_tail_is_what_the_literature_defines(n, k, ratio):
    counts = long_tail(n, k, ratio)
    for i, count in enumerate(counts):
        exact = n * ratio ** (-i / (k - 1))
        assert count == max(np.floor(exact), min(n, 1)) or abs(exact - round(exact)) < 1e-6
    assert counts[0] == n
    assert np.all(np.diff(counts) <= 0)


@pytest.mark.parametrize(("ratio", "k"), [(10, 3), (100, 10), (1000, 4), (3, 2), (49, 3)])
def test_whole_numbers_of_a_long_tail_are_not_missed_by_rounding(ratio, k):
    # n γ^(-i/(K-1)) is whole at both ends and, for a perfect power, in between.
    n = 7 * ratio**2
    counts = long_tail(n, k, ratio)
    assert counts[-1] == 7 * ratio
    for i, count in enumerate(counts.tolist()):
        power = Fraction(n) ** (k - 1) / Fraction(ratio) ** i
        assert count ** (k - 1) <= power < (count + 1) ** (k - 1)


def test_long_tails_of_labeled_and_unlabeled_rows():
    split = choose(Distortion(labeled_imbalance=10, unlabeled_imbalance=100))
    assert per_class(split.labeled) == [20, 11, 6, 3, 2] == long_tail(20, 5, 10).tolist()
    first = per_class(split.unlabeled)[0]
    assert per_class(split.unlabeled) == long_tail(first, 5, 100).tolist()
    assert len(split.val) == len(split.labeled)
    assert max(per_class(split.val)) - min(per_class(split.val)) <= 1  # still in proportion
    parts = [*split.labeled, *split.unlabeled, *split.val]
    assert len(set(parts)) == len(parts) < len(LABELS)


def test_an_imbalance_of_the_labels_leaves_the_others_unlabeled():
    split = choose(Distortion(labeled_imbalance=10), val_size=0)
    assert per_class(split.unlabeled) == [200 - kept for kept in per_class(split.labeled)]
    everything = choose(Distortion(labeled_imbalance=10), labels_per_class=None, val_size=0)
    assert per_class(everything.labeled) == long_tail(200, 5, 10).tolist()
    assert len(everything.unlabeled) == 1000 - len(everything.labeled)


def test_a_larger_imbalance_takes_from_the_same_rows():
    mild, strong = (choose(Distortion(unlabeled_imbalance=ratio)) for ratio in (5, 50))
    assert set(strong.unlabeled) < set(mild.unlabeled) < set(choose().unlabeled)


def test_labeled_rows_stay_unlabeled_ones_too():
    split = choose(Distortion(unlabeled_imbalance=100), unlabeled_includes_labeled=True)
    assert set(split.labeled) < set(split.unlabeled)


# Unknown classes.


@pytest.mark.parametrize("unknown", [["bee", "dog"], [3, 1], ["bee", 3], ("dog", "bee")])
def test_unknown_classes_are_unlabeled_only(unknown):
    split = choose(Distortion(unknown_classes=unknown))
    assert per_class(split.labeled) == [20, 0, 20, 0, 20]
    assert per_class(split.val) == [20, 0, 20, 0, 20]
    assert per_class(split.unlabeled) == [160, 200, 160, 200, 160]
    assert split.distortion.unknown_classes == (1, 3)


def test_numbers_of_labels_are_of_the_known_classes():
    unknown = Distortion(unknown_classes=["eel"])
    split = choose(unknown, labels_per_class=None, num_labels=40)
    assert per_class(split.labeled) == [10, 10, 10, 10, 0]
    split = choose(unknown, labels_per_class=None, labeled_fraction=0.1, val_size=0.05)
    assert (per_class(split.labeled), per_class(split.val)) == ([20] * 4 + [0], [10] * 4 + [0])
    split = choose(unknown, labels_per_class=None)
    assert per_class(split.labeled) == [200] * 4 + [0]
    assert per_class(split.unlabeled) == [0] * 4 + [200]
    split = choose(unknown, labels_per_class=None, val_size=80)
    assert per_class(split.labeled) == [180] * 4 + [0]


def test_noise_and_tails_are_of_the_known_classes():
    distortion = Distortion(1.0, 10, 10, unknown_classes=["ant", "cat"])
    split = choose(distortion)
    assert set(split.noisy_labels) == {1, 3, 4}
    assert per_class(split.labeled) == [0, 20, 0, 6, 2]
    kept = per_class(split.unlabeled)
    assert (kept[0], kept[2]) == (200, 200)
    assert [kept[1], kept[3], kept[4]] == long_tail(kept[1], 3, 10).tolist()


# Files.

EVERYTHING = Distortion(0.25, 4, 3, ("cat",))


def test_a_distorted_split_comes_back(tmp_path):
    split = choose(EVERYTHING)
    split.save(tmp_path / "split.json")
    again = make_split(LABELS, NAMES, labeled_indices=tmp_path / "split.json")
    assert again == split
    assert again.distortion == split.distortion == Distortion(0.25, 4, 3, (2,))
    assert np.array_equal(again.noisy_labels, split.noisy_labels)


def test_the_file_of_a_distorted_split_is_the_same_everywhere(tmp_path):
    # Bytes written down once: another platform, NumPy or Python must reproduce them.
    split = make_split(
        np.arange(24) % 4, NAMES[:4], labels_per_class=4, distortion=EVERYTHING, val_size=2, seed=7
    )
    split.save(tmp_path / "split.json")
    assert (tmp_path / "split.json").read_bytes().decode() == GOLDEN


def test_the_bytes_of_a_large_file_are_the_same_everywhere():
    labels = np.arange(6000) % 10
    names = [str(i) for i in range(10)]
    plain = make_split(labels, names, labels_per_class=25, val_size=0.1, seed=3)
    assert plain.digest == "45a8b623029fc1edddcd4873fa8b6344bd9a9db5d10d7955119d0ed955cb3576"
    distortion = Distortion(0.2, 20, 100, unknown_classes=[3, 8])
    worse = make_split(labels, names, num_labels=403, distortion=distortion, val_size=0.1, seed=3)
    assert worse.digest == "a957b2cc188aee8428ad82282bebc692465b1bb5e3b7a67c0989c755867c28ec"


GOLDEN = """{
"format": "supercm_pl split 2",
"num_samples": 24,
"label_hash": "d307dda28dd0a7dc6936600dc07b9185c4b75e8ad4bb16379f95eaf24814bdb9",
"labeled": [0, 1, 3, 4, 13, 16, 20],
"val": [7, 17],
"unlabeled": [2, 6, 8, 10, 12, 14, 18, 19, 21, 22],
"distortion": {"label_noise": 0.25, "labeled_imbalance": 4.0, "unlabeled_imbalance": 3.0, "unknown_classes": [2]},
"noisy_labels": [1, 3, 3, 0, 1, 0, 0]
}
"""  # noqa: E501


def test_a_file_of_a_split_without_distortion_is_as_it_was(tmp_path):
    choose(Distortion()).save(tmp_path / "split.json")
    held = json.loads((tmp_path / "split.json").read_text())
    assert list(held) == ["format", "num_samples", "label_hash", "labeled", "val", "unlabeled"]
    assert held["format"] == "supercm_pl split 1"


def test_the_file_settles_the_distortion(tmp_path):
    choose(EVERYTHING).save(tmp_path / "split.json")
    with pytest.raises(ValueError, match=r"split.json determines .* and distortion"):
        make_split(
            LABELS, NAMES, labeled_indices=tmp_path / "split.json", distortion=Distortion(0.1)
        )


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"distortion": {"label_noise": 7}}, "label_noise must be"),
        ({"distortion": {"noise": 0.1}}, "not a saved split: .*noise"),
        ({"noisy_labels": [0, 1]}, "2 noisy_labels for .* labeled rows"),
        ({"noisy_labels": [2] * 44}, "noisy_labels of .* known classes, got 2"),
        ({"noisy_labels": [5] * 44}, "noisy_labels of .* known classes, got 5"),
    ],
)
def test_a_distorted_split_that_was_edited_wrongly(tmp_path, change, message):
    path = tmp_path / "split.json"
    choose(EVERYTHING).save(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match=message):
        make_split(LABELS, NAMES, labeled_indices=path)


# What goes wrong.


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"label_noise": -0.1}, ValueError, r"label_noise must be in \[0, 1\], got -0.1"),
        ({"label_noise": 1.1}, ValueError, "label_noise must be"),
        ({"label_noise": float("nan")}, ValueError, "label_noise must be"),
        ({"labeled_imbalance": 0.5}, ValueError, r"labeled_imbalance must be in \[1, inf\)"),
        ({"unlabeled_imbalance": float("inf")}, ValueError, "unlabeled_imbalance .* got inf"),
        ({"unknown_classes": [1, 1]}, ValueError, r"must be different, got \[1, 1\]"),
        ({"unknown_classes": "cat"}, TypeError, "must be a list of classes, got 'cat'"),
    ],
)
def test_values_out_of_range(options, error, message):
    with pytest.raises(error, match=message):
        Distortion(**options)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("distortion", "options", "message"),
    [
        (Distortion(unknown_classes=["cow"]), {}, "there is no class 'cow' in ant, bee"),
        (Distortion(unknown_classes=[5]), {}, "there is no class 5 in"),
        (Distortion(unknown_classes=[-1]), {}, "there is no class -1 in"),
        (Distortion(unknown_classes=["ant", 0]), {}, "names 'ant' twice"),
        (Distortion(unknown_classes=[0, 1, 2, 3]), {}, "must leave two classes or more, got 4 of"),
        (
            Distortion(labeled_imbalance=2),
            {"labels_per_class": None, "labeled_indices": [1, 2]},
            "labeled_imbalance can't be combined with labeled_indices",
        ),
        (
            Distortion(unknown_classes=[int(LABELS[7])]),
            {"labels_per_class": None, "labeled_indices": [7]},
            "must not be of unknown_classes, got 7",
        ),
        (Distortion(unknown_classes=["ant"]), {"val_size": 721}, "only 720 can be held out"),
        (Distortion(unknown_classes=["ant"]), {"labels_per_class": 201}, "'bee' has 200"),
    ],
)
def test_what_the_data_do_not_allow(distortion, options, message):
    with pytest.raises(ValueError, match=message):
        choose(distortion, **options)


def test_noise_needs_another_class():
    with pytest.raises(ValueError, match="label_noise needs two classes or more, got 1"):
        make_split([0] * 9, ["one"], labels_per_class=2, distortion=Distortion(0.1))
