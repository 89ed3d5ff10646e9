"""Calls of public reference code for ``benchmarks.parity``; the code itself is the user's."""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.util
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from sklearn import config_context
from sklearn.base import BaseEstimator
from torch import Tensor, nn

from benchmarks.parity import (
    CLASSES,
    FEATURES,
    ORDER,
    RADIUS,
    RANDOM,
    SAMPLES,
    SHARE,
    STEPS,
    Fixed,
    Result,
    cutoff,
    domain_features,
    head_of,
    images,
    interpolated,
    leaves,
    numbers_of,
    projection,
    result,
    set_parameters,
    values,
)


class Blank:
    """Stands in for classes of modules that a file imports and that no comparison needs."""

    def __init__(self, *args: Any, **options: Any) -> None:
        pass

    @staticmethod
    def register(name: str) -> Callable[[Any], Any]:
        """Return a decorator that does nothing."""
        return lambda kind: kind


class _Blanks(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Blank


STUBS = (
    "neptune",
    "numba",
    "prettytable",
    "qpsolvers",
    "train_utils",
    "semilearn",
    "semilearn.core",
    "semilearn.core.hooks",
    "semilearn.core.utils",
    "semilearn.algorithms",
    "semilearn.algorithms.hooks",
    "semilearn.algorithms.utils",
)


class Checkouts:
    """A folder of checkouts, named ``name`` or ``owner+name``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, repository: str) -> Path:
        """Return the folder of a repository."""
        for name in (repository.replace("/", "+"), repository.split("/")[1]):
            if (self.folder / name).is_dir():
                return self.folder / name
        raise FileNotFoundError(f"no checkout of {repository}")

    def commit(self, repository: str) -> str:
        """Return the commit that is checked out."""
        import subprocess

        command = ["git", "-C", str(self.path(repository)), "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def load(self, repository: str, file: str) -> Any:
        """Import one file, with its neighbors, and without the packages that it is in."""
        path = self.path(repository) / file
        package = "_".join(["reference", *path.parent.parts[1:]]).replace("-", "_")
        package = package.replace("+", "_").replace(".", "_")
        holder = types.ModuleType(package)
        holder.__path__ = [str(path.parent)]
        with _stubs(package, holder):
            return importlib.import_module(f"{package}.{path.stem}")

    def function(self, repository: str, file: str, name: str, **known: Any) -> Any:
        """Return one function of a script that cannot be imported; ``known`` are names it uses."""
        tree = ast.parse((self.path(repository) / file).read_text())
        found = [part for part in tree.body if getattr(part, "name", None) == name]
        exec(compile(ast.Module(found, []), file, "exec"), known)
        return known[name]

    def tllib(self, module: str) -> Any:
        """Import a module of Transfer-Learning-Library."""
        return self.package(TLLIB, f"tllib.{module}")

    def package(self, repository: str, module: str, folder: str = ".") -> Any:
        """Import a module by its full name; its requirements have to be installed."""
        root = str(self.path(repository) / folder)
        with _stubs():
            sys.path.insert(0, root)
            try:
                return importlib.import_module(module)
            finally:
                sys.path.remove(root)


@contextlib.contextmanager
def _stubs(name: str | None = None, holder: types.ModuleType | None = None) -> Iterator[None]:
    made = {stub: _Blanks(stub) for stub in STUBS if stub not in sys.modules}
    for module in made.values():
        module.__path__ = []
    sys.modules.update(made)
    if name is not None and holder is not None:
        sys.modules[name] = holder
    try:
        yield
    finally:
        for stub in made:
            sys.modules.pop(stub, None)


USB, TORCHSSL = "microsoft/Semi-supervised-learning", "TorchSSL/TorchSSL"
TLLIB, CDAN_CODE = "thuml/Transfer-Learning-Library", "thuml/CDAN"
REALISTIC, ADAPT = "perrying/realistic-ssl-evaluation-pytorch", "KevinMusgrave/pytorch-adapt"
TEACHER, ICT_CODE = "CuriousAI/mean-teacher", "vikasverma1077/ICT"
DEV_CODE, SKADA = "thuml/Deep-Embedded-Validation", "scikit-adaptation/skada"
SND_CODE, SUPERCM = "VisionLearningGroup/SND", "Durgesh93/SuperCM"
AFN_CODE, HAFN = "jihanyang/AFN", "vanilla/Office31/HAFN/code/train.py"
CRITERIA = "semilearn/core/criterions/consistency.py"


def _consistency(checkouts: Checkouts) -> Callable[..., Tensor]:
    found: Callable[..., Tensor] = checkouts.load(USB, CRITERIA).consistency_loss
    return found


def _hard(checkouts: Checkouts, logits: Tensor, from_: Tensor, mask: Tensor) -> Tensor:
    return _consistency(checkouts)(logits, from_.detach().argmax(1), "ce", mask=mask)


def pi_model(checkouts: Checkouts) -> Result:
    first, second = leaves(2)
    module = checkouts.load(REALISTIC, "lib/algs/pimodel.py").PiModel()

    class Model:
        def update_batch_stats(self, flag: bool) -> None:
            pass

        def __call__(self, inputs: Tensor) -> Tensor:
            return first

    loss = module(None, second.detach(), Model(), torch.ones(SAMPLES, dtype=torch.float64))
    return result(loss, [first])


def _confident(checkouts: Checkouts, logits: Tensor, threshold: float) -> Tensor:
    kind = checkouts.load(USB, "semilearn/algorithms/hooks/masking.py").FixedThresholdingHook
    algorithm = _Algorithm()
    algorithm.p_cutoff = threshold
    mask: Tensor = kind().masking(algorithm, logits.detach().softmax(1), softmax_x_ulb=False)
    return mask


def pseudo_label(checkouts: Checkouts) -> Result:
    (weak,) = leaves(1, scale=3.0)
    mask = _confident(checkouts, weak, 0.8)
    return result(_hard(checkouts, weak, weak, mask), [weak])


def mean_teacher(checkouts: Checkouts) -> Result:
    (weak,) = leaves(1)
    target = Fixed(40)(values(SAMPLES, FEATURES, seed=41))
    losses = checkouts.load(TEACHER, "pytorch/mean_teacher/losses.py")
    return result(losses.softmax_mse_loss(weak, target) / SAMPLES, [weak])


def vat(checkouts: Checkouts) -> Result:
    weight = values(CLASSES, 4, seed=43, scale=0.8).requires_grad_()

    class Model:
        def __call__(self, inputs: Tensor) -> Tensor:
            return inputs.flatten(1) @ weight.T

        def zero_grad(self) -> None:
            weight.grad = None

    model, inputs = Model(), images()
    noise = values(SAMPLES, 1, 2, 2, seed=44)
    module = checkouts.load(TORCHSSL, "models/vat/vat_utils.py")
    with (
        patch.object(torch.Tensor, "normal_", lambda self: noise.clone()),
        patch.object(torch.Tensor, "cuda", lambda self: self),
    ):
        loss = module.vat_loss(model, inputs, model(inputs), xi=1e-4, eps=2.0)
    return result(loss, [weight])


def entropy(checkouts: Checkouts) -> Result:
    (weak,) = leaves(1, scale=3.0)
    module = checkouts.load(TORCHSSL, "models/vat/vat_utils.py")
    return result(module.entropy_loss(weak), [weak])


def ict(checkouts: Checkouts) -> Result:
    weight = values(CLASSES, FEATURES, seed=45, scale=0.8).requires_grad_()
    inputs = values(SAMPLES, FEATURES, seed=47)
    guesses = Fixed(46)(inputs).softmax(1)
    mixed = SHARE * inputs + (1 - SHARE) * inputs[ORDER]
    target = SHARE * guesses + (1 - SHARE) * guesses[ORDER]
    losses = checkouts.load(ICT_CODE, "mean_teacher/losses.py")
    return result(losses.softmax_mse_loss(mixed @ weight.T, target.log()) / SAMPLES, [weight])


def mixmatch(checkouts: Checkouts) -> Result:
    weight = values(CLASSES, FEATURES, seed=48, scale=0.8).requires_grad_()
    labeled, first, second = (values(SAMPLES, FEATURES, seed=seed) for seed in (1, 2, 3))
    mean = (first @ weight.T).softmax(1) + (second @ weight.T).softmax(1)
    guess = ((mean / 2) ** 2 / ((mean / 2) ** 2).sum(1, keepdim=True)).detach()
    labels = F.one_hot(torch.arange(SAMPLES) % CLASSES, CLASSES).double()
    inputs, targets = torch.cat([labeled, first, second]), torch.cat([labels, guess, guess])
    operations = checkouts.load(USB, "semilearn/algorithms/utils/ops.py")
    with (
        patch("numpy.random.beta", lambda a, b: SHARE),
        patch("torch.randperm", lambda count, **options: torch.arange(count).roll(7)),
    ):
        mixed, labels, _ = operations.mixup_one_target(inputs, targets, 0.75, is_bias=True)
    logits = mixed @ weight.T
    consistency = _consistency(checkouts)
    supervised = consistency(logits[:SAMPLES], labels[:SAMPLES], "ce")
    loss = consistency(logits[SAMPLES:], labels[SAMPLES:], "mse")
    return [*result(supervised, [weight]), *result(loss, [weight])]


def uda(checkouts: Checkouts) -> Result:
    weak, strong = leaves(2, scale=3.0)
    module = checkouts.load(TORCHSSL, "models/uda/uda_utils.py")
    loss, *_ = module.consistency_loss(
        strong, weak, None, 0, None, name="kld_tf", T=0.4, p_cutoff=0.8
    )
    return result(loss, [strong])


def fixmatch(checkouts: Checkouts) -> Result:
    weak, strong = leaves(2, scale=3.0)
    mask = _confident(checkouts, weak, cutoff())
    return result(_hard(checkouts, strong, weak, mask), [strong])


class _Algorithm:
    distributed, use_quantile, clip_thresh, p_cutoff = False, False, False, 0.8


def flexmatch(checkouts: Checkouts) -> Result:
    kind = checkouts.load(USB, "semilearn/algorithms/flexmatch/utils.py").FlexMatchThresholdingHook
    hook = kind(SAMPLES, CLASSES)
    hook.classwise_acc = hook.classwise_acc.double()
    for number in range(STEPS):
        weak, strong = leaves(2, seed=2 * number, scale=3.0)
        chances = weak.detach().softmax(1)
        mask = hook.masking(_Algorithm(), chances, torch.arange(SAMPLES), softmax_x_ulb=False)
        loss = _hard(checkouts, strong, weak, mask)
    return result(loss, [strong])


def freematch(checkouts: Checkouts) -> Result:
    folder = "semilearn/algorithms/freematch"
    hook = checkouts.load(USB, f"{folder}/utils.py").FreeMatchThresholingHook(CLASSES, 0.9)
    fairness = checkouts.load(USB, f"{folder}/freematch.py").entropy_loss
    for name in ("p_model", "label_hist", "time_p"):
        setattr(hook, name, getattr(hook, name).double())
    for number in range(STEPS):
        weak, strong = leaves(2, seed=2 * number, scale=3.0)
        mask = hook.masking(_Algorithm(), weak.detach())
        loss = _hard(checkouts, strong, weak, mask)
        loss = loss + 0.05 * fairness(mask, strong, hook.p_model, hook.label_hist)[0]
    return result(loss, [strong])


def softmatch(checkouts: Checkouts) -> Result:
    kind = checkouts.load(USB, "semilearn/algorithms/softmatch/utils.py").SoftMatchWeightingHook
    hook, aligner = kind(CLASSES, momentum=0.9), _aligner(checkouts, "uniform")
    for number in range(STEPS):
        weak, strong = leaves(2, seed=2 * number, scale=3.0)
        aligned = aligner.dist_align(_Algorithm(), weak.detach().softmax(1))
        mask = hook.masking(_Algorithm(), aligned, softmax_x_ulb=False)
        loss = _hard(checkouts, strong, weak, mask)
    return result(loss, [strong])


def _aligner(checkouts: Checkouts, target: str, momentum: float = 0.9) -> Any:
    kind = checkouts.load(USB, "semilearn/algorithms/hooks/dist_align.py").DistAlignEMAHook
    with contextlib.redirect_stdout(None):
        hook = kind(CLASSES, momentum, target)
    hook.p_target = torch.full((CLASSES,), 1 / CLASSES, dtype=torch.float64)
    return hook


def adamatch(checkouts: Checkouts) -> Result:
    labeled, weak, strong, labeled_strong = leaves(4, scale=3.0)
    known = interpolated(labeled.detach()).softmax(1)
    aligner = _aligner(checkouts, "model", 0.999)
    aligned = aligner.dist_align(_Algorithm(), weak.detach().softmax(1), known)
    kind = checkouts.load(USB, "semilearn/algorithms/adamatch/utils.py").AdaMatchThresholdingHook
    algorithm = _Algorithm()
    algorithm.p_cutoff = 0.9
    mask = kind().masking(algorithm, known, aligned, softmax_x_lb=False, softmax_x_ulb=False)
    parts = [labeled, labeled_strong]
    labels = torch.arange(SAMPLES) % CLASSES
    each = [_consistency(checkouts)(interpolated(part), labels, "ce") for part in parts]
    loss = _hard(checkouts, strong, aligned, mask)
    return [*result(sum(each) / 2, parts), *result(loss, [strong])]


def _domains() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    source, target = leaves(2, FEATURES)
    head = head_of()
    return source, target, head(source).logits, head(target).logits


def _discriminator(columns: int) -> nn.Module:
    network = nn.Sequential(nn.Linear(columns, 5), nn.ReLU(), nn.Linear(5, 1)).double()
    set_parameters(network)
    return nn.Sequential(network, nn.Sigmoid())


# 2 / (1 + exp(-10 p)) - 1 half a run in, as our methods reverse by default.
REVERSAL = 2 / (1 + torch.tensor(-5.0, dtype=torch.float64).exp().item()) - 1


class Reversed(nn.Module):
    """Their gradient reversal with our factor."""

    def __init__(self, checkouts: Checkouts) -> None:
        super().__init__()
        self.function = checkouts.tllib("modules.grl").GradientReverseFunction

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the inputs."""
        reversed_: Tensor = self.function.apply(inputs, REVERSAL)
        return reversed_


def dann(checkouts: Checkouts) -> Result:
    source, target, *_ = _domains()
    module = checkouts.tllib("alignment.dann")
    loss = module.DomainAdversarialLoss(_discriminator(FEATURES), grl=Reversed(checkouts))
    ones = torch.ones(SAMPLES, 1, dtype=torch.float64)
    with patch("torch.ones", lambda *a, **k: ones), patch("torch.zeros", lambda *a, **k: 0 * ones):
        return result(loss(source, target), [source, target])


def adda(checkouts: Checkouts) -> Result:
    source, target, *_ = _domains()
    network, loss = _discriminator(FEATURES), checkouts.tllib("alignment.adda")
    compare = loss.DomainAdversarialLoss()
    adversary = compare(network(source.detach()), "source")
    adversary = 0.5 * (adversary + compare(network(target.detach()), "target"))
    mapping = 0.5 * compare(network(target), "source")
    (at_target,) = torch.autograd.grad(mapping, target, retain_graph=True)
    others = result(adversary, list(network.parameters()))
    return [others[0] + mapping.item(), *numbers_of(at_target), *others[1:]]


def cdan(checkouts: Checkouts, randomized: bool = False) -> Result:
    source, target, one, other = _domains()
    kind = checkouts.tllib("alignment.cdan").ConditionalDomainAdversarialLoss
    if randomized:
        sizes = {"features_dim": FEATURES, "num_classes": CLASSES, "randomized_dim": RANDOM}
        with patch("torch.randn", projection):
            loss = kind(_discriminator(RANDOM), randomized=True, **sizes)
    else:
        loss = kind(_discriminator(FEATURES * CLASSES))
    loss.grl = Reversed(checkouts)
    ones = torch.ones(SAMPLES, 1, dtype=torch.float64)
    with patch("torch.ones", lambda *a, **k: ones), patch("torch.zeros", lambda *a, **k: 0 * ones):
        return result(loss(one, source, other, target), [source, target])


def cdan_entropy(checkouts: Checkouts) -> Result:
    source, target, one, other = _domains()
    module = checkouts.load(CDAN_CODE, "pytorch/loss.py")
    chances = torch.cat([one, other]).softmax(1)
    features = torch.cat([source, target])
    reverse = Reversed(checkouts)
    # As their network, the discriminator reverses the gradient of its input.
    network = _discriminator(FEATURES * CLASSES)
    with (
        patch.object(torch.Tensor, "cuda", lambda self: self),
        patch.object(torch.Tensor, "float", lambda self: self.double()),
    ):
        loss = module.CDAN(
            [features, chances],
            lambda h: network(reverse(h)),
            module.Entropy(chances),
            REVERSAL,
        )
    return result(loss, [source, target])


def dan(checkouts: Checkouts, linear: bool = False) -> Result:
    source, target, *_ = _domains()
    kernel = checkouts.tllib("modules.kernels").GaussianKernel
    kind = checkouts.tllib("alignment.dan").MultipleKernelMaximumMeanDiscrepancy
    loss = kind([kernel(alpha=2.0**k) for k in range(-3, 2)], linear=linear)(source, target)
    # They add a constant so that the loss is positive.
    return result(loss - 2 / (SAMPLES - 1), [source, target])


def jan(checkouts: Checkouts) -> Result:
    source, target, one, other = _domains()
    kernel = checkouts.tllib("modules.kernels").GaussianKernel
    kind = checkouts.tllib("alignment.jan").JointMultipleKernelMaximumMeanDiscrepancy
    layers = (
        [kernel(alpha=2.0**k) for k in range(-3, 2)],
        [kernel(sigma=0.92, track_running_stats=False)],
    )
    module = kind(layers, linear=False)
    ones = torch.ones_like
    with patch("torch.ones_like", lambda t, **k: ones(t, dtype=torch.float64)):
        loss = module((source, one.softmax(1)), (target, other.softmax(1)))
    return result(loss - 2 / (SAMPLES - 1), [source, target])


def coral(checkouts: Checkouts) -> Result:
    source, target, *_ = _domains()
    module = checkouts.tllib("alignment.coral")
    means = (source.mean(0) - target.mean(0)).square().mean()
    loss = (module.CorrelationAlignmentLoss()(source, target) - means) / 4
    return result(loss, [source, target])


def mcd(checkouts: Checkouts) -> Result:
    head, second = head_of(), nn.Linear(FEATURES, CLASSES).double()
    set_parameters(second)
    _, target = leaves(2, FEATURES)
    module = checkouts.tllib("alignment.mcd")
    first = head(target).logits.softmax(1)
    loss = -module.classifier_discrepancy(first, second(target).softmax(1))
    return result(loss, [*head.classifier.parameters(), *second.parameters()])


def mdd(checkouts: Checkouts) -> Result:
    source, target, one, other = _domains()
    network = nn.Sequential(nn.Linear(FEATURES, 5), nn.ReLU(), nn.Linear(5, CLASSES)).double()
    set_parameters(network)
    kind = checkouts.tllib("alignment.mdd").ClassificationMarginDisparityDiscrepancy
    loss = -kind(4.0)(one, network(source), other, network(target))
    return result(loss, list(network.parameters()))


def mcc(checkouts: Checkouts) -> Result:
    (logits,) = leaves(1)
    kind = checkouts.tllib("self_training.mcc").MinimumClassConfusionLoss
    return result(kind(2.5)(logits), [logits])


def afn(checkouts: Checkouts) -> Result:
    source, target, *_ = _domains()
    module = checkouts.tllib("normalization.afn").AdaptiveFeatureNorm(1.0)
    return result(module(source) + module(target), [source, target])


def hafn(checkouts: Checkouts) -> Result:
    source, target, *_ = _domains()
    settings = types.SimpleNamespace(radius=RADIUS, weight_L2norm=1.0)
    loss = checkouts.function(AFN_CODE, HAFN, "get_L2norm_loss_self_driven", args=settings)
    return result(loss(source) + loss(target), [source, target])


def bnm(checkouts: Checkouts) -> Result:
    (logits,) = leaves(1)
    module = checkouts.load(ADAPT, "src/pytorch_adapt/layers/bnm_loss.py")
    return result(module.BNMLoss()(logits), [logits])


def validator_entropy(checkouts: Checkouts) -> Result:
    module = checkouts.load(TORCHSSL, "models/vat/vat_utils.py")
    return [-module.entropy_loss(values(SAMPLES, CLASSES, seed=3)).item()]


def validator_information(checkouts: Checkouts) -> Result:
    module = checkouts.load(TORCHSSL, "models/vat/vat_utils.py")
    logits = values(SAMPLES, CLASSES, seed=3)
    mean = logits.softmax(1).mean(0, keepdim=True).log()
    return [(module.entropy_loss(mean) - module.entropy_loss(logits)).item()]


def validator_norm(checkouts: Checkouts) -> Result:
    module = checkouts.load(ADAPT, "src/pytorch_adapt/layers/bnm_loss.py")
    norm = -module.BNMLoss()(values(SAMPLES, CLASSES, seed=3)) * SAMPLES
    return [norm.item() / (CLASSES * SAMPLES) ** 0.5]


def validator_dev(checkouts: Checkouts) -> Result:
    module = checkouts.load(DEV_CODE, "dev.py")
    weights = values(SAMPLES, seed=5).exp().numpy()[:, None]
    losses = (values(SAMPLES, seed=6) > 0).double().numpy()[:, None]
    return [float(module.get_dev_risk(weights, losses))]


def validator_weights(checkouts: Checkouts) -> Result:
    module = checkouts.load(DEV_CODE, "dev.py")
    source, target = domain_features()

    class Classifier(Blank):
        def fit(self, features: Any, domains: Any) -> None:
            pass

        def predict(self, features: Any) -> Any:
            return features[:, 0] < 0

        def predict_proba(self, features: Any) -> Any:
            of_source = 1 / (1 + np.exp(features[:, 0]))  # their class 1
            return np.stack([1 - of_source, of_source], axis=1)

    with patch.object(module, "MLPClassifier", Classifier), contextlib.redirect_stdout(None):
        weights = module.get_weight(source, target, source)
    return [float(weight) for weight in weights[:, 0]]


def validator_iwcv(checkouts: Checkouts) -> Result:
    kind = checkouts.package(SKADA, "skada.metrics").ImportanceWeightedScorer
    log_weights, losses = values(SAMPLES, seed=5).numpy(), values(SAMPLES, seed=6).numpy() > 0
    densities = iter([0 * log_weights, log_weights])  # of the source, of the target

    class Density(BaseEstimator):  # type: ignore[misc]
        def fit(self, features: Any) -> None:
            self.logarithms = next(densities)

        def score_samples(self, features: Any) -> Any:
            return self.logarithms

    class Model(BaseEstimator):  # type: ignore[misc]
        def fit(self, features: Any, labels: Any) -> None:
            pass

        def score(self, x: Any, y: Any, sample_weight: Any = None, **options: Any) -> float:
            return float(np.average(~losses, weights=sample_weight))

    rows = np.arange(2.0 * SAMPLES)[:, None]
    domains = np.repeat([1, -2], SAMPLES)
    labels = np.where(domains > 0, rows[:, 0] % CLASSES, -1).astype(int)
    with config_context(enable_metadata_routing=True):
        model = Model().set_score_request(sample_weight=True)
        accuracy = kind(weight_estimator=Density())(model, rows, labels, sample_domain=domains)
    return [1 - accuracy]


def validator_snd(checkouts: Checkouts) -> Result:
    module = checkouts.package(ADAPT, "pytorch_adapt.validators.snd_validator", "src")
    assignments = values(SAMPLES, CLASSES, seed=3).softmax(1)
    return [module.SNDValidator(layer="preds")(target_train={"preds": assignments})]


def validator_snd_authors(checkouts: Checkouts) -> Result:
    logits = values(SAMPLES, CLASSES, seed=3)

    class Once:
        def next(self) -> tuple[Tensor, Tensor]:
            return logits, torch.zeros(SAMPLES)

        __next__ = next

        def __iter__(self) -> Once:
            return self

        def __len__(self) -> int:
            return 1

    module = checkouts.package(SND_CODE, "main_cdan", "cdan")
    with patch.object(torch.Tensor, "cuda", lambda self: self):
        found = module.image_classification_test({"test": Once()}, lambda x: (x, x))
    return [found[1].item()]


def validator_accuracy(checkouts: Checkouts) -> Result:
    module = checkouts.package(ADAPT, "pytorch_adapt.validators.accuracy_validator", "src")
    validator = module.AccuracyValidator(
        torchmetric_kwargs={"task": "multiclass", "num_classes": CLASSES}
    )
    assignments = values(SAMPLES, CLASSES, seed=3).softmax(1)
    known = {"preds": assignments, "labels": (torch.arange(SAMPLES) + 2) % CLASSES}
    return [validator(src_val=known)]


def validator_clustering(checkouts: Checkouts) -> Result:
    loss = checkouts.load(SUPERCM, "lib/algs/cm_loss.py").CM_loss(CLASSES, alpha=1.2)
    features, centroids = values(SAMPLES, FEATURES, seed=3), values(CLASSES, FEATURES, seed=4)
    assignments = values(SAMPLES, CLASSES, seed=3).softmax(1)
    return [-loss((features, None, assignments, assignments @ centroids, centroids)).item()]


@dataclass(frozen=True)
class Reference:
    """A call of reference code, where the code is, and what differs on purpose."""

    run: Callable[[Checkouts], Result]
    repository: str
    file: str
    deviation: str = ""

    def about(self, checkouts: Checkouts) -> dict[str, str]:
        """Return what identifies the reference."""
        return {
            "repository": self.repository,
            "commit": checkouts.commit(self.repository),
            "file": self.file,
            "deviation": self.deviation,
        }


_LATER = "the reference stops the gradient at one view; ours flows through both"
_CONSTANT = (
    "without the constant 2 / (n - 1); bandwidths from pairs of distinct samples; sums in float32 "
    "there"
)
REFERENCES = {
    "PiModel": Reference(pi_model, REALISTIC, "lib/algs/pimodel.py", _LATER),
    "PseudoLabel": Reference(
        pseudo_label, USB, CRITERIA, "the reference includes a confidence equal to the threshold"
    ),
    "MeanTeacher": Reference(mean_teacher, TEACHER, "pytorch/mean_teacher/losses.py"),
    "VAT": Reference(vat, TORCHSSL, "models/vat/vat_utils.py"),
    "EntropyMinimization": Reference(entropy, TORCHSSL, "models/vat/vat_utils.py"),
    "ICT": Reference(
        ict, ICT_CODE, "mean_teacher/losses.py", "the reference mixes the teacher's logits"
    ),
    "MixMatch": Reference(
        mixmatch, USB, "semilearn/algorithms/utils/ops.py", "one share for all samples there"
    ),
    "UDA": Reference(uda, TORCHSSL, "models/uda/uda_utils.py"),
    "FixMatch": Reference(fixmatch, USB, CRITERIA),
    "FlexMatch": Reference(flexmatch, USB, "semilearn/algorithms/flexmatch/utils.py"),
    "FreeMatch": Reference(
        freematch,
        USB,
        "semilearn/algorithms/freematch/freematch.py",
        "1e-12 inside the logarithm there: where no sample of a class is used, the value differs, "
        "and the gradient does not",
    ),
    "SoftMatch": Reference(softmatch, USB, "semilearn/algorithms/softmatch/utils.py"),
    "AdaMatch": Reference(
        adamatch,
        USB,
        "semilearn/algorithms/adamatch/utils.py",
        "two views and interpolated logits as in the authors' code; the reference has one view, "
        "and averages the unlabeled mean over all steps",
    ),
    "DANN": Reference(dann, TLLIB, "tllib/alignment/dann.py"),
    "ADDA": Reference(adda, TLLIB, "tllib/alignment/adda.py"),
    "CDAN": Reference(cdan, TLLIB, "tllib/alignment/cdan.py"),
    "CDAN, randomized": Reference(
        lambda checkouts: cdan(checkouts, randomized=True), TLLIB, "tllib/alignment/cdan.py"
    ),
    "CDAN+E": Reference(cdan_entropy, CDAN_CODE, "pytorch/loss.py", "entropy plus 1e-5 there"),
    "DAN": Reference(dan, TLLIB, "tllib/alignment/dan.py", _CONSTANT),
    "DAN, linear": Reference(
        lambda checkouts: dan(checkouts, linear=True), TLLIB, "tllib/alignment/dan.py", _CONSTANT
    ),
    "JAN": Reference(jan, TLLIB, "tllib/alignment/jan.py", _CONSTANT),
    "DeepCORAL": Reference(
        coral,
        TLLIB,
        "tllib/alignment/coral.py",
        "the reference is 4 times ours plus the squared difference of means",
    ),
    "MCD": Reference(mcd, TLLIB, "tllib/alignment/mcd.py"),
    "MDD": Reference(
        mdd, TLLIB, "tllib/alignment/mdd.py", "the reference adds 1e-6 inside the logarithm"
    ),
    "MCC": Reference(mcc, TLLIB, "tllib/self_training/mcc.py"),
    "AFN": Reference(afn, TLLIB, "tllib/normalization/afn.py"),
    "AFN, hard": Reference(hafn, AFN_CODE, HAFN),
    "BNM": Reference(bnm, ADAPT, "src/pytorch_adapt/layers/bnm_loss.py"),
    "validator Entropy": Reference(validator_entropy, TORCHSSL, "models/vat/vat_utils.py"),
    "validator InformationMaximization": Reference(
        validator_information, TORCHSSL, "models/vat/vat_utils.py"
    ),
    "validator BatchNuclearNorm": Reference(
        validator_norm, ADAPT, "src/pytorch_adapt/layers/bnm_loss.py", "divided by its bound"
    ),
    "validator DEV": Reference(validator_dev, DEV_CODE, "dev.py", "negated: larger is better"),
    "validator DEV, weights": Reference(
        validator_weights,
        DEV_CODE,
        "dev.py",
        "given the odds of the domain classifier, which is a multilayer perceptron there",
    ),
    "validator IWCV": Reference(
        validator_iwcv,
        SKADA,
        "skada/metrics.py",
        "given the weights, which the reference divides by their sum; an accuracy there",
    ),
    "validator SND": Reference(
        validator_snd, ADAPT, "src/pytorch_adapt/validators/snd_validator.py"
    ),
    "validator SND, authors": Reference(
        validator_snd_authors,
        SND_CODE,
        "cdan/main_cdan.py",
        "1e-5 inside the logarithm there, and a sample has similarity -1 to itself",
    ),
    "validator SourceAccuracy": Reference(
        validator_accuracy, ADAPT, "src/pytorch_adapt/validators/accuracy_validator.py"
    ),
    "validator TargetClusteringLoss": Reference(
        validator_clustering, SUPERCM, "lib/algs/cm_loss.py", "negated: larger is better"
    ),
}
