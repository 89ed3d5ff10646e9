"""Lightning callbacks."""

from supercm_pl.callbacks.calibration import Calibration
from supercm_pl.callbacks.figure_logger import FigureLogger
from supercm_pl.callbacks.non_finite import NonFiniteLoss, NonFiniteLossError
from supercm_pl.callbacks.prediction_csv import PredictionCSV
from supercm_pl.callbacks.report_recorder import ReportRecorder
from supercm_pl.callbacks.save_last_step import SaveLastStep
from supercm_pl.callbacks.save_on_signal import SaveOnSignal
from supercm_pl.options import suggest_arguments

suggest_arguments(FigureLogger, NonFiniteLoss, PredictionCSV, ReportRecorder)

__all__ = [
    "Calibration",
    "FigureLogger",
    "NonFiniteLoss",
    "NonFiniteLossError",
    "PredictionCSV",
    "ReportRecorder",
    "SaveLastStep",
    "SaveOnSignal",
]
