"""The report that ``supercm fit`` ends with."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.utilities import rank_zero_warn

from supercm_pl.data.datamodule import SuperCMDataModule
from supercm_pl.training.network import ClusteringNetwork

_MOST = 2_000  # samples of a part
_SECONDS = 1.0  # for the samples of a part


def write_final_report(trainer: L.Trainer, data: Any, step: int, epoch: int) -> str | None:
    """Evaluate the model of a trainer and write ``report.html`` to the logger's folder.

    It adds about a second: large parts are sampled, and ``supercm report`` reads more of them.
    Returns the path of the page, or what to install; ``None`` if the run has no folder or its parts
    are those of other libraries.
    """
    module, folder = trainer.lightning_module, trainer.log_dir if trainer.loggers else None
    if not isinstance(module, ClusteringNetwork) or not isinstance(data, SuperCMDataModule):
        return None
    if folder is None or not trainer.is_global_zero or not Path(folder).is_dir():
        return None
    from supercm_pl.cli.commands.report import write_page
    from supercm_pl.report.evaluation import save_evaluation
    from supercm_pl.report.runs import read_run

    device = module.device
    try:
        module.to(trainer.strategy.root_device)
        save_evaluation(folder, module, data, step=step, epoch=epoch, most=_MOST, seconds=_SECONDS)
        if importlib.util.find_spec("plotly") is None:
            return "pip install 'supercm-pl[report]' && supercm report " + str(folder)
        page = Path(folder) / "report.html"
        write_page([read_run(folder)], page)
        return str(page)
    except Exception as error:  # a run is not lost for its report
        logging.getLogger(__name__).debug("no report", exc_info=True)
        rank_zero_warn(f"the report could not be written: {error}")
        return None
    finally:
        module.to(device)
