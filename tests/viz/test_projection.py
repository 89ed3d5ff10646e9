"""The plane: what is chosen, what repeats, and that nobody else's draws change."""

import numpy as np
import pytest

from supercm_pl.viz import project
from tests.support.generators import untouched_generators


@pytest.fixture
def blobs():
    generator = np.random.default_rng(0)
    return np.repeat(10 * generator.normal(size=(3, 5)), 20, axis=0) + generator.normal(
        size=(60, 5)
    )


def test_principal_components_keep_the_distances_of_a_plane():
    plane = np.random.default_rng(0).normal(size=(12, 2))
    directions = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 2)))[0]
    found = project(plane @ directions.T, "pca")
    before = np.linalg.norm(plane[:, None] - plane[None], axis=2)
    after = np.linalg.norm(found[:, None] - found[None], axis=2)
    np.testing.assert_allclose(after, before, atol=1e-9)


@pytest.mark.parametrize("projection", ["pca", "tsne"])
def test_the_same_points_and_seed_give_the_same_plane_and_leave_the_generators_alone(
    blobs, projection
):
    with untouched_generators():
        first = project(blobs, projection, seed=3)
    np.testing.assert_array_equal(first, project(blobs, projection, seed=3))
    assert first.shape == (60, 2)


def test_a_start_draws_the_points_to_where_they_were(blobs):
    turned = project(blobs, "tsne") @ np.asarray([[0.0, 1.0], [-1.0, 0.0]])
    agreement = [
        np.corrcoef(found.ravel(), turned.ravel())[0, 1]
        for found in (project(blobs, "tsne"), project(blobs, "tsne", start=turned))
    ]
    assert agreement[1] > max(agreement[0], 0.9)


def test_umap_keeps_groups_apart_and_repeats_itself(blobs):
    pytest.importorskip("umap", reason="umap-learn is an extra of its own: supercm-pl[umap]")
    with untouched_generators():
        plane = project(blobs, "umap", seed=3)
    np.testing.assert_array_equal(plane, project(blobs, "umap", seed=3))
    np.testing.assert_array_equal(plane, project(blobs, "auto", seed=3))

    distances = np.linalg.norm(plane[:, None] - plane[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (distances.argmin(axis=1) // 20 == np.arange(60) // 20).all()  # 20 rows to a group

    far = plane * 10 + 300
    again = project(blobs, "umap", seed=3, start=far)
    assert np.corrcoef(again.ravel(), far.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("width", [1, 4])
def test_few_points_and_few_features_have_a_plane(count, width):
    points = np.random.default_rng(0).normal(size=(count, width))
    np.testing.assert_array_equal(project(points), project(points, "pca"))
    assert project(points, "tsne").shape == (count, 2)


def test_points_that_are_all_equal_fall_together():
    for projection in ("pca", "tsne"):
        assert not project(np.ones((20, 3)), projection).any()


@pytest.mark.bad_input
def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"projection must be one of .*got 'lda'"):
        project(np.eye(3), "lda")
    with pytest.raises(ValueError, match="must be finite"):
        project(np.full((3, 2), np.nan))
