"""A training step puts work into the device's queue, and never waits for a value out of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import pytest
import torch
from torch import Tensor

from supercm_pl import SSLModule, UDAModule
from supercm_pl.backbones import ConvNet
from supercm_pl.clustering import CentroidMode, ClusteringHead
from supercm_pl.ssl.methods import LabelPropagation, MixMatch
from supercm_pl.training.method import Method
from supercm_pl.training.module import SuperCMModule
from tests.support.methods import SSL_METHODS, UDA_METHODS

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
METHODS = [
    *(pytest.param(SSLModule, m, id=f"ssl-{name}") for name, m in SSL_METHODS.items()),
    *(pytest.param(UDAModule, m, id=f"uda-{name}") for name, m in UDA_METHODS.items()),
]
MODES = [pytest.param(SSLModule, mode, id=mode) for mode in get_args(CentroidMode)]


def training(module: SuperCMModule, device: str) -> Callable[[], Tensor]:
    """A function that takes one step on a batch of images on the device."""
    module.to(device)
    labels = (torch.arange(8) % 10).to(device)
    labeled, unlabeled = torch.rand(8, 3, 8, 8).to(device), torch.rand(12, 3, 8, 8).to(device)
    views = module.required_views
    given = dict.fromkeys(views[module.unlabeled_part], unlabeled)
    if "index" in given:
        given["index"] = torch.arange(12).to(device)
        for term in module.methods:
            term.num_samples = 12  # which a data module would tell
            if isinstance(term, LabelPropagation):  # between two searches, which need values
                labels_found = torch.zeros(12, dtype=torch.int64)
                term.set_extra_state({"labels": labels_found, "trust": 1.0, "begin": 0.0})
    batch = {
        module.labeled_part: (dict.fromkeys(views[module.labeled_part], labeled), labels),
        module.unlabeled_part: given,
    }
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad])

    def step() -> Tensor:
        loss = module.training_step(batch)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        for term in module.methods:
            term.after_step(module.feature_extractor, module.head)
        return loss.detach()

    return step


def with_method(kind: type[SuperCMModule], method: type[Method]) -> SuperCMModule:
    torch.manual_seed(0)
    backbone = ConvNet(3, widths=(4, 8), out_features=8)
    return kind(backbone, 10, method(), alpha=1.2, channels_last=True)


def with_centroids(kind: type[SuperCMModule], mode: CentroidMode) -> SuperCMModule:
    torch.manual_seed(0)
    return kind(ConvNet(3, widths=(4, 8), out_features=8), 10, centroids=mode)


@pytest.mark.parametrize(("kind", "method"), METHODS)
def test_no_method_looks_at_a_value(kind, method, monkeypatch):
    if method is MixMatch and torch.__version__ < "2.5":
        pytest.skip("PyTorch 2.4 draws no Gamma distribution on the meta device")
    # Tensors on this device have no values: whoever asks for one gets an error. Nor has it a draw
    # of a Beta distribution, which waits for nothing where there is one.
    monkeypatch.setattr(torch, "_sample_dirichlet", torch.empty_like)
    assert training(with_method(kind, method), "meta")().shape == ()


@needs_cuda
@pytest.mark.parametrize(("kind", "method"), METHODS)
def test_no_method_waits_for_a_gpu(kind, method):
    step = training(with_method(kind, method), "cuda")
    step()  # what is made at the first step may wait
    torch.cuda.set_sync_debug_mode("error")
    try:
        loss = step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert loss.isfinite()


@needs_cuda
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("kind", "mode"), MODES)
def test_half_precision_on_a_gpu_gives_the_loss_of_float32(kind, mode, dtype):
    losses = []
    for enabled in (False, True):
        step = training(with_centroids(kind, mode), "cuda")
        with torch.autocast("cuda", dtype, enabled=enabled):
            losses.append(torch.stack([step() for _ in range(5)]))
    full, half = losses
    assert half.isfinite().all()
    torch.testing.assert_close(half[0], full[0], rtol=0.02, atol=0.01)


@needs_cuda
@pytest.mark.parametrize("mode", get_args(CentroidMode))
def test_the_head_is_captured_in_a_cuda_graph(mode):
    features = torch.randn(6, 16, 8, device="cuda")
    labels = (torch.arange(16) % 4).cuda()

    def take(head: ClusteringHead, rows: Tensor) -> Tensor:
        out = head(rows)
        head.update_centroids(rows, labels)
        loss = head.loss(rows, out.assignments).total
        return torch.autograd.grad(loss, rows)[0]

    torch.manual_seed(0)
    head = ClusteringHead(8, 4, centroids=mode).cuda()
    start = {name: value.clone() for name, value in head.state_dict().items()}
    expected = [take(head, rows.requires_grad_()) for rows in features.clone()]
    state = {name: value.clone() for name, value in head.state_dict().items()}

    static = features[0].clone().requires_grad_()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        take(head, static)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        gradient = take(head, static)
    head.load_state_dict(start)
    for rows, same in zip(features, expected, strict=True):
        with torch.no_grad():
            static.copy_(rows)
        graph.replay()
        torch.testing.assert_close(gradient, same)
    torch.testing.assert_close(dict(head.state_dict()), state)
