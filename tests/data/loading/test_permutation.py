"""The order of streams, large ones among them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supercm_pl.data.loading import permutation as order
from supercm_pl.data.loading.permutation import LARGE, EndlessPermutation
from supercm_pl.seeding import permutation, permuted


@pytest.mark.parametrize("size", [*range(1, 70), 127, 128, 129, 1000, 4095, 4096, 4097, 2**17 + 1])
def test_every_position_has_an_element_of_its_own(size):
    assert np.array_equal(np.sort(permuted(np.arange(size), size, 0, "x")), np.arange(size))


@settings(max_examples=50, deadline=None)
@given(size=st.integers(1, 5000), seed=st.integers(0, 2**40))
def test_it_is_a_permutation_of_any_size_with_any_seed(size, seed):
    elements = permuted(np.arange(size), size, seed, "stream", "unlabeled", 7)
    assert np.array_equal(np.sort(elements), np.arange(size))


def test_an_element_depends_on_its_position_alone():
    size = 10**9 + 7
    positions = np.random.default_rng(0).integers(0, size, 200)
    whole = permuted(positions, size, 5, "x")
    assert whole.tolist() == [
        int(permuted(positions[i : i + 1], size, 5, "x")[0]) for i in range(200)
    ]
    assert whole.min() >= 0
    assert whole.max() < size


def test_positions_and_their_neighbors_go_anywhere():
    # Of 64 bins, each gets 64 of 4096 neighbors, with a standard deviation of 8.
    size = 10**9
    elements = permuted(10**6 + np.arange(4096), size, 0, "x")
    assert abs(np.bincount(elements * 64 // size, minlength=64) - 64).max() < 40
    assert abs(np.corrcoef(elements[:-1], elements[1:])[0, 1]) < 0.08


def test_each_element_comes_first_equally_often():
    first = [int(permuted(np.zeros(1, dtype=np.int64), 20, seed, "x")[0]) for seed in range(4000)]
    assert abs(np.bincount(first, minlength=20) - 200).max() < 70  # five standard deviations


@pytest.mark.parametrize("large", [10, LARGE])
@pytest.mark.parametrize("size", [1, 2, 11, 40])
def test_a_stream_is_made_of_permutations_in_parts_of_any_size(size, large, monkeypatch):
    monkeypatch.setattr(order, "LARGE", large)
    stream = EndlessPermutation(size, seed=1, name="a")
    whole = stream.take(0, 6 * size)
    cycles = [tuple(whole[start : start + size]) for start in range(0, 6 * size, size)]
    assert all(sorted(cycle) == list(range(size)) for cycle in cycles)
    if size > 2:
        assert len(set(cycles)) == 6
        others = [EndlessPermutation(size, *given).take(0, size) for given in ((2, "a"), (1, "b"))]
        assert len({tuple(one) for one in (*others, whole[:size])}) == 3
    generator = np.random.default_rng(0)
    for _ in range(20):
        start, count = generator.integers(0, 5 * size), generator.integers(1, size + 1)
        assert stream.take(start, count).tolist() == whole[start : start + count].tolist()


def test_small_streams_have_the_order_that_is_written_down():
    stream = EndlessPermutation(1000, seed=3, name="a")
    expected = [permutation(1000, 3, "stream", "a", cycle) for cycle in (0, 1)]
    assert stream.take(0, 2000).tolist() == np.concatenate(expected).tolist()
    assert LARGE == 2**22


def test_large_permutations_are_the_same_on_every_platform():
    # Written down once.
    assert permuted(np.arange(4), 10**9, 0, "stream", "unlabeled", 0).tolist() == PERMUTED


PERMUTED = [335754718, 65700578, 677020865, 399821907]
