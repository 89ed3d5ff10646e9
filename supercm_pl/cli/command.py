"""The Lightning commands: ``fit``, which ends with a test, ``validate``, ``test``, ``predict``."""

from __future__ import annotations

import logging
import shlex
import signal
import sys
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException

# `--help` lists the classes that are imported.
from supercm_pl import SSLDataModule, SSLModule, UDADataModule, UDAModule  # noqa: F401
from supercm_pl._lightning import claim_folders, end_launched_processes
from supercm_pl.callbacks.non_finite import NonFiniteLoss, last_checkpoint
from supercm_pl.callbacks.prediction_csv import PredictionCSV
from supercm_pl.callbacks.save_last_step import SaveLastStep
from supercm_pl.callbacks.save_on_signal import SaveOnSignal
from supercm_pl.checkpoints.building import build_module, hyperparameters_of, known_arguments
from supercm_pl.checkpoints.data_state import DATA_OPTIONS
from supercm_pl.checkpoints.files import OwnFilesOnly, read_checkpoint, use_atomic_checkpoints
from supercm_pl.checkpoints.trust import named_in, trusted_names
from supercm_pl.checks import check_optional, check_size
from supercm_pl.cli.arguments import without_option
from supercm_pl.cli.console import ModelLine, closing_table, progress_bar, short_path
from supercm_pl.cli.cpu_load import CPULoad
from supercm_pl.cli.errors.early import checkpoint_mistake
from supercm_pl.cli.final_report import FinalReport, write_final_report
from supercm_pl.cli.parser import SuperCMArgumentParser
from supercm_pl.cli.resume import Difference, differences, is_typed
from supercm_pl.cli.save_run import SaveRun
from supercm_pl.cli.threads import Threads
from supercm_pl.training.module import SuperCMModule


class SuperCMCLI(LightningCLI):
    """The commands ``fit``, ``validate``, ``test`` and ``predict`` for any model and data.

    ``model.num_classes`` defaults to the number of classes of the data, if known. ``started``, by
    ``time.monotonic()``, and ``load`` are those of the start of the command; ``None`` means now.
    """

    def __init__(self, started: float | None = None, load: CPULoad | None = None) -> None:
        self.started = time.monotonic() if started is None else started
        self.load = load or CPULoad()
        _silence_tips()
        options = {"exit_on_error": False, "allow_abbrev": False}
        super().__init__(
            SuperCMModule,
            L.LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=SaveRun,
            save_config_kwargs={"overwrite": True},
            seed_everything_default=0,
            # The optimizer is set by `model.optimizer` only, so that checkpoints contain it.
            auto_configure_optimizers=False,
            parser_class=SuperCMArgumentParser,
            parser_kwargs={**options, **{name: dict(options) for name in self.subcommands()}},
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options of this package's commands."""
        add = parser.add_argument
        add("--output", type=str, default="predictions.csv", help="CSV file written by predict.")
        least = "Leave the class of less probable predictions empty, for a person."
        add("--min_confidence", type=float, default=0.0, help=least)
        add("--test_after_fit", type=bool, default=True, help="Whether fit ends with a test.")
        quiet = "Print only warnings, errors and the closing table."
        add("--quiet", action="store_true", help=quiet)
        add("--no_report", action="store_true", help="Whether fit leaves out its report.")
        threads = "CPU threads of PyTorch; null uses those that help a step and are free."
        add("--threads", type=int | None, default=None, help=threads)
        trust = "Comma-separated packages whose classes a checkpoint may name."
        add("--trust", type=str, default="", help=trust)
        parser.link_arguments(
            "data", "model.init_args.num_classes", self._count_classes, apply_on="instantiate"
        )

    def _prepare_subcommand_parser(
        self, klass: type, subcommand: str, **kwargs: Any
    ) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        # Checkpoints are untrusted: nothing is unpickled unless the user requests it.
        parser.set_defaults({"weights_only": True})
        if subcommand in ("validate", "test"):
            parser.set_defaults({"verbose": False})  # the closing table shows the metrics
        return parser

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the arguments and check that a required checkpoint exists."""
        super().parse_arguments(parser, args)
        command: str = self.config["subcommand"]
        self.subcommand = command
        set_verbosity(quiet=self._get(self.config, "quiet"))
        check_optional(check_size, "threads", self._get(self.config, "threads"))
        # Again, because a configuration may set the path.
        mistake = checkpoint_mistake(command, self._get(self.config, "ckpt_path"))
        if mistake:
            raise ValueError(mistake)

    def _parse_ckpt_path(self) -> None:
        # Untrusted: Lightning would parse its text as a configuration.
        path = self._get(self.config, "ckpt_path")
        content = read_checkpoint(path) if path and Path(path).is_file() else {}
        found = hyperparameters_of(content)
        self._saved = found if "_class_path" in found else {}
        self._different: list[Difference] = []
        if content:
            self._compare(content)

    def _compare(self, content: dict[str, Any]) -> None:
        """Reject typed options that the checkpoint would replace; find the other differences."""
        model = dict(self._saved)
        saved = {"class_path": model.pop("_class_path", None), "init_args": model}
        model.pop("_instantiator", None)
        given = self._get(self.config, "model").as_dict()
        given["init_args"] = {"num_classes": None, **given.get("init_args", {})}
        for each in (saved, given):  # counted in the data
            each["init_args"].pop("num_classes", None)
        found = [*differences(saved, given, "model")] if self._saved else []
        for each in found:
            if is_typed(each.option, sys.argv[1:]):
                raise ValueError(
                    f"{each}, which {self.subcommand} uses: remove the option"
                    + (", or train without --ckpt_path" if self.subcommand == "fit" else "")
                )
        if self.subcommand != "fit":
            return
        step, last = content.get("global_step", 0), self._get(self.config, "trainer.max_steps")
        if 0 <= last < step:
            raise ValueError(
                f"trainer.max_steps is {last:,}, but the checkpoint is at step {step:,}: increase "
                "it, or use supercm test"
            )
        if DATA_OPTIONS in content:
            data = self._get(self.config, "data").as_dict()
            found += differences(content[DATA_OPTIONS], data, "data")
        self._different = found

    def instantiate_classes(self) -> None:
        """Build data, model and trainer; a checkpoint that names its model decides the model."""
        config = self.config.clone()
        model = config[self.subcommand].pop("model") if self._saved else self._get(config, "model")
        arguments = self._saved or model.get("init_args", {})
        self._given_classes = arguments.get("num_classes")
        self.config_init = self.parser.instantiate_classes(config)
        self.datamodule = self._get(self.config_init, "data")
        self.model = self._get(self.config_init, "model")
        if self._saved:
            own = named_in(self._get(self.config, "model").as_dict())
            trust = own | trusted_names(self._option("trust"))
            self.model = build_module(SuperCMModule, self._saved, trust)
            arguments = dict(known_arguments(type(self.model), self._saved))
            built = {"class_path": self._saved["_class_path"], "init_args": arguments}
            self.save_config_kwargs["model"] = built
            self.config_init[self.subcommand]["model"] = self.model
        for each in self._different:
            used = "the checkpoint's" if each.option.startswith("model") else "that of this run"
            _tell(f"supercm: {each}; {used} is used")
        self.trainer = self.instantiate_trainer()

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """Build the trainer with the callbacks of the command."""
        self._check_classes()
        trainer = self._option("trainer")
        if trainer.accumulate_grad_batches < 1:  # Lightning divides by it
            got = trainer.accumulate_grad_batches
            raise ValueError(f"trainer.accumulate_grad_batches must be 1 or more, got {got}")
        callbacks: list[L.Callback] = [OwnFilesOnly()]
        if self._option("quiet"):
            trainer.enable_progress_bar = trainer.enable_model_summary = False
        if trainer.enable_progress_bar is not False:
            callbacks.append(progress_bar())
        if trainer.enable_model_summary is not False:
            callbacks.append(ModelLine())
        given = trainer.callbacks or []
        given = given if isinstance(given, list) else [given]
        for own in (SaveOnSignal, NonFiniteLoss) if self.subcommand == "fit" else (SaveOnSignal,):
            if not any(isinstance(callback, own) for callback in given):
                callbacks.append(own())
        if self.subcommand == "predict":
            callbacks.append(PredictionCSV(self._option("output"), self._option("min_confidence")))
            kwargs["logger"] = False  # nothing to log, so no folder
            self.save_config_callback = None
        self.trainer_defaults = {"callbacks": callbacks}
        built = super().instantiate_trainer(**kwargs)
        use_atomic_checkpoints(built)
        # First: another callback may train in `setup`.
        built.callbacks.insert(0, Threads(self.load, self.config[self.subcommand]))  # type: ignore[attr-defined]
        built.callbacks.append(SaveLastStep())  # type: ignore[attr-defined]  # after the others
        return built

    def predict(self, **kwargs: Any) -> None:
        """Predict without keeping the predictions in memory."""
        self.trainer.predict(**{**kwargs, "return_predictions": False})

    def after_fit(self) -> None:
        """Test the best checkpoint of a callback that monitors a metric, else the last weights.

        The last weights are averaged ones if a callback averages weights.
        """
        measured = self.trainer.callback_metrics
        metrics = {name: value for name, value in measured.items() if name.startswith("val/")}
        logs = self.trainer.log_dir if self.trainer.loggers else None
        chosen, by = self._chosen_checkpoint()
        saved = chosen or last_checkpoint(self.trainer)
        step, epoch = self.trainer.global_step, self.trainer.current_epoch
        if self._option("test_after_fit") and getattr(self.datamodule, "has_test_data", True):
            self.trainer.test(
                self.model,
                datamodule=self.datamodule,
                ckpt_path=chosen,
                verbose=False,
                weights_only=True,
            )
            metrics.update(self.trainer.callback_metrics)
        report = FinalReport()
        if logs and not self._option("no_report"):
            report = write_final_report(self.trainer, self.datamodule, step, epoch)
        others = {f"test/{name}": accuracy for name, accuracy in report.others.items()}
        places = {"checkpoint": saved, "chosen_by": by, "logs": logs, "report": report.page}
        self._close({**metrics, **others}, **places)
        if report.note:
            print(report.note)

    def after_validate(self) -> None:
        """Print the metrics."""
        self._close(self.trainer.callback_metrics)

    after_test = after_validate

    def after_predict(self) -> None:
        """Print the path of the predictions."""
        self._close({}, predictions=self._option("output"))
        least = self._option("min_confidence")
        for callback in self.trainer.callbacks if least > 0 else ():  # type: ignore[attr-defined]
            if isinstance(callback, PredictionCSV) and self.trainer.is_global_zero:
                print(
                    f"left to a person: {callback.left_empty:,} with a probability below {least:g}"
                )

    def _check_classes(self) -> None:
        counted = self._count_classes(self.datamodule)
        if self._given_classes not in (None, counted):
            raise ValueError(
                f"model.num_classes is {self._given_classes}, but the data has {counted} classes: "
                "remove it from the configuration"
            )
        arguments = self._get(self.config, "model").get("init_args", {})
        if "num_classes" in arguments:
            arguments["num_classes"] = counted  # for the configuration that is saved

    def _count_classes(self, data: L.LightningDataModule) -> int | None:
        classes: int | None = getattr(data, "num_classes", self._given_classes)
        return classes

    def _option(self, name: str) -> Any:
        return self._get(self.config_init, name)

    def _chosen_checkpoint(self) -> tuple[str | None, str | None]:
        for callback in self.trainer.checkpoint_callbacks:
            path = getattr(callback, "best_model_path", "")
            if getattr(callback, "monitor", None) is not None and path:
                monitored, score = callback.monitor, callback.best_model_score  # type: ignore[attr-defined]
                return path, f"{monitored} of {float(score):.4f}"
        return None, None

    def _run_subcommand(self, subcommand: str) -> None:
        if self.trainer.is_global_zero:
            claim_folders(self.trainer.loggers)
        try:
            super()._run_subcommand(subcommand)
        except SystemExit as stop:  # raised by Lightning for Ctrl-C and SIGTERM
            if not self.trainer.interrupted:
                raise
            if self.trainer.is_global_zero and subcommand == "fit":
                print(self._resume_hint(), file=sys.stderr)
            end_launched_processes(self.trainer, seconds=10)
            by_signal = isinstance(stop, SIGTERMException)
            sys.exit(stop.code if by_signal else 128 + signal.SIGINT)

    def _resume_hint(self) -> str:
        saved = last_checkpoint(self.trainer)
        line = f"supercm: stopped at step {self.trainer.global_step:,}"
        if saved is None:
            return f"{line}; no checkpoint was saved yet"
        words = ["supercm", *without_option(sys.argv[1:], "--ckpt_path")]
        return f"{line}; resume with\n  {shlex.join([*words, '--ckpt_path', short_path(saved)])}"

    def _close(self, metrics: dict[str, Any], **places: str | None) -> None:
        if self.trainer.is_global_zero:
            seconds = time.monotonic() - self.started
            # `short_path` leaves text that is not a path unchanged.
            found = {name.replace("_", " "): short_path(x) for name, x in places.items() if x}
            closing_table(f"supercm {self.subcommand}", metrics, seconds, found)


@rank_zero_only
def _tell(line: str) -> None:
    print(line, file=sys.stderr)


def set_verbosity(quiet: bool) -> None:
    """Let Lightning print only warnings, or information as well."""
    for library in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(library).setLevel(logging.WARNING if quiet else logging.INFO)


def _silence_tips() -> None:
    # Advertisements, unused accelerators, and what this command prints itself.
    unwanted = (
        "Tip:",
        "TPU available: False",
        "GPU available: False",
        "`weights_only` was not set",
        "already configured with model summary",
        "Restoring states from the checkpoint",  # the closing table names it
        "Loaded model weights from the checkpoint",
        "`Trainer.fit` stopped: `max_",
        "Detected KeyboardInterrupt",
    )

    log = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    log.filters[:] = [lambda record: not any(text in record.getMessage() for text in unwanted)]
