"""Contrast normalization and ZCA against NumPy, and the file that they travel in."""

import numpy as np
import pytest
import torch
from torch import nn

from supercm_pl.data import ZCA, Compose, FlipCrop, GlobalContrastNormalization


def pictures(count=400, channels=3, size=4):
    """Correlated ``uint8`` images with a contrast of their own."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(count, channels, size, size, generator=generator)
    smooth = noise.cumsum(2).cumsum(3) + 0.5 * noise.sum(1, keepdim=True)
    contrast = 5 + 20 * torch.rand(count, 1, 1, 1, generator=generator)
    return (120 + contrast * smooth).clamp(0, 255).round().to(torch.uint8)


def naive_contrast(images, scale, bias):
    rows = images.astype(np.float64)
    for i in range(len(rows)):
        rows[i] -= rows[i].mean()
        rows[i] *= scale / np.sqrt(bias + (rows[i] ** 2).sum())
    return rows


@pytest.mark.parametrize("bias", [0.0, 10.0, 1e5])
def test_contrast_normalization_against_a_naive_one(bias):
    images = pictures()
    expected = naive_contrast(images.numpy(), 55.0, bias)
    out = GlobalContrastNormalization(55.0, bias)(images)
    np.testing.assert_allclose(out.numpy(), expected, atol=1e-4)
    torch.testing.assert_close(
        GlobalContrastNormalization(55.0, bias)(images.float() / 255), out, atol=1e-4, rtol=0.0
    )


@pytest.mark.parametrize("bias", [0.0, 10.0])
@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 1.0])
def test_a_constant_image_becomes_zero(value, bias):
    out = GlobalContrastNormalization(bias=bias)(torch.full((2, 3, 32, 32), value))
    assert out.abs().max() < 1e-4


@pytest.mark.parametrize("contrast_scale", [None, 55.0])
@pytest.mark.parametrize("epsilon", [1e-3, 0.1])
def test_zca_against_a_naive_one(epsilon, contrast_scale):
    images = pictures()
    rows = images.numpy() / 255 if contrast_scale is None else None
    if rows is None:
        rows = naive_contrast(images.numpy(), contrast_scale, 10.0)
    rows = rows.reshape(len(rows), -1)
    left, values, _ = np.linalg.svd(np.cov(rows, rowvar=False) + epsilon * np.eye(rows.shape[1]))
    expected = (rows - rows.mean(0)) @ left @ np.diag(values**-0.5) @ left.T
    out = ZCA(epsilon, contrast_scale).fit(images)(images)
    assert out.shape == images.shape
    np.testing.assert_allclose(out.flatten(1).numpy(), expected, atol=2e-3)


def test_whitened_training_images_have_the_identity_as_covariance():
    images = pictures()
    whitened = ZCA(epsilon=0.0, contrast_scale=None).fit(images)(images).flatten(1).double()
    assert whitened.mean(0).abs().max() < 1e-4
    torch.testing.assert_close(
        whitened.T.cov(), torch.eye(48, dtype=torch.float64), atol=1e-3, rtol=0.0
    )


def test_bytes_floats_and_batches_fit_alike():
    images = pictures()
    whole = ZCA().fit(images)
    for others in (images.float() / 255, images.split(37), iter(images.split(400))):
        fitted = ZCA().fit(others)
        torch.testing.assert_close(fitted.mean, whole.mean, atol=1e-4, rtol=0.0)
        torch.testing.assert_close(fitted.whitening, whole.whitening, atol=1e-3, rtol=0.0)
    torch.testing.assert_close(whole(images), whole(images.float() / 255), atol=1e-3, rtol=0.0)


def test_more_images_than_a_chunk_are_all_seen():
    images = torch.cat([pictures(1024), 255 - pictures(1024) // 2])
    mean = ZCA(contrast_scale=None).fit(images).mean
    torch.testing.assert_close(mean, images.double().mean(0).float() / 255)


def test_fitting_again_forgets_the_first_images():
    images = pictures()
    again = ZCA().fit(255 - images[:50]).fit(images)
    assert torch.equal(again.whitening, ZCA().fit(images).whitening)


@pytest.mark.parametrize("contrast_scale", [None, 10.0])
def test_it_travels_in_a_file(tmp_path, contrast_scale):
    images = pictures()
    fitted = ZCA(0.2, contrast_scale).fit(images)
    fitted.save(tmp_path / "zca.pt")
    loaded = ZCA.load(tmp_path / "zca.pt")
    assert (loaded.epsilon, loaded.contrast_scale) == (0.2, contrast_scale)
    assert torch.equal(loaded(images), fitted(images))


def test_it_travels_in_the_state_of_a_module():
    images = pictures()
    fitted = nn.Sequential(ZCA().fit(images))
    other = nn.Sequential(ZCA())
    assert not other[0].fitted
    other.load_state_dict(fitted.state_dict())
    assert other[0].fitted
    assert torch.equal(other(images), fitted(images))
    unfitted = nn.Sequential(ZCA())
    unfitted.load_state_dict(nn.Sequential(ZCA()).state_dict())
    assert not unfitted[0].fitted


def test_it_takes_its_place_in_a_view():
    images = pictures().float() / 255
    view = Compose([GlobalContrastNormalization(), ZCA(contrast_scale=None), FlipCrop(1)])
    view[1].fit(view[0](images))
    assert view(images).shape == images.shape
    assert view(images.double()).dtype == torch.float64


@pytest.mark.bad_input
def test_what_is_no_such_file_is_named(tmp_path):
    path = tmp_path / "other.pt"
    for content in ([1], {"mean": torch.zeros(3)}):
        torch.save(content, path)
        with pytest.raises(ValueError, match=r"other\.pt is not a file written by ZCA\.save"):
            ZCA.load(path)
    path.write_text("nothing")
    with pytest.raises(ValueError, match=r"other\.pt is not a file written by ZCA\.save"):
        ZCA.load(path)
    with pytest.raises(FileNotFoundError, match=r"missing\.pt"):
        ZCA.load(tmp_path / "missing.pt")


def test_it_must_be_fitted_first(tmp_path):
    with pytest.raises(RuntimeError, match="ZCA is not fitted"):
        ZCA()(torch.rand(2, 3, 4, 4))
    with pytest.raises(RuntimeError, match="ZCA is not fitted"):
        ZCA().save(tmp_path / "zca.pt")
