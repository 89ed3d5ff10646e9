# %% [markdown]
# # Your own method
#
# A method is one class that adds a loss to the objective. It receives the outputs of the step's
# forward passes and returns a scalar. The package provides the rest: views, weights, schedules,
# logs and checkpoints.

# %%
import logging
import warnings

import lightning.pytorch as L
import torch

from supercm_pl import SSLDataModule, SSLModule
from supercm_pl.backbones import ConvNet
from supercm_pl.data import AffineNoise
from supercm_pl.ssl.methods import Method
from supercm_pl.training.method import MethodLoss
from supercm_pl.training.ramps import LinearRampUp
from supercm_pl.training.step import Step

STEPS = 200
warnings.filterwarnings("ignore", module="lightning|torchmetrics")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

# %% [markdown]
# ## The class
#
# The method in this example penalizes different assignments of the weak and the strong view of an
# image. Its class attribute `views` declares which views it needs. Values in `logs` are logged next
# to its loss.


# %%
class DistanceConsistency(Method):
    """Squared difference of the assignments of the weak and the strong view."""

    views = ("weak", "strong")

    def forward(self, step: Step) -> MethodLoss:
        """Return the loss of this step."""
        target = step.unlabeled["weak"].assignments.detach()
        difference = (step.unlabeled["strong"].assignments - target).square().sum(dim=1)
        return MethodLoss(difference.mean(), {"confidence": target.amax(dim=1).mean()})


# %% [markdown]
# ## One step by hand
#
# Before training, run one step on random images. Check that the loss is finite and has a gradient.

# %%
module = SSLModule(ConvNet(1, (8,)), num_classes=10, methods=DistanceConsistency())
x, y = torch.rand(10, 1, 8, 8), torch.arange(10)
unlabeled = torch.rand(20, 1, 8, 8)
batch = {"labeled": (x, y), "unlabeled": {"weak": unlabeled, "strong": unlabeled.flip(3)}}
module.training_step(batch).backward()
print({name: round(float(value), 4) for name, value in module.step_values.items()})
print("gradient:", float(next(module.backbone.parameters()).grad.norm()) > 0)

# %% [markdown]
# ## Training
#
# The three runs below differ only in the method and in SuperCM.


# %%
def accuracy(cm_weight: float, methods: list[Method]) -> float:
    """Return the test accuracy of a short run."""
    L.seed_everything(0, verbose=False)
    data = SSLDataModule(
        labels_per_class=2,
        steps_per_epoch=50,
        weak=AffineNoise(rotation=0.15, shift=0.1, scale=0.1, noise=0.05),
        strong=AffineNoise(rotation=0.3, shift=0.2, scale=0.2, noise=0.1),
        seed=0,
    )
    module = SSLModule(
        ConvNet(1, (32, 64), out_features=32),
        10,
        methods,
        cm_weight=cm_weight,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.002),
    )
    trainer = L.Trainer(
        max_steps=STEPS,
        accelerator="cpu",
        num_sanity_val_steps=0,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, data)
    (metrics,) = trainer.test(module, data, verbose=False)
    return float(metrics["test/acc"])


method = DistanceConsistency(weight=1.0, ramp=LinearRampUp(end=0.5))
print(f"labels only              {accuracy(0.0, []):.3f}")
print(f"the method               {accuracy(0.0, [method]):.3f}")
print(f"the method with SuperCM  {accuracy(2.0, [method]):.3f}")

# %% [markdown]
# ## Next steps
#
# Put the class in a package of your own, and name it in a configuration:
# `methods: [{class_path: my_package.DistanceConsistency}]`. The folder `examples/my_method` is such
# a package. It also contains a backbone, a method for domain adaptation and a data module.
#
# If a method needs a teacher or a memory bank, create it in `build` as a submodule or buffer and
# update it in `after_step`. It is then saved with the model. Make schedules functions of
# `step.progress`, so that a resumed run continues correctly.
