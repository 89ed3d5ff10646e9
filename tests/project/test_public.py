"""The public surface: what users import, and what importing it brings along."""

import inspect
import subprocess
import sys

import pytest
import torch

import supercm_pl
from supercm_pl import ClusteringHead, SSLModule
from supercm_pl.clustering.functional import clustering_loss


def test_every_public_name_is_there():
    assert set(supercm_pl.__all__) == {
        "ClusteringHead",
        "SSLDataModule",
        "SSLModule",
        "SuperCMClassifier",
        "UDADataModule",
        "UDAModule",
        "__version__",
    }
    assert all(getattr(supercm_pl, name) is not None for name in supercm_pl.__all__)
    assert set(supercm_pl.__all__) <= set(dir(supercm_pl))
    with pytest.raises(AttributeError, match="no attribute 'Clustering'"):
        _ = supercm_pl.Clustering


def test_the_clustering_loss_has_the_promised_signature():
    parameters = inspect.signature(clustering_loss).parameters
    assert list(parameters)[:3] == ["features", "assignments", "centroids"]
    options = {name: p.default for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
    promised = {"alpha": 1.0, "orthonormal": False, "ortho_weight": 1.0, "normalize": True}
    assert promised.items() <= options.items()
    loss = clustering_loss(torch.rand(3, 2), torch.rand(3, 4), torch.rand(4, 2))
    assert loss._fields == ("total", "reconstruction", "sparsity", "overlap", "prior")


def test_the_head_has_the_promised_signature():
    parameters = inspect.signature(ClusteringHead).parameters
    assert list(parameters)[:2] == ["in_features", "num_classes"]
    options = {name: p.default for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
    promised = {
        "centroids": "cumulative",
        "momentum": 0.9,
        "temperature": 1.0,
        "alpha": 1.0,
        "orthonormal": False,
        "normalize": True,
        "bias": True,
    }
    assert promised.items() <= options.items()


def test_the_module_takes_backbone_classes_and_methods_in_this_order():
    assert list(inspect.signature(SSLModule).parameters)[:3] == [
        "backbone",
        "num_classes",
        "methods",
    ]


def test_the_clustering_head_comes_without_lightning():
    code = (
        "import sys; import supercm_pl.clustering; from supercm_pl import ClusteringHead; "
        "print(sorted({'lightning', 'torchmetrics', 'torchvision', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_modules_come_without_the_commands_packages():
    # People use them on machines that have neither jsonargparse nor kornia.
    code = (
        "import sys; sys.modules.update(jsonargparse=None, kornia=None); "
        "from supercm_pl import SSLDataModule, SSLModule; print('fine')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "fine"
