"""Pictures of the validation data, written to the logger while the model trains."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import lightning.pytorch as L
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from supercm_pl.checks import check_choice
from supercm_pl.viz.axes import new_figure
from supercm_pl.viz.classification import (
    draw_confusion,
    plot_confidence,
    plot_reliability,
    reliability,
)
from supercm_pl.viz.domains import (
    class_accuracy,
    plot_a_distance,
    plot_class_accuracy,
    proxy_a_distance,
)
from supercm_pl.viz.embedding import Embedding, plot_embeddings
from supercm_pl.viz.projection import Projection
from supercm_pl.viz.sampling import ValidationSampler, ValidationSamples

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Picture = Literal["embedding", "confusion", "confidence", "reliability", "domains"]

# Fewer rows of a domain than this say nothing about its distance.
_FEWEST_ROWS = 10


class FigureLogger(ValidationSampler):
    """Writes pictures of the validation data to the logger.

    To TensorBoard's images, to Weights & Biases' media, to the artifacts of MLflow, and for a
    logger that has a folder and no images, such as ``CSVLogger``, to it; the last two name them
    ``figures/step_00000600/embedding.png``. A picture that the data don't allow, such as a
    confusion matrix without labels, is left out.

    - ``embedding``: features with centroids, by class, by assignment, and in domain adaptation by
      domain.
    - ``confusion``: the confusion matrix of all validation data, of each domain with labels.
    - ``confidence``: how sure the assignments are, right and wrong ones.
    - ``reliability``: accuracy over confidence.
    - ``domains``: proxy A-distance and accuracy of each class in each domain with labels; in domain
      adaptation alone.

    Training is the same with and without it. A subclass that overrides :meth:`draw` can add
    pictures of its own.

    Args:
        every_n_epochs: Epochs from one time to the next, 1 or more.
        figures: Which pictures.
        max_samples: Samples that are drawn, of all validation data together, 2 or more.
        projection: As in :func:`~supercm_pl.viz.plot_embedding`; for 500 samples t-SNE and UMAP
            take about a second, UMAP some 15 more for its compiler the first time.

    Raises:
        ValueError: If an argument is out of range.
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
        """See whether there is a logger to write to, and matplotlib to draw with."""
        super().setup(trainer, pl_module, stage)
        new_figure(1.0, 1.0)
        if stage == "fit" and not trainer.loggers:
            rank_zero_warn("FigureLogger has nowhere to write: the trainer has no logger")

    def use(self, trainer: L.Trainer, samples: ValidationSamples) -> None:
        """Draw, and write to every logger."""
        if not trainer.loggers:
            return
        for name, figure in self.draw(samples).items():
            for logger in trainer.loggers:
                _write(logger, name, figure, trainer.global_step)

    def draw(self, samples: ValidationSamples) -> dict[str, Figure]:
        """The pictures that the samples allow, by name."""
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
        panels = {
            "by class": Embedding(features, samples.labels, centroids, names),
            "by assignment": Embedding(
                features, samples.assignments.argmax(dim=1), centroids, names
            ),
        }
        if samples.has_domains:
            panels["by domain"] = Embedding(
                features, samples.domains, centroids, samples.domain_names, False
            )
        return plot_embeddings(panels, projection=self.projection)


def _confusion(samples: ValidationSamples) -> Figure | None:
    known = [number for number, counts in enumerate(samples.confusion) if int(counts.sum())]
    if not known:
        return None
    figure = new_figure(5.0 * len(known), 5.0)
    for place, number in enumerate(known, start=1):
        title = f"{samples.domain_names[number]} (% of class)"
        ax = figure.add_subplot(1, len(known), place)
        draw_confusion(samples.confusion[number], names=samples.classes, title=title, ax=ax)
    return figure


def _by_domain(samples: ValidationSamples) -> dict[str, tuple[Tensor, Tensor | None]]:
    # Assignments, and labels where all are known.
    found = {}
    for number, name in enumerate(samples.domain_names):
        rows = samples.domains == number
        labels = samples.labels[rows]
        if len(labels):
            known = bool((labels >= 0).all())
            found[name] = (samples.assignments[rows], labels if known else None)
    return found


def _confidence(samples: ValidationSamples) -> Figure | None:
    parts = _by_domain(samples)
    figure = new_figure(4.2 * len(parts), 3.2)
    for place, (name, (assignments, labels)) in enumerate(parts.items(), start=1):
        ax = figure.add_subplot(1, len(parts), place)
        plot_confidence(assignments, labels, title=f"{name}: assignment confidence", ax=ax)
    return figure


def _reliability(samples: ValidationSamples) -> Figure | None:
    parts = _labeled(samples)
    if not parts:
        return None
    figure = new_figure(4.2 * len(parts), 4.0)
    for place, (name, (assignments, labels)) in enumerate(parts.items(), start=1):
        error = float(reliability(assignments, labels).error)
        title = f"{name}: calibration error {error:.3f}"
        ax = figure.add_subplot(1, len(parts), place)
        plot_reliability(assignments, labels, title=title, ax=ax)
    return figure


def _domains(samples: ValidationSamples) -> Figure | None:
    first, second = (samples.features[samples.domains == number] for number in (0, 1))
    if min(len(first), len(second)) < _FEWEST_ROWS:
        return None
    figure = new_figure(9.0, 3.6)
    left, right = figure.subplots(1, 2, width_ratios=[1, 3])
    between = " – ".join(samples.domain_names[:2])
    plot_a_distance({between: proxy_a_distance(first, second)}, title="domains", ax=left)
    accuracies = {name: class_accuracy(*part) for name, part in _labeled(samples).items()}
    if accuracies:
        plot_class_accuracy(accuracies, names=samples.classes, ax=right)
    else:
        right.set_axis_off()
    return figure


def _labeled(samples: ValidationSamples) -> dict[str, tuple[Tensor, Tensor]]:
    parts = _by_domain(samples).items()
    return {name: (part, labels) for name, (part, labels) in parts if labels is not None}


def _write(logger: Any, name: str, figure: Figure, step: int) -> None:
    experiment: Any = getattr(logger, "experiment", None)
    file = Path("figures", f"step_{step:08d}", f"{name}.png")
    if hasattr(logger, "log_image"):
        logger.log_image(key=f"figures/{name}", images=[_image(figure)], step=step)
    elif hasattr(experiment, "add_figure"):
        # Closed by nobody but the garbage collector: pyplot does not know it.
        experiment.add_figure(f"figures/{name}", figure, global_step=step, close=False)
    elif hasattr(experiment, "log_figure") and hasattr(logger, "run_id"):  # MLflow
        experiment.log_figure(logger.run_id, figure, file.as_posix())
    elif logger.log_dir is not None:
        path = Path(logger.log_dir) / file
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=100)
    else:
        rank_zero_warn(f"FigureLogger can't write to {type(logger).__name__}")


def _image(figure: Figure) -> Any:
    from PIL import Image

    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    return Image.open(file)
