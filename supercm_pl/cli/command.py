"""LightningCLI with this package's modules; ``fit`` ends with a test, ``predict`` writes a CSV."""

from __future__ import annotations

import logging
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import SIGTERMException

import supercm_pl
from supercm_pl.callbacks.non_finite import NonFiniteLoss, last_checkpoint
from supercm_pl.callbacks.prediction_csv import PredictionCSV
from supercm_pl.callbacks.save_on_signal import SaveOnSignal
from supercm_pl.checkpoints.building import build_module, hyperparameters_of, known_arguments
from supercm_pl.checkpoints.files import read_checkpoint, use_atomic_checkpoints
from supercm_pl.checkpoints.trust import named_in, trusted_names
from supercm_pl.cli.console import ModelLine, closing_table, progress_bar, short_path
from supercm_pl.cli.errors.suggestions import nearest_file
from supercm_pl.cli.parser import SuperCMArgumentParser
from supercm_pl.cli.save_run import SaveRun
from supercm_pl.cli.words import check_keys, without_option
from supercm_pl.training.module import SuperCMModule

# What Lightning understands for `--ckpt_path` beside a path.
_CHECKPOINT_NAMES = ("best", "last", "hpc")
_MODULES = ("SSLModule", "SSLDataModule", "UDAModule", "UDADataModule")


class SuperCMCLI(LightningCLI):
    """The commands ``fit``, ``validate``, ``test`` and ``predict`` of any model and data.

    ``model.num_classes`` is taken from the data where these know it, and may be given all the same.

    Args:
        started: The reading of ``time.monotonic()`` from which the closing table counts; ``None``
            is now.
    """

    def __init__(self, started: float | None = None) -> None:
        self.started = time.monotonic() if started is None else started
        _drop_tips()
        for name in _MODULES:  # what is imported is what --help lists
            getattr(supercm_pl, name)
        options = {"exit_on_error": False, "allow_abbrev": False}
        super().__init__(
            SuperCMModule,
            L.LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=SaveRun,
            save_config_kwargs={"overwrite": True},
            seed_everything_default=0,
            # `model.optimizer` is the one place of the optimizer, so that a checkpoint knows it.
            auto_configure_optimizers=False,
            parser_class=SuperCMArgumentParser,
            parser_kwargs={**options, **{name: dict(options) for name in self.subcommands()}},
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add what Lightning does not have."""
        parser.add_argument(
            "--output",
            type=str,
            default="predictions.csv",
            help="The CSV file that predict writes.",
        )
        parser.add_argument(
            "--test_after_fit", type=bool, default=True, help="Whether fit ends with a test."
        )
        parser.add_argument(
            "--quiet",
            action="store_true",
            help="Print warnings, errors and the closing table alone.",
        )
        parser.add_argument(
            "--trust",
            type=str,
            default="",
            help="Packages, separated by commas, whose classes a checkpoint may name.",
        )
        parser.link_arguments(
            "data", "model.init_args.num_classes", self._count_classes, apply_on="instantiate"
        )

    def _prepare_subcommand_parser(
        self, klass: type, subcommand: str, **kwargs: Any
    ) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        # A checkpoint can come from anybody: nothing in it is ever unpickled unless asked for.
        parser.set_defaults({"weights_only": True})
        if subcommand in ("validate", "test"):
            parser.set_defaults({"verbose": False})  # the closing table says it
        return parser

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, and see to it that there is a checkpoint where one is needed."""
        check_keys(sys.argv[1:])
        super().parse_arguments(parser, args)
        self.subcommand = self.config["subcommand"]
        _set_verbosity(quiet=self._get(self.config, "quiet"))
        path = self._get(self.config, "ckpt_path")
        named = path in _CHECKPOINT_NAMES
        # Lightning would go on with random weights where it finds no checkpoint by a name.
        if self.subcommand != "fit" and (path is None or named):
            raise ValueError(
                f"{self.subcommand} needs the weights of a run: name the file with --ckpt_path, "
                "such as runs/ssl_digits/version_0/checkpoints/last.ckpt"
            )
        if path and not named and "://" not in path and not Path(path).is_file():
            raise ValueError(f"there is no checkpoint {path}{nearest_file(path)}")

    def _parse_ckpt_path(self) -> None:
        # It can come from anybody: Lightning would have its text parsed as a configuration is.
        path = self._get(self.config, "ckpt_path")
        found = hyperparameters_of(read_checkpoint(path)) if path and Path(path).is_file() else {}
        self._saved = found if "_class_path" in found else {}

    def instantiate_classes(self) -> None:
        """Build data, model and trainer; the model is that of the checkpoint, if it says which."""
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
        self.trainer = self.instantiate_trainer()

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """Build the trainer, with the callbacks of the command."""
        self._check_classes()
        trainer = self._option("trainer")
        if trainer.accumulate_grad_batches < 1:  # Lightning divides by it
            raise ValueError(
                "trainer.accumulate_grad_batches must be 1 or more, got "
                f"{trainer.accumulate_grad_batches}"
            )
        callbacks: list[L.Callback] = []
        if self._option("quiet"):
            trainer.enable_progress_bar = trainer.enable_model_summary = False
        if trainer.enable_progress_bar is not False:
            callbacks.append(progress_bar())
        if trainer.enable_model_summary is not False:
            callbacks.append(ModelLine())
        if self.subcommand == "fit":
            given = trainer.callbacks or []
            given = given if isinstance(given, list) else [given]
            for own in (NonFiniteLoss, SaveOnSignal):
                if not any(isinstance(callback, own) for callback in given):
                    callbacks.append(own())
        if self.subcommand == "predict":
            callbacks.append(PredictionCSV(self._option("output")))
            # There is nothing to log: no folder for it.
            kwargs["logger"] = False
            self.save_config_callback = None
        self.trainer_defaults = {"callbacks": callbacks}
        built = super().instantiate_trainer(**kwargs)
        use_atomic_checkpoints(built)
        return built

    def fit(self, **kwargs: Any) -> None:
        """Train."""
        with self._saying_how_to_go_on():
            self.trainer.fit(**kwargs)

    def predict(self, **kwargs: Any) -> None:
        """Predict, keeping nothing in memory."""
        self.trainer.predict(**{**kwargs, "return_predictions": False})

    def after_fit(self) -> None:
        """Test: the checkpoint that a callback chose by what it monitors, else the last weights.

        The last weights are their average where a callback averages.
        """
        metrics: dict[str, Any] = {
            name: value
            for name, value in self.trainer.callback_metrics.items()
            if name.startswith("val/")
        }
        logs = self.trainer.log_dir if self.trainer.loggers else None
        chosen, by = self._chosen_checkpoint()
        facts = {
            "checkpoint": chosen or last_checkpoint(self.trainer),
            "chosen by": by,
            "logs": logs,
        }
        if self._option("test_after_fit") and getattr(self.datamodule, "has_test_data", True):
            with self._saying_how_to_go_on():
                self.trainer.test(
                    self.model,
                    datamodule=self.datamodule,
                    ckpt_path=chosen,
                    verbose=False,
                    weights_only=True,
                )
            metrics.update(self.trainer.callback_metrics)
        self._close(metrics, **facts)

    def after_validate(self) -> None:
        """Print the metrics."""
        self._close(self.trainer.callback_metrics)

    def after_test(self) -> None:
        """Print the metrics."""
        self._close(self.trainer.callback_metrics)

    def after_predict(self) -> None:
        """Print where the predictions are."""
        self._close({}, predictions=self._option("output"))

    def _check_classes(self) -> None:
        counted = self._count_classes(self.datamodule)
        if self._given_classes not in (None, counted):
            raise ValueError(
                f"model.num_classes is {self._given_classes}, but the data have {counted} classes: "
                "leave it out of the configuration"
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

    @contextmanager
    def _saying_how_to_go_on(self) -> Iterator[None]:
        try:
            yield
        except SystemExit as stop:  # what Lightning makes of Ctrl-C and of SIGTERM
            if not self.trainer.interrupted:
                raise
            if self.trainer.is_global_zero:
                self._say_how_to_go_on()
            # As shells report them; Lightning's own 0 would call an ended run a finished one.
            number = signal.SIGTERM if isinstance(stop, SIGTERMException) else signal.SIGINT
            sys.exit(128 + number)

    def _say_how_to_go_on(self) -> None:
        saved = last_checkpoint(self.trainer)
        line = f"supercm: stopped at step {self.trainer.global_step:,}"
        if saved is None:
            line += "; no checkpoint was saved yet"
        else:
            words = ["supercm", *without_option(sys.argv[1:], "--ckpt_path")]
            line += f"; go on with\n  {shlex.join([*words, '--ckpt_path', short_path(saved)])}"
        print(line, file=sys.stderr)

    def _close(self, metrics: dict[str, Any], **places: str | None) -> None:
        if self.trainer.is_global_zero:
            seconds = time.monotonic() - self.started
            found = {
                name: place if name == "chosen by" else short_path(place)
                for name, place in places.items()
                if place
            }
            closing_table(f"supercm {self.subcommand}", metrics, seconds, found)


def _set_verbosity(quiet: bool) -> None:
    for library in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(library).setLevel(logging.WARNING if quiet else logging.INFO)


def _drop_tips() -> None:
    # Advertisements, accelerators that nobody asked for, and what this command says itself.
    unwanted = (
        "Tip:",
        "TPU available: False",
        "already configured with model summary",
        "Restoring states from the checkpoint",  # the closing table names it
        "Loaded model weights from the checkpoint",
        "`Trainer.fit` stopped: `max_",
        "Detected KeyboardInterrupt",
    )

    def is_wanted(record: logging.LogRecord) -> bool:
        return not any(text in record.getMessage() for text in unwanted)

    log = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    log.filters[:] = [is_wanted]
