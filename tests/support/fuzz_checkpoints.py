"""Checkpoints whose every text, key and container may hide code or a path, and who loads them.

python -m tests.support.fuzz_checkpoints 10000 [SEED]

Writes mutated files of a real run, loads each by all that loads one, and counts what was imported,
built, called or touched that should not have been: 0.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import pkgutil
import random
import shutil
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import lightning.pytorch as L
import numpy as np
import torch
import yaml
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import nn

from supercm_pl import SSLDataModule, SSLModule
from supercm_pl.checkpoints.files import AtomicCheckpointIO
from supercm_pl.cli.main import main as supercm_main
from supercm_pl.data import ZCA
from supercm_pl.export import load_classifier
from supercm_pl.integrations.hub import from_pretrained, save_pretrained
from supercm_pl.report.loading import load_run

CONFIG = """
trainer:
  accelerator: cpu
  max_steps: 2
  num_sanity_val_steps: 0
  limit_val_batches: 1
  limit_test_batches: 1
  enable_progress_bar: false
  enable_model_summary: false
  logger: {class_path: lightning.pytorch.loggers.CSVLogger, init_args: {save_dir: runs}}
  callbacks:
    - class_path: lightning.pytorch.callbacks.ModelCheckpoint
      init_args: {save_last: true, save_top_k: 1, monitor: train/loss, every_n_train_steps: 1}
    - class_path: lightning.pytorch.callbacks.EarlyStopping
      init_args: {monitor: train/loss, patience: 99, check_on_train_epoch_end: true}
model:
  class_path: supercm_pl.SSLModule
  init_args:
    backbone:
      class_path: supercm_pl.backbones.MLP
      init_args: {in_features: 64, hidden_features: [8]}
    methods:
      - class_path: supercm_pl.ssl.methods.MeanTeacher
        init_args: {ramp: {class_path: supercm_pl.training.ramps.SigmoidRampUp}}
    optimizer: {class_path: torch.optim.Adam}
    lr_scheduler: {class_path: torch.optim.lr_scheduler.MultiStepLR, init_args: {milestones: [9]}}
data:
  class_path: supercm_pl.SSLDataModule
  init_args:
    labels_per_class: 2
    steps_per_epoch: 2
    labeled_batch_size: 8
    unlabeled_batch_size: 8
    eval_batch_size: 32
    preprocess: {class_path: supercm_pl.data.ZCA}
test_after_fit: true
"""
STRANGER = """
import bystander
bystander.TOLD.append('imported')
from bystander import Net, call
"""
# Installed, not imported so far, and known by what importing them does.
FOREIGN = ("stranger", "antigravity", "this", "__phello__")
TOLD: list[str] = []


class Net(nn.Linear):
    """Nobody's class, though imported."""

    def __init__(self, *_: Any, **__: Any) -> None:
        TOLD.append("built")
        super().__init__(64, 64)


def call(*_: Any, **__: Any) -> Any:
    """Nobody's function, though imported."""
    TOLD.append("called")
    return 1.0


Site = tuple[Any, ...]


class Watch:
    """What the process does outside ``inside``, while it is armed."""

    def __init__(self, inside: Path, victim: Path) -> None:
        self.inside, self.victim = str(inside), str(victim)
        self.armed = False
        self.seen: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.armed:
            return
        if event == "import" and args[0].partition(".")[0] in FOREIGN:
            self.seen.append(f"import {args[0]}")
        elif event in ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork"):
            self.seen.append(event)
        elif event in ("socket.connect", "socket.getaddrinfo", "urllib.Request"):
            self.seen.append(f"{event} {args[1:]}")
        elif event == "open":
            writes = args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            if self._is_outside(args[0]) and (writes or self._is_victim(args[0])):
                self.seen.append(f"open {args[0]}")
        elif event.startswith("shutil.") or event in _TOUCHES:
            outside = [path for path in args[:2] if self._is_outside(path)]
            self.seen += [f"{event} {path}" for path in outside]
        elif event in ("os.listdir", "os.scandir") and self._is_victim(args[0]):
            self.seen.append(f"{event} {args[0]}")

    def _is_outside(self, path: Any) -> bool:
        if not isinstance(path, str | bytes | os.PathLike):
            return False
        place = os.path.realpath(os.fsdecode(path))
        return not f"{place}/".startswith((f"{self.inside}/", "/dev/", "/proc/"))

    def _is_victim(self, path: Any) -> bool:
        return isinstance(path, str | os.PathLike) and self.victim in os.path.realpath(path)


_TOUCHES = (
    *("os.remove", "os.rmdir", "os.mkdir", "os.rename", "os.link", "os.symlink", "os.truncate"),
    *("os.chmod", "os.chown", "os.utime", "os.removexattr", "os.setxattr"),
)
# Installed and imported, though not on the list.
_UNLISTED = (
    *("torch.optim.swa_utils.AveragedModel", "torch.jit.ScriptModule", "torch.fx.GraphModule"),
    *("torchmetrics.wrappers.BootStrapper", "torchmetrics.audio.PermutationInvariantTraining"),
    *("timm.models.FeatureGraphNet", "lightning.pytorch.LightningModule"),
)
_KNOWN = ("stranger.Net", "bystander.Net", "stranger.call", "bystander.call")
_FUNCTIONS = (
    *("os.listdir", "os.mkdir", "shutil.rmtree", "os.system", "torch.load", "torch.hub.load"),
    *("builtins.exec", "runpy.run_path", "pathlib.Path.unlink", "torch.jit.load"),
    *("supercm_pl.cli.main", "importlib.import_module", "timm.create_model", "antigravity.fly"),
)
# What takes a function, and the argument it takes it by.
_TAKES = (
    ("torch.optim.lr_scheduler.LambdaLR", "lr_lambda"),
    ("torch.optim.lr_scheduler.CyclicLR", "scale_fn"),
    ("torch.nn.TransformerEncoderLayer", "activation"),
    ("torch.nn.TripletMarginWithDistanceLoss", "distance_function"),
    ("supercm_pl.uda.validators.BatchNuclearNorm", "dist_sync_fn"),
    ("timm.models.VisionTransformer", "norm_layer"),
    ("torchvision.models.ResNet", "block"),
)


class Payloads:
    """What is put somewhere: names of code, as object and as text, or paths.

    Args:
        dice: Chooses.
        victim: What may not be touched.
    """

    def __init__(self, dice: random.Random, victim: Path) -> None:
        self.dice = dice
        self.victim = victim

    def code(self) -> Any:
        """A class or a function that nobody trusts, in one of the ways to say it."""
        choose = self.dice.choice
        path = choose(
            choose((_KNOWN, _KNOWN, (*_UNLISTED, *_FUNCTIONS, "__phello__", "this", "Net")))
        )
        spec: Any = choose(({"class_path": path}, {"class_path": path, "init_args": {}}))
        if choose((True, False, False)):
            kind, argument = choose(_TAKES)
            function = choose(choose((_KNOWN, _FUNCTIONS)))
            spec = {"class_path": kind, "init_args": {argument: function}}
        escaped = json.dumps(spec).replace("class_path", "class\\u005fpath")
        flow = yaml.safe_dump(spec, default_flow_style=True)
        tagged = (f"!!python/name:{path} ''", f"!!python/object/apply:{path} [x]")
        texts = (json.dumps(spec), yaml.safe_dump(spec), flow, escaped, f"[{flow}]", *tagged)
        return choose((path, spec, {**spec, "dict_kwargs": {"x": path}}, *[choose(texts)] * 4))

    def path(self) -> Any:
        """A file or folder that the run has nothing to do with."""
        choose = self.dice.choice
        path = str(self.victim / choose(("thesis", "thesis/chapter.txt", "thesis/other.ckpt")))
        run = "runs/lightning_logs/version_0/checkpoints"
        up = f"{run}/{os.path.relpath(path, run)}"
        prefix = choose(("", "local://", "local://", "file://", "file:", "simplecache::local://"))
        elsewhere = choose(("memory://thesis", "http://127.0.0.1:9/x.ckpt", "s3://a/x", "hf://a/b"))
        return choose([prefix + path] * 4 + [up, up, os.path.relpath(path), elsewhere, "/", "~"])

    def network(self) -> Any:
        """A network that would read or download its weights."""
        choose = self.dice.choice
        names = ("resnet18", "hf-hub:stranger/net", f"local-dir:{self.victim}/thesis")
        arguments = {"name": choose(names), "weights": self.path()}
        kind = choose(("TorchvisionBackbone", "TimmBackbone"))
        if kind == "TimmBackbone" and choose((True, False)):
            arguments |= {"pretrained": True, "weights": None}
        return {"class_path": f"supercm_pl.backbones.{kind}", "init_args": arguments}

    def noise(self) -> Any:
        """What is merely wrong."""
        return self.dice.choice((None, True, -1, float("nan"), "", "last", {}, [], "../..", 10**9))

    def thing(self, part: Site) -> Any:
        """Any of them, as suits the part of a checkpoint."""
        ways = (self.code, self.path, self.network, self.noise)
        shares = (2, 10, 0, 1) if part == ("callbacks",) else (12, 2, 1, 1)
        (way,) = self.dice.choices(ways, shares)
        return way()


KEYS = (
    *("class_path", "init_args", "dict_kwargs", "_class_path", "_instantiator", "self", "cls"),
    *("hparams_name", "hparams_type", "hparams", "module_arguments", "hyper_parameters"),
    *("datamodule_hyper_parameters", "datamodule_hparams_name", "preprocess_class", "backbone"),
    *("lr_scheduler", "optimizer", "dirpath", "weights", "name", "lr_lambda", "init_args.backbone"),
    *("backbone.class_path", "model.class_path", "best_model_path", "last_model_path", "__class__"),
    *("kth_best_model_path", "best_k_models", "trust", "config", "cm_ramp", "methods"),
)


def sites(tree: Any, path: Site = ()) -> Iterator[Site]:
    """Where something may be changed: every key and item but weights."""
    items: Any = ()
    if isinstance(tree, dict):
        items = tree.items()
    elif isinstance(tree, list | tuple):
        items = enumerate(tree)
    for key, value in items:
        if key not in ("state_dict", "preprocess") or not isinstance(value, dict) or not value:
            yield (*path, key)
            yield from sites(value, (*path, key))


def mutate(tree: Any, dice: random.Random, thing: Any, site: Site) -> Any:
    """A copy in which ``thing`` is put in the place of what ``site`` names, or beside it."""
    key, *rest = site
    if rest:
        items = dict(tree) if isinstance(tree, dict) else list(tree)
        items[key] = mutate(tree[key], dice, thing, tuple(rest))
        return tuple(items) if isinstance(tree, tuple) else items
    text = thing if isinstance(thing, str) else json.dumps(thing)
    shapes = [thing] * 12 + [
        text,
        [thing],
        (thing,),
        {text},
        {text: thing},
        {dice.choice(KEYS): thing},
    ]
    if not isinstance(tree, dict):
        items = list(tree)
        items[key] = dice.choice(shapes)
        return tuple(items) if isinstance(tree, tuple) else items
    how = dice.randrange(16)
    if how < 11:
        return {**tree, key: dice.choice(shapes)}
    if how < 13:
        return {**tree, dice.choice(KEYS): dice.choice(shapes)}
    others = {name: value for name, value in tree.items() if name != key}
    added = ({}, {text: tree[key]}, {f"{key}.{dice.choice(KEYS)}": thing})[how - 13]
    return {**others, **added}


FAULTY = (
    *("backbone", "optimizer", "lr_scheduler", "cm_ramp", "methods", "preprocess_class"),
    *("last_model_path", "best_model_path", "kth_best_model_path", "best_k_models", "dirpath"),
)
PARTS = {  # of a checkpoint, with the share of mutations that each gets
    ("hyper_parameters",): 45,
    ("callbacks",): 25,
    ("SSLDataModule",): 6,
    ("data_options",): 6,
    ("lr_schedulers",): 4,
    ("loops",): 4,
    ("optimizer_states",): 2,
    (): 8,
}


class Fuzzer:
    """Trains once in ``folder``, then makes and loads mutated files.

    Args:
        folder: An empty folder; the run is in ``work`` in it, and beside it what is not to be
            touched.
        seed: Of the mutations.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.work, self.victim = folder / "work", folder / "home"
        self.work.mkdir()
        (self.victim / "thesis").mkdir(parents=True)
        (self.victim / "thesis" / "chapter.txt").write_text("years of work")
        self.dice = random.Random(seed)
        self.ended: Counter[str] = Counter()
        self.faults: list[str] = []
        self.watch = Watch(self.work, self.victim)
        bystander = ModuleType("bystander")
        vars(bystander).update(Net=Net, call=call, TOLD=TOLD)
        sys.modules["bystander"] = bystander
        Net.__module__ = call.__module__ = "bystander"
        (folder / "path").mkdir()
        (folder / "path" / "stranger.py").write_text(STRANGER)
        sys.path.insert(0, str(folder / "path"))
        os.chdir(self.work)
        tempfile.tempdir = str(self.work)  # Lightning's own files on their way
        Path("small.yaml").write_text(CONFIG)
        Path("bare.yaml").write_text(
            CONFIG.replace("preprocess: {class_path: supercm_pl.data.ZCA}", "")
        )
        self._command("fit", "--config", "small.yaml")
        (trained,) = self.work.rglob("last.ckpt")
        shutil.copy(trained, self.victim / "thesis" / "other.ckpt")
        shutil.copy(trained, "trained.ckpt")
        np.save("images.npy", np.zeros((1, 1, 8, 8), dtype=np.float32))
        self.content = torch.load(trained, weights_only=True)
        save_pretrained(trained, "hub")
        self.config = json.loads(Path("hub/config.json").read_text())
        self.payloads = Payloads(self.dice, self.victim)
        self.before = self._files()

    def run(self, count: int, commands_every: int) -> None:
        """Make ``count`` files, and load each.

        Args:
            count: How many.
            commands_every: The commands, which take a second, load one file of so many.
        """
        loads: list[Callable[[], Any]] = [
            lambda: SSLModule.load_from_checkpoint("x.ckpt"),
            lambda: load_classifier("x.ckpt"),
            lambda: load_classifier("x.ckpt", "bare.yaml"),
            lambda: SSLDataModule.load_from_checkpoint("x.ckpt", labels_per_class=2),
            lambda: AtomicCheckpointIO().load_checkpoint("x.ckpt"),
            lambda: load_run("x.ckpt"),
        ]
        both = ("--config", "small.yaml", "--ckpt_path", "x.ckpt")
        commands = [
            *(("predict", "x.ckpt", "images.npy"), ("validate", *both), ("test", *both)),
            ("predict", *both),
        ]
        commands += [("fit", *both, "--trainer.max_steps", "5")] * 2
        for number in range(count):
            if number % 4 == 3:
                self._write_config()
                self._watched(lambda: from_pretrained("hub"))
                continue
            part = self._write_checkpoint()
            if part in (("hyper_parameters",), ("SSLDataModule",), ("data_options",), ()):
                for load in self.dice.sample(loads, 2):
                    self._watched(load)
            else:
                self._watched(self._resume)
            if number % commands_every == 0:
                words = self.dice.choice(commands)
                self._watched(lambda words=words: self._command(*words))
            # So that a run that goes on has the folder that the checkpoint says.
            for run in Path("runs").glob("*/version_*"):
                shutil.rmtree(run)

    def _resume(self) -> None:
        saver = ModelCheckpoint(monitor="train/loss", save_last=True, every_n_train_steps=1)
        trainer = L.Trainer(
            accelerator="cpu",
            max_steps=4,
            limit_val_batches=0,
            limit_test_batches=1,
            enable_progress_bar=False,
            enable_model_summary=False,
            logger=CSVLogger("runs"),
            callbacks=[saver, EarlyStopping("train/loss", patience=99)],
            plugins=self.dice.choice(([], [AtomicCheckpointIO()])),
        )
        data = SSLDataModule(**yaml.safe_load(CONFIG)["data"]["init_args"] | {"preprocess": ZCA()})
        model = SSLModule.load_from_checkpoint("trained.ckpt")
        trainer.fit(model, data, ckpt_path="x.ckpt", weights_only=True)
        if saver.best_model_path:
            trainer.test(model, data, saver.best_model_path, verbose=False, weights_only=True)

    def _write_checkpoint(self) -> Site:
        content = self.content
        for _ in range(self.dice.choice((1, 1, 2, 3))):
            (part,) = self.dice.choices(list(PARTS), list(PARTS.values()))
            inner = content.get(part[0]) if part else dict.fromkeys(content)
            if places := self._places(inner):
                site = (*part, *self.dice.choice(places))
                content = mutate(content, self.dice, self.payloads.thing(part), site)
        torch.save(content, "x.ckpt")
        return part

    def _write_config(self) -> None:
        config = self.config
        for _ in range(self.dice.choice((1, 1, 2))):
            with contextlib.suppress(TypeError):  # JSON has no sets
                site = self.dice.choice(self._places(config))
                changed = mutate(config, self.dice, self.payloads.thing(()), site)
                Path("hub/config.json").write_text(json.dumps(changed))
                config = changed

    def _places(self, tree: Any) -> list[Site]:
        # Half of the time where there was a fault once, else anywhere.
        found = list(sites(tree))
        known = [site for site in found if site[-1] in FAULTY]
        if known and self.dice.random() < 0.5:
            return known
        first = self.dice.choice(sorted({site[0] for site in found} or {None}, key=str))
        return [site for site in found if site[0] == first]

    def _watched(self, load: Callable[[], Any]) -> None:
        self.watch.armed = True
        try:
            result = load()
            ended = result if isinstance(result, str) else "loaded"
        except Exception as error:
            ended = f"raised {type(error).__name__}"
        except SystemExit:  # of a command that a checkpoint called
            ended = "left"
            TOLD.append("left")
        finally:
            self.watch.armed = False
        self.ended[ended] += 1
        found = [*self.watch.seen, *TOLD, *(name for name in FOREIGN if name in sys.modules)]
        if self._files() != self.before:
            found.append("the files outside have changed")
            self.before = self._files()
        self.watch.seen.clear()
        TOLD.clear()
        for name in FOREIGN:
            sys.modules.pop(name, None)
        if found:
            place = self.work.parent / f"fault_{len(self.faults)}"
            shutil.copy("x.ckpt" if Path("x.ckpt").exists() else "hub/config.json", place)
            self.faults.append(f"{place.name}: {', '.join(dict.fromkeys(found)):.300}")

    def _files(self) -> dict[str, bytes]:
        return {str(p): p.read_bytes() for p in self.victim.rglob("*") if p.is_file()}

    def _command(self, *words: str) -> str:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                supercm_main(words)
            except SystemExit as stop:
                return f"command ended with {stop.code}"
        return "command succeeded"


@contextlib.contextmanager
def forbidden_classes() -> Iterator[None]:
    """Let the classes that may not be built tell of it."""
    kept: dict[Any, Any] = {}
    try:
        for path in _UNLISTED[:-1]:
            if importlib.util.find_spec(path.partition(".")[0]) is None:
                continue  # timm is an extra
            kind = pkgutil.resolve_name(path)
            kept[kind] = kind.__init__

            def told(self: Any, *_: Any, path: str = path, **__: Any) -> None:
                TOLD.append(f"built {path}")

            kind.__init__ = told
        yield
    finally:
        for kind, init in kept.items():
            kind.__init__ = init


def fuzz(folder: Path, count: int, seed: int = 0, commands_every: int = 50) -> Fuzzer:
    """Make and load ``count`` mutated files; what happened is in the result."""
    before = (Path.cwd(), list(sys.path), tempfile.tempdir)
    try:
        with warnings.catch_warnings(), forbidden_classes():
            warnings.simplefilter("ignore")
            fuzzer = Fuzzer(folder.resolve(), seed)
            fuzzer.run(count, commands_every)
    finally:
        os.chdir(before[0])
        sys.path[:] = before[1]
        tempfile.tempdir = before[2]
        sys.modules.pop("bystander", None)
    return fuzzer


def main() -> None:
    """Print the numbers; status 1 if there was a fault."""
    count, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    started = time.monotonic()
    place = Path(tempfile.mkdtemp())
    fuzzer = fuzz(place, count, seed)
    print(f"{count:,} files in {time.monotonic() - started:.0f} s, {len(fuzzer.faults)} faults")
    for ended, times in fuzzer.ended.most_common():
        print(f"{times:>8,} {ended}")
    print(*fuzzer.faults, sep="\n")
    if fuzzer.faults:
        sys.exit(f"faults are in {place}")
    shutil.rmtree(place)


if __name__ == "__main__":
    main()
