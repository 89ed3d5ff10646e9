# %% [markdown]
# # Labels in one place, use in another
#
# Domain adaptation: labels exist for the *source*, the classifier is wanted for the *target*, which has images and no labels.
# Here the source is scikit-learn's digits, and the target is the same kind of digits blended over photographs.

# %%
import logging
import os
import warnings

import lightning.pytorch as L
import matplotlib.pyplot as plt
import torch

from supercm_pl import UDADataModule, UDAModule
from supercm_pl.backbones import ConvNet
from supercm_pl.data import AffineNoise
from supercm_pl.uda.adapters import DANN
from supercm_pl.viz import (
    Embedding,
    class_accuracy,
    plot_class_accuracy,
    plot_embeddings,
    proxy_a_distance,
)

STEPS = int(os.environ.get("NOTEBOOK_STEPS", "300"))
warnings.filterwarnings("ignore", module="lightning|torchmetrics")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


# %%
def domains() -> UDADataModule:
    """Digits with labels, and digits over photographs without."""
    view = AffineNoise(rotation=0.15, shift=0.1, scale=0.1, noise=0.05)
    return UDADataModule(steps_per_epoch=100, weak=view, seed=0)


data = domains()
data.setup("fit")
print(data.describe())
source_x, source_y = next(iter(data.val_dataloader()[0]))
target_x, target_y = map(torch.cat, zip(*data.test_dataloader(), strict=True))
figure, axes = plt.subplots(2, 8, figsize=(9, 2.6))
for column in range(8):
    axes[0, column].imshow(source_x[column].permute(1, 2, 0).numpy())
    axes[1, column].imshow(target_x[column].permute(1, 2, 0).numpy())
for ax in axes.flat:
    ax.axis("off")
figure.suptitle("source above, target below")
plt.show()

# %% [markdown]
# ## Two runs
#
# Training on the source alone, and DANN with SuperCM. DANN trains a discriminator that tells the domains apart, and the
# network to deceive it; SuperCM's centroids, from source labels, say where each class of the target should go. The target's
# labels are read by the test at the end, and by nothing else.


# %%
def train(cm_weight: float, adapters: list[DANN]) -> tuple[UDAModule, float]:
    """The trained module, and its accuracy on the target's test images."""
    L.seed_everything(0, verbose=False)
    module = UDAModule(
        ConvNet(3, (16, 32, 64, 128), out_features=32),
        10,
        adapters,
        cm_weight=cm_weight,
        centroids="batch",
        alpha=1.2,
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
    trainer.fit(module, domains())
    (metrics,) = trainer.test(module, domains(), verbose=False)
    return module.eval(), metrics["test/target_acc"]


adapter = DANN(hidden_features=(128, 128), batch_norm=False)
trained = {"source only": train(0.0, []), "DANN + SuperCM": train(0.5, [adapter])}
for name, (_, accuracy) in trained.items():
    print(f"{name}: {accuracy:.3f} of the target's test images right")

# %% [markdown]
# ## Are the domains mixed?
#
# Each point is an image, coloured by its domain. The proxy A-distance asks a linear classifier to tell the domains apart: 2 is
# perfectly apart, about 0 not at all. Mixed domains are no aim in themselves: a network that forgets the digits mixes them too.

# %%
domain = torch.cat([torch.zeros(len(source_x)), torch.ones(len(target_x))]).long()
panels, by_class = {}, {}
for name, (module, _) in trained.items():
    with torch.no_grad():
        source, target = module.rows(source_x), module.rows(target_x)
    distance = proxy_a_distance(source.features, target.features)
    features = torch.cat([source.features, target.features])
    panels[f"{name}: A-distance {distance:.2f}"] = Embedding(
        features, domain, names=["source", "target"]
    )
    by_class[name] = class_accuracy(target.assignments, target_y)
plot_embeddings(panels, projection="tsne")

# %% [markdown]
# The mean can hide a class that is lost altogether, so look at each.

# %%
plot_class_accuracy(by_class).figure
