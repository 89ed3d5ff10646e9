"""The report that ``supercm fit`` ends with."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import lightning.pytorch as L
from lightning.pytorch.utilities import rank_zero_warn

from supercm_pl.data.datamodule import SuperCMDataModule
from supercm_pl.report.snapshot import Array
from supercm_pl.training.network import ClusteringNetwork

_MOST = 2_000  # samples of a part
_SECONDS = 1.0  # for the samples of a part


class FinalReport(NamedTuple):
    """How a run ended.

    Attributes:
        page: The path of the page, or what to install; ``None`` if there is none.
        others: Test accuracy of simple classifiers by name, on the same labels.
        note: A sentence if one of them is as good as the model, without the network's features.
    """

    page: str | None = None
    others: Mapping[str, float] = MappingProxyType({})
    note: str = ""


def write_final_report(trainer: L.Trainer, data: Any, step: int, epoch: int) -> FinalReport:
    """Evaluate the model of a trainer and write ``report.html`` to the logger's folder.

    It adds about a second: large parts are sampled, and ``supercm report`` reads more of them.
    Nothing is written if the run has no folder, or its parts are those of other libraries.
    """
    module, folder = trainer.lightning_module, trainer.log_dir if trainer.loggers else None
    if not isinstance(module, ClusteringNetwork) or not isinstance(data, SuperCMDataModule):
        return FinalReport()
    if folder is None or not trainer.is_global_zero or not Path(folder).is_dir():
        return FinalReport()
    from supercm_pl.cli.commands.report import write_page
    from supercm_pl.report.evaluation import save_evaluation
    from supercm_pl.report.runs import read_run

    device = module.device
    try:
        module.to(trainer.strategy.root_device)
        found = save_evaluation(
            folder, module, data, step=step, epoch=epoch, most=_MOST, seconds=_SECONDS
        )
        others = dict(zip(found.baselines.tolist(), found.baseline_accuracy.tolist(), strict=True))
        note = _comparison(found.confusion[-1], others)
        if importlib.util.find_spec("plotly") is None:
            install = "pip install 'supercm-pl[report]' && supercm report " + str(folder)
            return FinalReport(install, others, note)
        page = Path(folder) / "report.html"
        write_page([read_run(folder)], page)
        return FinalReport(str(page), others, note)
    except Exception as error:  # a run is not lost for its report
        logging.getLogger(__name__).debug("no report", exc_info=True)
        rank_zero_warn(f"the report could not be written: {error}")
        return FinalReport()
    finally:
        module.to(device)


def _comparison(confusion: Array, others: Mapping[str, float]) -> str:
    simple = {name: score for name, score in others.items() if not name.endswith("features")}
    best = max(simple, key=lambda name: simple[name], default="")
    accuracy = confusion.trace() / max(confusion.sum(), 1)
    if not best or simple[best] < accuracy:
        return ""
    return (
        f"A simple classifier is as good or better: {best} is right on {simple[best]:.1%} of the "
        f"test samples, this model on {accuracy:.1%}."
    )
