"""Validators: their formulas, the contract, and that no target label is needed."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from supercm_pl import UDAModule
from supercm_pl.backbones import MLP
from supercm_pl.clustering import ClusteringHead
from supercm_pl.uda.validators import (
    DEV,
    IWCV,
    SND,
    BatchNuclearNorm,
    CentroidAgreement,
    Entropy,
    InformationMaximization,
    SourceAccuracy,
    TargetClusteringLoss,
    Validator,
    soft_neighborhood,
)
from supercm_pl.uda.validators.risk import density_weights
from tests.support.ranks import needs_ranks, results_of_two_ranks
from tests.support.trainers import quiet_trainer
from tests.support.two_domains import Domains

BUILDERS = {
    "source_accuracy": SourceAccuracy,
    "information_maximization": InformationMaximization,
    "entropy": Entropy,
    "bnm": BatchNuclearNorm,
    "snd": SND,
    "iwcv": IWCV,
    "dev": lambda: DEV(loss="cross_entropy"),
    "target_clustering_loss": TargetClusteringLoss,
    "centroid_agreement": CentroidAgreement,
}
OF_SOURCE = {"source_accuracy", "iwcv", "dev"}
OF_TARGET = set(BUILDERS) - {"source_accuracy"}
NUM_CLASSES, NUM_FEATURES = 3, 4

every_validator = pytest.mark.parametrize("name", BUILDERS)


def blobs(num_rows: int, shift: float, seed: int) -> tuple[Tensor, Tensor]:
    """Features of three separable classes, moved by the shift of the domain, and labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, NUM_CLASSES, (num_rows,), generator=generator)
    noise = torch.randn(num_rows, NUM_FEATURES, generator=generator)
    return 4 * torch.eye(NUM_CLASSES, NUM_FEATURES)[labels] + noise + shift, labels


SOURCE, SOURCE_LABELS = blobs(60, 0.0, seed=1)
TARGET, TARGET_LABELS = blobs(50, 0.4, seed=2)


def random_assignments(num_rows: int, seed: int, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(num_rows, NUM_CLASSES, generator=generator)).softmax(dim=1)


def good_assignments(labels: Tensor) -> Tensor:
    return (8 * torch.eye(NUM_CLASSES)[labels]).softmax(dim=1)


SOURCE_ASSIGNMENTS = random_assignments(60, seed=3)
TARGET_ASSIGNMENTS = random_assignments(50, seed=4)


def build_head(**options) -> ClusteringHead:
    head = ClusteringHead(NUM_FEATURES, NUM_CLASSES, **options)
    head.update_centroids(SOURCE, SOURCE_LABELS)
    return head


HEAD = build_head(alpha=[0.5, 2.0, 1.0])


def feed(
    validator: Validator,
    source_rows: Tensor | slice = slice(None),
    target_rows: Tensor | slice = slice(None),
    batches: int = 1,
    source_assignments: Tensor = SOURCE_ASSIGNMENTS,
    target_assignments: Tensor = TARGET_ASSIGNMENTS,
) -> Validator:
    source = (SOURCE[source_rows], source_assignments[source_rows], SOURCE_LABELS[source_rows])
    target = (TARGET[target_rows], target_assignments[target_rows])
    for domain, parts in (("source", source), ("target", target)):
        for batch in zip(*(part.tensor_split(batches) for part in parts), strict=True):
            if len(batch[0]):
                validator.update(*batch, domain=domain, head=HEAD)
    return validator


def value_of(name: str, **options) -> Tensor:
    return feed(BUILDERS[name](), **options).compute()


def assert_equals(value: Tensor, expected: float) -> None:
    assert value.shape == ()
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected, rel=1e-5, abs=1e-6)


# The formulas, against loops over single rows.


def entropy(probabilities) -> float:
    return -sum(float(p) * math.log(p) for p in probabilities if p > 0)


def test_source_accuracy_is_the_share_of_right_rows():
    pairs = zip(SOURCE_ASSIGNMENTS.tolist(), SOURCE_LABELS.tolist(), strict=True)
    right = sum(row.index(max(row)) == label for row, label in pairs)
    assert_equals(value_of("source_accuracy"), right / 60)


def test_entropy_and_information_are_those_of_a_loop():
    rows = TARGET_ASSIGNMENTS.tolist()
    mean_entropy = sum(entropy(row) for row in rows) / 50
    mean = [sum(column) / 50 for column in zip(*rows, strict=True)]
    assert_equals(value_of("entropy"), -mean_entropy)
    assert_equals(value_of("information_maximization"), entropy(mean) - mean_entropy)


@pytest.mark.parametrize("num_rows", [1, 2, 50])
def test_bnm_is_the_nuclear_norm_over_its_bound(num_rows: int):
    rows = slice(0, num_rows)
    norm = np.linalg.norm(TARGET_ASSIGNMENTS[rows].numpy(), "nuc")
    bound = math.sqrt(min(num_rows, NUM_CLASSES) * num_rows)
    assert_equals(value_of("bnm", target_rows=rows), norm / bound)


@pytest.mark.parametrize("temperature", [0.05, 1.0])
@pytest.mark.parametrize("block_size", [1, 7 * 50, 2**24])
def test_snd_is_that_of_a_loop_whatever_the_block(temperature, block_size, monkeypatch):
    monkeypatch.setattr(soft_neighborhood, "_BLOCK_SIZE", block_size)
    rows = TARGET_ASSIGNMENTS.double().numpy()
    total = 0.0
    for i in range(50):
        similarities = [
            float(rows[i] @ rows[j] / np.linalg.norm(rows[i]) / np.linalg.norm(rows[j]))
            for j in range(50)
            if j != i
        ]
        exponentials = [math.exp(s / temperature) for s in similarities]
        total += entropy([e / sum(exponentials) for e in exponentials])
    assert_equals(feed(SND(temperature)).compute(), total / 50)


@pytest.mark.parametrize("loss", ["zero_one", "cross_entropy"])
def test_iwcv_and_dev_are_negative_weighted_risks(loss):
    weights = density_weights(SOURCE.double().numpy(), TARGET.double().numpy())
    weighted = []
    for weight, row, label in zip(
        weights, SOURCE_ASSIGNMENTS.tolist(), SOURCE_LABELS.tolist(), strict=True
    ):
        wrong = float(row.index(max(row)) != label)
        weighted.append(weight * (wrong if loss == "zero_one" else -math.log(row[label])))
    assert_equals(feed(IWCV(loss)).compute(), -np.mean(weighted))
    eta = -np.cov(weighted, weights)[0][1] / np.var(weights, ddof=1)
    risk = np.mean(weighted) + eta * np.mean(weights) - eta
    assert_equals(feed(DEV(loss)).compute(), -risk)


def test_density_weights_estimate_a_known_ratio_of_densities():
    generator = np.random.default_rng(0)
    source = generator.normal(0.0, 1.0, (4000, 1))
    target = generator.normal(0.5, 1.0, (2000, 1))
    weights = density_weights(source, target)
    expected = np.exp(0.5 * source[:, 0] - 0.125)  # of two normal densities
    # Slope and intercept of the log-odds have a standard error of about √(1/4000 + 1/2000) = 0.03.
    assert np.sqrt(np.mean(np.log(weights / expected) ** 2)) < 0.1
    assert np.mean(weights) == pytest.approx(1.0, abs=0.05)


def test_a_sure_wrong_source_row_has_a_finite_cross_entropy():
    assignments = torch.eye(NUM_CLASSES)[(SOURCE_LABELS + 1) % NUM_CLASSES]
    value = feed(IWCV("cross_entropy"), source_assignments=assignments).compute()
    assert value.isfinite()


@pytest.mark.parametrize("centroids", ["cumulative", "learnable"])
@pytest.mark.parametrize(
    "options", [{}, {"alpha": 2.0}, {"alpha": [0.5, 2.0, 1.0]}, {"orthonormal": True, "alpha": 0.5}]
)
def test_target_clustering_loss_is_the_loss_of_the_head(options, centroids):
    head = build_head(centroids=centroids, **options)
    validator = TargetClusteringLoss()
    for rows in (slice(0, 30), slice(30, 50)):
        validator.update(TARGET[rows], TARGET_ASSIGNMENTS[rows], domain="target", head=head)
    assert_equals(validator.compute(), -head.loss(TARGET, TARGET_ASSIGNMENTS).total.item())


def test_centroid_agreement_is_the_share_of_rows_whose_nearest_centroid_agrees():
    agreeing = 0
    for features, row in zip(TARGET, TARGET_ASSIGNMENTS.tolist(), strict=True):
        distances = [float((features - centroid).norm()) for centroid in HEAD.centroids]
        agreeing += distances.index(min(distances)) == row.index(max(row))
    assert_equals(value_of("centroid_agreement"), agreeing / 50)


# The contract.


@every_validator
def test_good_predictions_score_higher_than_random_ones(name: str):
    good = value_of(
        name,
        source_assignments=good_assignments(SOURCE_LABELS),
        target_assignments=good_assignments(TARGET_LABELS),
    )
    # Rather sure of a random class: SND takes vague predictions for neighbors, as all are alike.
    random = value_of(
        name,
        source_assignments=random_assignments(60, seed=3, scale=3.0),
        target_assignments=random_assignments(50, seed=4, scale=3.0),
    )
    assert good > random + 0.01
    assert BUILDERS[name]().higher_is_better is True


@every_validator
def test_the_name_in_logs(name: str):
    assert BUILDERS[name]().name == name


@every_validator
def test_neither_order_nor_batches_matter(name: str):
    expected = value_of(name)
    generator = torch.Generator().manual_seed(5)
    shuffled = value_of(
        name,
        source_rows=torch.randperm(60, generator=generator),
        target_rows=torch.randperm(50, generator=generator),
        batches=7,
    )
    torch.testing.assert_close(shuffled, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(
    not hasattr(Metric, "merge_state"), reason="torchmetrics merges metrics since 1.5"
)
@every_validator
def test_two_merged_halves_equal_the_whole(name: str):
    first = feed(BUILDERS[name](), slice(0, 25), slice(0, 35), batches=2)
    first.merge_state(feed(BUILDERS[name](), slice(25, 60), slice(35, 50)))
    torch.testing.assert_close(first.compute(), value_of(name), rtol=1e-5, atol=1e-6)


@every_validator
def test_forward_gives_the_batch_and_keeps_the_whole(name: str):
    validator = BUILDERS[name]()
    batch = {"features": SOURCE, "assignments": SOURCE_ASSIGNMENTS, "labels": SOURCE_LABELS}
    if name in OF_TARGET:
        with pytest.warns(UserWarning, match=f"{name} is nan"):
            assert validator(**batch, domain="source", head=HEAD).isnan()
    else:
        torch.testing.assert_close(validator(**batch, domain="source"), value_of(name))
    validator.update(TARGET, TARGET_ASSIGNMENTS, domain="target", head=HEAD)
    torch.testing.assert_close(validator.compute(), value_of(name))


@every_validator
def test_reset_forgets_everything(name: str):
    validator = feed(BUILDERS[name](), slice(0, 20), slice(0, 20))
    validator.compute()
    validator.reset()
    assert feed(validator).compute() == value_of(name)


@every_validator
def test_the_state_is_in_no_checkpoint_unless_asked_for(name: str):
    validator = feed(BUILDERS[name]())
    assert validator.state_dict() == {}
    validator.persistent(True)
    other = BUILDERS[name]()
    other.load_state_dict(validator.state_dict())
    other.update(SOURCE[:0], SOURCE_ASSIGNMENTS[:0], SOURCE_LABELS[:0], domain="source")
    assert other.compute() == validator.compute()


@every_validator
def test_half_precision_and_autocast_leave_the_math_in_float32(name: str):
    half = {"dtype": torch.bfloat16}
    validator, rounded = BUILDERS[name](), BUILDERS[name]()
    source, target = SOURCE.to(**half), TARGET.to(**half)
    of_source, of_target = SOURCE_ASSIGNMENTS.to(**half), TARGET_ASSIGNMENTS.to(**half)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        validator.update(source, of_source, SOURCE_LABELS, domain="source", head=HEAD)
        validator.update(target, of_target, domain="target", head=HEAD)
        value = validator.compute()
    rounded.update(source.float(), of_source.float(), SOURCE_LABELS, domain="source", head=HEAD)
    rounded.update(target.float(), of_target.float(), domain="target", head=HEAD)
    torch.testing.assert_close(value, rounded.compute(), rtol=0, atol=0)


@every_validator
def test_without_rows_of_its_domain_it_is_nan_and_says_so(name: str):
    validator = BUILDERS[name]()
    missing = "target" if name in OF_TARGET - OF_SOURCE else "source"
    if missing == "target":
        validator.update(SOURCE, SOURCE_ASSIGNMENTS, SOURCE_LABELS, domain="source")
    else:
        validator.update(TARGET, TARGET_ASSIGNMENTS, domain="target", head=HEAD)
    with pytest.warns(UserWarning, match=f"{name} is nan: it got no {missing} samples"):
        assert validator.compute().isnan()


def test_one_row_of_a_domain_is_too_few_for_density_weights():
    with pytest.warns(UserWarning, match="dev is nan: it needs 2 samples of each domain"):
        assert feed(DEV(), target_rows=slice(0, 1)).compute().isnan()


@pytest.mark.parametrize("part", [0, 1])
@pytest.mark.parametrize("number", [math.nan, math.inf])
@every_validator
def test_a_number_that_is_not_finite_makes_it_nan(name: str, part: int, number: float):
    bad = [TARGET.clone(), TARGET_ASSIGNMENTS.clone()]
    bad[part][7, 1] = number
    validator = BUILDERS[name]()
    validator.update(SOURCE, SOURCE_ASSIGNMENTS, SOURCE_LABELS, domain="source", head=HEAD)
    validator.update(*bad, domain="target", head=HEAD)
    assert validator.compute().isnan() == (name in OF_TARGET)


@pytest.mark.parametrize("build", [TargetClusteringLoss, CentroidAgreement])
def test_without_centroids_there_is_no_value(build: type[Validator]):
    validator = build()
    with pytest.raises(ValueError, match=r"head must be given, as .* needs its centroids"):
        validator.update(TARGET, TARGET_ASSIGNMENTS, domain="target")
    fresh = ClusteringHead(NUM_FEATURES, NUM_CLASSES)
    validator = build()
    validator.update(TARGET, TARGET_ASSIGNMENTS, domain="target", head=fresh)
    assert validator.compute().isnan()


@every_validator
def test_target_labels_are_never_taken(name: str):
    with pytest.raises(ValueError, match="labels must be None for target samples"):
        BUILDERS[name]().update(TARGET, TARGET_ASSIGNMENTS, TARGET_LABELS, domain="target")


@pytest.mark.bad_input
def test_errors_name_the_argument():
    validator = Entropy()
    with pytest.raises(ValueError, match="labels must be given for source samples, got None"):
        validator.update(SOURCE, SOURCE_ASSIGNMENTS, domain="source")
    with pytest.raises(ValueError, match="domain must be one of 'source', 'target', got 'test'"):
        validator.update(SOURCE, SOURCE_ASSIGNMENTS, domain="test")
    with pytest.raises(ValueError, match=r"assignments must have shape \(N=50, K\), got \(60, 3\)"):
        validator.update(TARGET, SOURCE_ASSIGNMENTS, domain="target")
    with pytest.raises(ValueError, match=r"labels must be in 0..2 for num_classes=3, got 3"):
        validator.update(SOURCE, SOURCE_ASSIGNMENTS, SOURCE_LABELS + 1, domain="source")
    with pytest.raises(ValueError, match="temperature must be greater than 0, got 0"):
        SND(temperature=0)
    with pytest.raises(
        ValueError, match="loss must be one of 'zero_one', 'cross_entropy', got 'hinge'"
    ):
        DEV(loss="hinge")
    with pytest.raises(ValueError, match="folds must be at least 2, got 1"):
        IWCV(folds=1)
    with pytest.raises(ValueError, match="regularization must be greater than 0, got -1"):
        IWCV(regularization=-1)


def test_a_collection_shares_states_and_changes_no_value():
    collection = MetricCollection({name: build() for name, build in BUILDERS.items()})
    feed(collection, batches=3)
    values = collection.compute()
    assert {"bnm", "snd"} in [set(group) for group in collection.compute_groups.values()]
    for name, value in values.items():
        torch.testing.assert_close(value, value_of(name), rtol=1e-5, atol=1e-6)


def test_callbacks_monitor_every_validator(tmp_path: Path):
    torch.manual_seed(0)
    validators = [build() for build in BUILDERS.values()]
    module, data = UDAModule(MLP(4, (8,)), 3, validators=validators), Domains()
    checkpoints = [
        ModelCheckpoint(tmp_path, filename=name, monitor=f"val/{name}", mode="max")
        for name in BUILDERS
    ]
    stopping = EarlyStopping("val/snd", mode="max", check_finite=True)
    trainer = quiet_trainer(max_epochs=2, callbacks=[*checkpoints, stopping])
    trainer.fit(module, data, data.validation())
    for name, checkpoint in zip(BUILDERS, checkpoints, strict=True):
        assert checkpoint.best_model_score.isfinite(), name
        best = torch.load(checkpoint.best_model_path, weights_only=True)
        assert not any(key.startswith("validators") for key in best["state_dict"])


# Across ranks.


def run_rank(rank: int) -> dict[str, Tensor]:
    values = {}
    # The first rank has two batches of the source and no sample of the target; or both have some.
    for case, (source, target, batches) in {"uneven": (40, 0, 2), "even": (30, 20, 1)}.items():
        first, second = (slice(source), slice(target)), (slice(source, None), slice(target, None))
        for name, build in BUILDERS.items():
            validator = feed(build(), *first, batches) if rank == 0 else feed(build(), *second)
            values[f"{case} {name}"] = validator.compute()
    return values


@needs_ranks
def test_two_ranks_equal_one_process(tmp_path: Path):
    first, second = results_of_two_ranks(run_rank, tmp_path)
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    for name, value in first.items():
        expected = value_of(name.split()[1])
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6, msg=name)
