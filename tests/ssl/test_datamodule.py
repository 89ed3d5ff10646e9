import multiprocessing
import random
from contextlib import nullcontext

import lightning.pytorch as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, OnExceptionCheckpoint
from torch import nn
from torch.utils.data import TensorDataset

from supercm_pl import SSLDataModule, SSLModule
from supercm_pl.backbones import MLP
from supercm_pl.data import AffineNoise, ArraySource, DatasetSource, Digits, Split
from tests.support.generators import untouched_generators
from tests.support.images import paint
from tests.support.linear import Linear, assert_resumed, same_weights, trainer
from tests.support.trainers import every_step, quiet_trainer

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint"),
]


def digits(**options):
    return SSLDataModule(
        **{
            "labels_per_class": 2,
            "labeled_batch_size": 8,
            "unlabeled_batch_size": 24,
            "steps_per_epoch": 4,
            "weak": AffineNoise(),
            "seed": 1,
            **options,
        }
    )


def fit(tmp_path, data, *, ckpt_path=None, module=None, **options):
    torch.manual_seed(0)
    module = Linear() if module is None else module
    trainer(tmp_path, **options).fit(
        module, datamodule=data, ckpt_path=ckpt_path, weights_only=True
    )
    return module


def arrays(n=60, shape=(1, 4, 4), classes=3, dtype=np.float32):
    generator = np.random.default_rng(0)
    y = np.arange(n) % classes
    return (generator.random((n, *shape)) * (255 if dtype == np.uint8 else 1)).astype(dtype), y


def from_arrays(shape=(1, 4, 4), dtype=np.float32, **options):
    (x, y), (x_test, y_test) = arrays(60, shape, dtype=dtype), arrays(12, shape, dtype=dtype)
    options = {"labels_per_class": 2, "seed": 0, **options}
    return SSLDataModule.from_arrays(x, y, x_test, y_test, **options)


def first_batch(data, **views):
    """As the training loop gets it, for a module that wants these views."""
    module = Linear()
    if views:
        module.required_views = {"unlabeled": views}
    return batch_for(module, data)


def plain_batch(data):
    """As a loop of one's own gets it."""
    return data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)


def batch_for(module, data):
    data.trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    data.trainer.strategy.connect(module)
    data.setup("fit")
    return plain_batch(data)


# The parts of the data.


def test_description_and_properties():
    data = SSLDataModule(labels_per_class=2, seed=0)
    assert data.num_classes == 10  # known before the data are opened
    expected = "20 labeled · 1,307 unlabeled · 20 validation · 450 test, 10 classes"
    assert data.describe() == expected
    assert data.classes == tuple("0123456789")
    assert data.input_shape == (1, 8, 8)
    assert data.has_test_data


def test_it_is_described_once(monkeypatch):
    said = []
    monkeypatch.setattr("supercm_pl.data.datamodule.rank_zero_info", said.append)
    data = digits()
    for stage in ("fit", "fit", "test"):
        data.setup(stage)
    assert said == [data.describe()]


def test_the_run_seed_is_taken_where_none_is_given(monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "5")
    assert digits(seed=None).split == digits(seed=5).split != digits(seed=0).split
    monkeypatch.delenv("PL_GLOBAL_SEED")
    assert digits(seed=None).split == digits(seed=0).split


def test_batches_are_paired_in_any_ratio():
    for labeled, unlabeled in ((3, 21), (16, 4)):
        batch = first_batch(digits(labeled_batch_size=labeled, unlabeled_batch_size=unlabeled))
        assert batch.keys() == {"labeled", "unlabeled"}
        x, y = batch["labeled"]
        assert x.shape == (labeled, 1, 8, 8)
        assert y.shape == (labeled,)
        assert y.dtype == torch.int64
        assert batch["unlabeled"].shape == (unlabeled, 1, 8, 8)


def test_streams_draw_from_their_own_rows_and_labels_fit():
    data = digits(weak=None, steps_per_epoch=60)
    train = Digits().load().train
    where = {tuple(x.flatten().tolist()): i for i, x in enumerate(train.inputs)}
    labeled, unlabeled = set(), set()
    for batch in data.train_dataloader():
        x, y = batch["labeled"]
        rows = [where[tuple(image.flatten().tolist())] for image in x]
        assert train.targets[rows].tolist() == y.tolist()
        labeled |= set(rows)
        unlabeled |= {where[tuple(image.flatten().tolist())] for image in batch["unlabeled"]}
    assert labeled == set(data.split.labeled)
    assert unlabeled == set(data.split.unlabeled)
    held = {where[tuple(x.flatten().tolist())] for batch in data.val_dataloader() for x in batch[0]}
    assert held == set(data.split.val)


def test_unlabeled_samples_of_the_source_join_the_others():
    x, y = arrays()
    extra = np.full((30, 1, 4, 4), 7, dtype=np.float32)
    source = ArraySource(x, y, x_unlabeled=extra)
    data = SSLDataModule(source, labels_per_class=2, unlabeled_batch_size=78, seed=0)
    assert data.describe() == "6 labeled · 78 unlabeled · 6 validation · 0 test, 3 classes"
    batch = next(iter(data.train_dataloader()))["unlabeled"]
    assert (batch == 7).flatten(1).all(1).sum() == 30
    everything = SSLDataModule(source, seed=0)
    assert everything.describe() == "60 labeled · 30 unlabeled · 0 validation · 0 test, 3 classes"
    assert everything.val_dataloader() == []
    held_out = SSLDataModule(source, val_size=0.1, seed=0)
    assert held_out.describe() == "54 labeled · 30 unlabeled · 6 validation · 0 test, 3 classes"


def test_a_validation_set_of_the_source_is_used():
    x, y = (torch.from_numpy(part) for part in arrays())
    source = DatasetSource(TensorDataset(x, y), val=TensorDataset(x[:9], y[:9]))
    data = SSLDataModule(source, labels_per_class=2, seed=0)
    assert data.describe() == "6 labeled · 54 unlabeled · 9 validation · 0 test, 3 classes"
    assert next(iter(data.val_dataloader()))[1].tolist() == y[:9].tolist()


def test_evaluation_batches_are_in_order_and_complete():
    data = digits(eval_batch_size=100)
    test = list(data.test_dataloader())
    assert [len(x) for x, _ in test] == [100, 100, 100, 100, 50]
    reference = Digits().load().test
    assert torch.equal(torch.cat([x for x, _ in test]), reference.inputs)
    assert torch.equal(torch.cat([y for _, y in test]), reference.targets)


def test_bytes_become_floats_on_the_device():
    data = from_arrays(dtype=np.uint8)
    raw = next(iter(data.train_dataloader()))
    assert raw["unlabeled"].dtype == torch.uint8
    batch = data.on_after_batch_transfer(dict(raw), 0)
    assert torch.equal(batch["unlabeled"], raw["unlabeled"] / 255)
    assert batch["labeled"][0].dtype == torch.float32
    x, y = data.on_after_batch_transfer(next(iter(data.val_dataloader())), 0)
    assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
    assert x.max() <= 1


@pytest.mark.filterwarnings("ignore:.* images of the test folder are in the labeled")
def test_from_folder(tmp_path):  # whose images are equal
    for part, names in (("labeled", "ab"), ("test", "ab"), ("unlabeled", "u")):
        paint(tmp_path / part, *(f"{name}/{i}.png" for name in names for i in range(4)))
    folders = [tmp_path / part for part in ("labeled", "unlabeled", "test")]
    options = {"image_size": 6, "val_size": 2, "predict_path": tmp_path / "unlabeled"}
    data = SSLDataModule.from_folder(*folders, **options)
    assert data.describe() == "6 labeled · 4 unlabeled · 2 validation · 8 test, 2 classes (a, b)"
    assert data.classes == ("a", "b")
    assert first_batch(data)["unlabeled"].shape == (128, 3, 6, 6)
    (batch,) = data.predict_dataloader()
    assert batch["ids"] == ["u/0.png", "u/1.png", "u/2.png", "u/3.png"]
    assert batch["inputs"].shape == (4, 3, 6, 6)


def test_predict_takes_the_test_data_or_a_folder_of_images(tmp_path):
    batch = next(iter(digits(eval_batch_size=7).predict_dataloader()))
    assert batch.keys() == {"inputs", "ids"}
    assert batch["ids"] == [str(i) for i in range(7)]
    paint(tmp_path, "one.png")
    (batch,) = digits(predict_path=tmp_path).predict_dataloader()
    assert batch["ids"] == ["one.png"]
    assert batch["inputs"].shape == (1, 1, 8, 8)  # as the digits are


# Views.


def test_views_are_made_as_the_module_asks():
    data = digits(strong=AffineNoise(0.5))
    batch = first_batch(
        data, weak=("SuperCM",), strong=("FixMatch",), strong_2=("X",), weak_2=("X",)
    )
    views = batch["unlabeled"]
    assert list(views) == ["weak", "strong", "strong_2", "weak_2"]
    assert all(view.shape == (24, 1, 8, 8) for view in views.values())
    images = [tuple(view.flatten().tolist()) for view in views.values()]
    assert len(set(images)) == 4  # each a draw of its own
    assert isinstance(first_batch(data, weak=("SuperCM",))["unlabeled"], torch.Tensor)
    assert list(first_batch(data, strong=("X",))["unlabeled"]) == ["strong"]


def test_nothing_is_made_of_unlabeled_samples_that_nobody_wants():
    module = Linear()
    module.required_views = {"unlabeled": {}}
    assert batch_for(module, digits()).keys() == {"labeled"}


def test_without_a_transform_the_weak_view_is_the_input():
    data = digits(weak=None)
    data.setup("fit")
    raw = next(iter(data.train_dataloader()))
    assert torch.equal(first_batch(data)["unlabeled"], raw["unlabeled"])


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("views", "message"),
    [
        ({"strong": ("FixMatch",)}, '"strong", required by FixMatch, has no transform: .*strong='),
        ({"strong_2": ("A", "B")}, 'view "strong_2", required by A and B, has no transform'),
        ({"mixed": ("C",)}, '"mixed", required by C, does not exist; .* "weak" and "strong"'),
    ],
)
def test_a_view_that_cannot_be_made_names_who_wants_it(views, message):
    with pytest.raises(ValueError, match=message):
        first_batch(digits(), **views)


@pytest.mark.bad_input
def test_a_transform_must_keep_the_samples():
    class Half(nn.Module):
        def forward(self, x):
            return x[::2]

    with pytest.raises(ValueError, match=r'view "weak" must return one output .* got 4 for 8'):
        first_batch(digits(weak=Half()))


def test_augmentation_is_a_function_of_seed_and_step_and_leaves_the_generators_alone():
    class Any(nn.Module):
        def forward(self, x):
            return x + torch.rand(len(x), 1, 1, 1) + random.random() + np.random.rand()  # noqa: NPY002

    data = digits(weak=Any())
    with untouched_generators():
        one = plain_batch(data)
    torch.rand(1)
    two = plain_batch(data)
    assert torch.equal(one["unlabeled"], two["unlabeled"])
    assert torch.equal(one["labeled"][0], two["labeled"][0])
    other = plain_batch(digits(weak=Any(), seed=2))
    assert not torch.equal(one["unlabeled"], other["unlabeled"])


def test_half_precision_input_is_augmented_in_full():
    data = digits(weak=AffineNoise(noise=0.0))
    batch = next(iter(data.train_dataloader()))
    full = data.on_after_batch_transfer(dict(batch), 0)["unlabeled"]
    half = {**batch, "unlabeled": batch["unlabeled"].bfloat16()}
    assert torch.allclose(data.on_after_batch_transfer(half, 0)["unlabeled"], full, atol=0.01)


def test_the_inputs_have_the_precision_of_the_module(tmp_path):
    module = fit(tmp_path, digits(), precision="64-true", max_epochs=1)
    assert len(module.seen) == 4


# Training with Lightning.


@pytest.mark.parametrize("workers", [0, 2])
def test_training_resumes_bit_for_bit_from_every_step(tmp_path, workers):
    full = fit(tmp_path, digits(), callbacks=[every_step(tmp_path / "all")])
    assert len({str(seen) for seen in full.seen.values()}) == 12
    for step in (1, 3, 4, 5, 8, 10, 11) if workers == 0 else (2, 4, 7):
        path = tmp_path / f"all/step={step}.ckpt"
        rest = fit(tmp_path, digits(num_workers=workers), ckpt_path=path)
        assert_resumed(rest, full, range(step, 12))


@pytest.mark.parametrize("step", [2, 3, 5, 6])
def test_resume_with_epochs_cut_short_and_a_number_of_steps(tmp_path, step):
    options = {"limit_train_batches": 3, "max_epochs": -1, "max_steps": 8}
    full = fit(tmp_path, digits(), callbacks=[every_step(tmp_path / "all")], **options)
    rest = fit(tmp_path, digits(), ckpt_path=tmp_path / f"all/step={step}.ckpt", **options)
    assert_resumed(rest, full, range(step, 8))


def test_resume_from_the_end_of_an_epoch(tmp_path):
    saver = ModelCheckpoint(tmp_path / "epochs", "{epoch}", save_top_k=-1)
    full = fit(tmp_path, digits(), callbacks=[saver])
    rest = fit(tmp_path, digits(), ckpt_path=tmp_path / "epochs/epoch=0.ckpt")
    assert_resumed(rest, full, range(4, 12))


@pytest.mark.filterwarnings(r"ignore:.*fit\(ckpt_path=")  # Lightning, of OnExceptionCheckpoint
def test_a_step_that_was_cut_off_is_done_again(tmp_path):
    full = fit(tmp_path, digits())
    torch.manual_seed(0)
    broken = Linear(fail_at=6)
    with pytest.raises(RuntimeError, match="power cut"):
        fit(tmp_path, digits(), module=broken, callbacks=[OnExceptionCheckpoint(tmp_path, "cut")])
    rest = fit(tmp_path, digits(), ckpt_path=tmp_path / "cut.ckpt")
    assert list(rest.seen.values()) == [full.seen[step] for step in range(6, 12)]
    assert same_weights(rest, full)


def test_resume_with_validation_in_the_middle_and_gradient_accumulation(tmp_path):
    options = {"val_check_interval": 2, "accumulate_grad_batches": 2}
    full = fit(tmp_path, digits(), callbacks=[every_step(tmp_path / "all")], **options)
    rest = fit(tmp_path, digits(), ckpt_path=tmp_path / "all/step=3.ckpt", **options)
    assert_resumed(rest, full, range(6, 12))


def test_overfitting_sees_the_same_batches_in_every_epoch(tmp_path):
    seen = list(fit(tmp_path, digits(val_size=0), overfit_batches=2).seen.values())
    assert seen[0:2] == seen[2:4] == seen[4:6]
    assert seen[0] != seen[1]


@pytest.mark.filterwarnings("ignore::FutureWarning")  # kornia's own, as it is imported
def test_a_kornia_transform_serves_as_a_view():
    from kornia import augmentation

    data = digits(strong=augmentation.RandomHorizontalFlip(p=0.5))
    one, two = (first_batch(data, strong=("FixMatch",))["unlabeled"]["strong"] for _ in range(2))
    assert torch.equal(one, two)
    raw = next(iter(data.train_dataloader()))["unlabeled"]
    flipped = (one == raw.flip(-1)).flatten(1).all(1)
    assert (flipped | (one == raw).flatten(1).all(1)).all()
    assert 0 < flipped.sum() < len(flipped)  # each sample draws for itself


def test_a_resumed_run_must_have_the_same_split(tmp_path):
    fit(tmp_path, digits(), callbacks=[every_step(tmp_path / "all")], max_epochs=1)
    with pytest.raises(ValueError, match=r"another split, with seed 1, and this run has seed 2"):
        fit(tmp_path, digits(seed=2), ckpt_path=tmp_path / "all/step=2.ckpt")
    with pytest.raises(ValueError, match="this run has the same seed but other data or labels: re"):
        fit(tmp_path, digits(labels_per_class=3), ckpt_path=tmp_path / "all/step=2.ckpt")


def test_workers_are_gone_after_training(tmp_path):
    fit(tmp_path, digits(num_workers=2), max_epochs=2)
    assert not multiprocessing.active_children()
    with pytest.raises(RuntimeError, match="power cut"):
        fit(tmp_path, digits(num_workers=2), module=Linear(fail_at=1))
    assert not multiprocessing.active_children()


def test_training_does_not_open_the_test_data(tmp_path):
    class Sealed(TensorDataset):
        def __getitem__(self, index):
            raise AssertionError("the test data were looked at")

    x, y = (torch.from_numpy(part) for part in arrays(60, (1, 8, 8), 10))
    source = DatasetSource(TensorDataset(x, y), test=Sealed(x, y))
    data = digits(source=source)
    fit(tmp_path, data, max_epochs=1)
    with pytest.raises(AssertionError, match="looked at"):
        trainer(tmp_path).test(Linear(), datamodule=data, verbose=False)


def test_fit_without_validation_then_test_and_predict(tmp_path):
    data = digits(val_size=0)
    module = fit(tmp_path, data, max_epochs=1)
    engine = trainer(tmp_path)
    assert engine.test(module, datamodule=data, verbose=False)[0]["test"] > 0
    predictions = engine.predict(module, datamodule=data)
    assert [name for _, ids in predictions for name in ids] == [str(i) for i in range(450)]
    assert sum(len(logits) for logits, _ in predictions) == 450


# Splits that come from files.


def test_a_saved_split_settles_everything(tmp_path):
    data = digits()
    data.save_split(tmp_path / "split.json")
    again = digits(labels_per_class=None, labeled_indices=str(tmp_path / "split.json"), seed=9)
    assert again.split == data.split == Split.load(tmp_path / "split.json")


@pytest.mark.bad_input
def test_the_split_of_other_data_is_refused(tmp_path):
    digits().save_split(tmp_path / "split.json")
    with pytest.raises(ValueError, match=r"for 1347 training samples, the data has 60"):
        from_arrays(labels_per_class=None, labeled_indices=tmp_path / "split.json").load()
    with pytest.raises(ValueError, match=r"split.json determines val_size"):
        digits(labels_per_class=None, labeled_indices=tmp_path / "split.json", val_size=3).load()


# What goes wrong.


@pytest.mark.bad_input
def test_labels_of_the_data_outside_the_classes():
    x, y = (torch.from_numpy(part) for part in arrays())
    source = DatasetSource(TensorDataset(x, y), classes=["a", "b"])
    with pytest.raises(ValueError, match=r"labels of the training data must be in 0..1, got 2"):
        SSLDataModule(source, labels_per_class=1).setup("fit")
    fine = TensorDataset(x, y.clamp(max=1))
    source = DatasetSource(fine, test=TensorDataset(x, y), classes=["a", "b"])
    with pytest.raises(ValueError, match=r"labels of the test data must be in 0..1, got 2"):
        SSLDataModule(source, labels_per_class=1).test_dataloader()


@pytest.mark.bad_input
def test_test_and_predict_without_test_data():
    x, y = arrays()
    data = SSLDataModule.from_arrays(x, y, labels_per_class=2)
    assert not data.has_test_data
    with pytest.raises(ValueError, match="the source has no test data"):
        data.test_dataloader()
    with pytest.raises(ValueError, match="predict needs predict_path"):
        data.predict_dataloader()


@pytest.mark.bad_input
def test_predict_from_a_folder_is_for_images(tmp_path):
    with pytest.raises(ValueError, match=r"of 1 or 3 channels predict .* takes \(5,\)"):
        from_arrays(shape=(5,), predict_path=tmp_path).predict_dataloader()
    with pytest.raises(ValueError, match=r"predict_path folder .* has no images"):
        from_arrays(predict_path=tmp_path).predict_dataloader()


@pytest.mark.parametrize("fails", [False, True])
def test_a_fit_without_validation_leaves_the_trainer_as_it_was(fails):
    class Fail(L.Callback):
        def on_train_batch_start(self, *_):
            if fails:
                raise RuntimeError("stop")

    x, y = np.random.default_rng(0).normal(size=(60, 4)).astype("float32"), np.arange(60) % 3
    without = SSLDataModule.from_arrays(x, y, labels_per_class=4, val_size=0)
    with_val = SSLDataModule.from_arrays(x, y, labels_per_class=4, val_size=9)
    module = SSLModule(MLP(4, (8,)))
    made = quiet_trainer(max_steps=2, callbacks=[Fail()])
    with pytest.raises(RuntimeError, match="stop") if fails else nullcontext():
        made.fit(module, without)
    assert made.limit_val_batches == 1.0
    assert "val/acc" in made.validate(module, with_val, verbose=False)[0]
