"""The public surface: what users import, and what importing it brings along."""

import subprocess
import sys

import pytest
import torch

import supercm_pl
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


def test_the_parts_of_the_clustering_loss_have_the_promised_names():
    loss = clustering_loss(torch.rand(3, 2), torch.rand(3, 4), torch.rand(4, 2))
    assert loss._fields == ("total", "reconstruction", "sparsity", "overlap", "prior")


LIGHTNING = ("lightning", "torchmetrics", "torchvision", "jsonargparse", "kornia", "rich")


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("from supercm_pl import ClusteringHead", (*LIGHTNING, "sklearn")),
        ("from supercm_pl.estimator import SuperCMClassifier", LIGHTNING),
        # People train on machines that have neither.
        ("from supercm_pl import SSLDataModule, SSLModule", ("jsonargparse", "kornia")),
    ],
)
def test_an_import_needs_only_its_own_packages(statement, absent):
    code = f"import sys; sys.modules.update(dict.fromkeys({absent})); {statement}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
