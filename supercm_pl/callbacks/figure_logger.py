"""Figures of the validation data, written to the logger during training."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

import lightning.pytorch as L
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from supercm_pl.checks import check_choice
from supercm_pl.viz import classification, domain_shift
from supercm_pl.viz.axes import new_figure
from supercm_pl.viz.embedding import Embedding, plot_embeddings
from supercm_pl.viz.projection import Projection
from supercm_pl.viz.sampling import ValidationSampler, ValidationSamples

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Picture = Literal["embedding", "confusion", "confidence", "reliability", "domains"]

_Part = TypeVar("_Part")

# The distance is meaningless with fewer samples per domain.
_FEWEST_ROWS = 10


class FigureLogger(ValidationSampler):
    """Writes figures of the validation data to the logger.

    Figures become images in TensorBoard, media in Weights & Biases, and artifacts in MLflow. Other
    loggers with a folder, such as ``CSVLogger``, store files. Artifacts and files have names such
    as ``figures/step_00000600/embedding.png``. Figures whose data are missing are omitted.

    - ``embedding``: features and centroids, by class, by assignment, and by domain.
    - ``confusion``: confusion matrix of all validation data, per labeled domain.
    - ``confidence``: distribution of the confidence of correct and wrong assignments.
    - ``reliability``: accuracy over confidence.
    - ``domains``: proxy A-distance and per-class accuracy, in domain adaptation.

    The callback does not change training. To add figures, override :meth:`draw`.

    Args:
        every_n_epochs: Epochs between figures, 1 or more.
        figures: Figures to write.
        max_samples: Plotted samples of all validation data together, 2 or more.
        projection: As in :func:`~supercm_pl.viz.project`. For 500 samples, t-SNE and UMAP take
            about one second; UMAP's first call compiles for about 15 seconds.

    Raises:
        TypeError: When training starts, if the module has no clustering head.
    """

    def __init__(
        self,
        every_n_epochs: int = 1,
        figures: Sequence[Picture] = get_args(Picture),
        max_samples: int = 500,
        projection: Projection = "auto",
    ) -> None:
        super().__init__(every_n_epochs, max_samples, max_mistakes=0)
        unknown = [name for name in figures if name not in get_args(Picture)]
        if isinstance(figures, str) or unknown or not figures:
            raise ValueError(
                f"figures must be a list of one or more of {', '.join(get_args(Picture))}, "
                f"got {figures!r}"
            )
        check_choice("projection", projection, get_args(Projection))
        self.figures = tuple(figures)
        self.projection = projection

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Check that there are a logger and matplotlib."""
        super().setup(trainer, pl_module, stage)
        new_figure(1.0, 1.0)
        if stage == "fit" and not trainer.loggers:
            rank_zero_warn("FigureLogger writes nothing, because the trainer has no logger")

    def use(self, trainer: L.Trainer, samples: ValidationSamples) -> None:
        """Draw the figures and write them to every logger."""
        if not trainer.loggers:
            return
        for name, figure in self.draw(samples).items():
            for logger in trainer.loggers:
                _write(logger, name, figure, trainer.global_step)

    def draw(self, samples: ValidationSamples) -> dict[str, Figure]:
        """Return the figures that the samples allow, by name."""
        makers: dict[Picture, Callable[[ValidationSamples], Figure | None]] = {
            "embedding": self._embedding,
            "confusion": _confusion,
            "confidence": _confidence,
            "reliability": _reliability,
            "domains": _domains,
        }
        drawn = {name: makers[name](samples) for name in self.figures}
        return {name: figure for name, figure in drawn.items() if figure is not None}

    def _embedding(self, samples: ValidationSamples) -> Figure | None:
        if len(samples.features) < 2:
            return None
        features, centroids, names = samples.features, samples.centroids, samples.classes
        predicted = samples.assignments.argmax(dim=1)
        panels = {
            "by class": Embedding(features, samples.labels, centroids, names),
            "by assignment": Embedding(features, predicted, centroids, names),
        }
        if samples.has_domains:
            panels["by domain"] = Embedding(
                features, samples.domains, centroids, samples.domain_names, False
            )
        return plot_embeddings(panels, projection=self.projection)


def _confusion(samples: ValidationSamples) -> Figure | None:
    parts = zip(samples.domain_names, samples.confusion, strict=True)

    def draw(name: str, counts: Tensor, ax: Axes) -> None:
        classification.draw_confusion(
            counts, names=samples.classes, title=f"{name} (% of class)", ax=ax
        )

    return _side_by_side([part for part in parts if int(part[1].sum())], draw, 5.0, 5.0)


def _confidence(samples: ValidationSamples) -> Figure | None:
    def draw(name: str, part: tuple[Tensor, Tensor | None], ax: Axes) -> None:
        classification.plot_confidence(*part, title=f"{name}: assignment confidence", ax=ax)

    return _side_by_side(_by_domain(samples).items(), draw, 4.2, 3.2)


def _reliability(samples: ValidationSamples) -> Figure | None:
    def draw(name: str, part: tuple[Tensor, Tensor], ax: Axes) -> None:
        title = f"{name}: calibration error {float(classification.reliability(*part).error):.3f}"
        classification.plot_reliability(*part, title=title, ax=ax)

    return _side_by_side(_labeled(samples).items(), draw, 4.2, 4.0)


def _domains(samples: ValidationSamples) -> Figure | None:
    first, second = (samples.features[samples.domains == number] for number in (0, 1))
    if min(len(first), len(second)) < _FEWEST_ROWS:
        return None
    figure = new_figure(9.0, 3.6)
    left, right = figure.subplots(1, 2, width_ratios=[1, 3])
    between = " – ".join(samples.domain_names[:2])
    domain_shift.plot_a_distance(
        {between: domain_shift.proxy_a_distance(first, second)}, title="domains", ax=left
    )
    accuracies = {
        name: domain_shift.class_accuracy(*part) for name, part in _labeled(samples).items()
    }
    if accuracies:
        domain_shift.plot_class_accuracy(accuracies, names=samples.classes, ax=right)
    else:
        right.set_axis_off()
    return figure


def _labeled(samples: ValidationSamples) -> dict[str, tuple[Tensor, Tensor]]:
    parts = _by_domain(samples).items()
    return {name: (part, labels) for name, (part, labels) in parts if labels is not None}


def _by_domain(samples: ValidationSamples) -> dict[str, tuple[Tensor, Tensor | None]]:
    """Return the assignments of each domain, and its labels if all are known."""
    found = {}
    for number, name in enumerate(samples.domain_names):
        rows = samples.domains == number
        labels = samples.labels[rows]
        if len(labels):
            known = bool((labels >= 0).all())
            found[name] = (samples.assignments[rows], labels if known else None)
    return found


def _side_by_side(
    parts: Collection[tuple[str, _Part]],
    draw: Callable[[str, _Part, Axes], None],
    width: float,
    height: float,
) -> Figure | None:
    if not parts:
        return None
    figure = new_figure(width * len(parts), height)
    for place, (name, part) in enumerate(parts, start=1):
        draw(name, part, figure.add_subplot(1, len(parts), place))
    return figure


def _write(logger: Any, name: str, figure: Figure, step: int) -> None:
    experiment: Any = getattr(logger, "experiment", None)
    file = Path("figures", f"step_{step:08d}", f"{name}.png")
    if hasattr(logger, "log_image"):
        logger.log_image(key=f"figures/{name}", images=[_image(figure)], step=step)
    elif hasattr(experiment, "add_figure"):
        # Not registered with pyplot, so the garbage collector frees it.
        experiment.add_figure(f"figures/{name}", figure, global_step=step, close=False)
    elif hasattr(experiment, "log_figure") and hasattr(logger, "run_id"):  # MLflow
        experiment.log_figure(logger.run_id, figure, file.as_posix())
    elif logger.log_dir is not None:
        path = Path(logger.log_dir) / file
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=100)
    else:
        rank_zero_warn(f"FigureLogger cannot write to {type(logger).__name__}")


def _image(figure: Figure) -> Any:
    from PIL import Image

    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    return Image.open(file)
