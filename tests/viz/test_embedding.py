"""Embedding pictures hold every point, every centroid and the names."""

import matplotlib as mpl
import pytest
import torch

from supercm_pl.viz import plot_embedding

mpl.use("Agg")


@pytest.fixture
def blobs():
    generator = torch.Generator().manual_seed(0)
    centroids = 10 * torch.randn(3, 5, generator=generator)
    groups = torch.arange(60) % 3
    return centroids[groups] + torch.randn(60, 5, generator=generator), groups, centroids


def drawn(ax):
    return [collection.get_offsets() for collection in ax.collections]


@pytest.mark.parametrize("projection", ["pca", "tsne"])
def test_points_and_centroids_share_the_plane(blobs, projection):
    features, groups, centroids = blobs
    ax = plot_embedding(features, groups, centroids, projection=projection, title="blobs")
    parts = drawn(ax)
    assert [len(part) for part in parts] == [20, 20, 20, 1, 1, 1]
    for points, centroid in zip(parts[:3], parts[3:], strict=True):
        distances = [abs(points - other).max() for other in parts[3:]]
        assert min(distances) == abs(points - centroid).max()
    assert ax.get_title() == "blobs"


def test_groups_go_by_their_names_and_colours(blobs):
    features, groups, _ = blobs
    ax = plot_embedding(features, groups, names=["ant", "bee", "cat"], projection="pca")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["ant", "bee", "cat"]
    assert len({tuple(c.get_facecolor()[0]) for c in ax.collections}) == 3


def test_draws_on_the_axes_given(blobs):
    features, groups, _ = blobs
    ax = plot_embedding(features, groups, projection="pca")
    assert plot_embedding(features, groups, projection="pca", ax=ax) is ax


def test_wrong_arguments_are_named(blobs):
    features, groups, centroids = blobs
    with pytest.raises(ValueError, match=r"features must have shape \(N, d\).*got \(60,\)"):
        plot_embedding(features[:, 0], groups)
    with pytest.raises(ValueError, match=r"groups must have shape \(60,\).*got \(59,\)"):
        plot_embedding(features, groups[1:])
    with pytest.raises(ValueError, match=r"centroids must have shape \(K, 5\), got \(3, 4\)"):
        plot_embedding(features, groups, centroids[:, 1:])
    with pytest.raises(ValueError, match=r'projection must be "tsne" or "pca", got .umap.'):
        plot_embedding(features, groups, projection="umap")
