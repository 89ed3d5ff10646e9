"""Embedding pictures hold every point, every centroid and the names."""

import matplotlib as mpl
import numpy as np
import pytest
import torch

from supercm_pl.viz import Embedding, plot_embedding, plot_embeddings

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


def test_groups_go_by_their_names_and_colors(blobs):
    features, groups, _ = blobs
    ax = plot_embedding(features, groups, names=["ant", "bee", "cat"], projection="pca")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["ant", "bee", "cat"]
    assert len({tuple(c.get_facecolor()[0]) for c in ax.collections}) == 3


def test_draws_on_the_axes_given(blobs):
    features, groups, _ = blobs
    ax = plot_embedding(features, groups, projection="pca")
    assert plot_embedding(features, groups, projection="pca", ax=ax) is ax


@pytest.mark.bad_input
def test_wrong_arguments_are_named(blobs):
    features, groups, centroids = blobs
    with pytest.raises(ValueError, match=r"features must have shape \(N, d\).*got \(60,\)"):
        plot_embedding(features[:, 0], groups)
    with pytest.raises(ValueError, match=r"groups must have shape \(60,\).*got \(59,\)"):
        plot_embedding(features, groups[1:])
    with pytest.raises(ValueError, match=r"centroids must have shape \(K, 5\), got \(3, 4\)"):
        plot_embedding(features, groups, centroids[:, 1:])
    with pytest.raises(ValueError, match=r"projection must be one of .*got 'lda'"):
        plot_embedding(features, groups, projection="lda")
    with pytest.raises(ValueError, match="panels must have at least one entry"):
        plot_embeddings({})


def test_panels_of_the_same_features_share_a_plane(blobs):
    features, groups, centroids = blobs
    domains = torch.arange(60) % 2
    figure = plot_embeddings(
        {
            "by class": Embedding(features, groups, centroids),
            "by domain": Embedding(features, domains, centroids, ("here", "there"), False),
            "before": Embedding(features.flip(1) ** 2, groups),
        },
        projection="pca",
    )
    by_class, by_domain, before = figure.axes
    assert [ax.get_title() for ax in figure.axes] == ["by class", "by domain", "before"]
    sets = [np.concatenate([np.asarray(part) for part in drawn(ax)]) for ax in figure.axes]
    np.testing.assert_allclose(np.sort(sets[0], axis=0), np.sort(sets[1], axis=0))
    assert len(sets[2]) == 60
    assert len(by_class.collections) == 6
    assert [text.get_text() for text in by_domain.get_legend().get_texts()] == ["here", "there"]
    white = [tuple(c.get_facecolor()[0]) == (1.0, 1.0, 1.0, 1.0) for c in by_domain.collections]
    assert white == [False, False, True, True, True]
    assert before.get_legend() is not None


def test_unknown_groups_are_gray_and_dollars_are_dollars(blobs):
    features, groups, _ = blobs
    hidden = torch.where(groups == 0, -1, groups)
    names = ["ant", "$x$", "c$at"]
    ax = plot_embedding(features, hidden, names=names, projection="pca", title="a $b$")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "unknown",
        r"\$x\$",
        r"c\$at",
    ]
    ax.figure.canvas.draw()  # a formula that can't be read would stop it here
