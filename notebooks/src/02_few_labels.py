# %% [markdown]
# # Few labels: semi-supervised learning
#
# Scikit-learn's handwritten digits are 1,797 images of 8×8 pixels. Two images of each digit keep
# their label, and the other training images are unlabeled. This notebook trains the same network
# with and without the clustering loss.

# %%
import logging
import warnings

import lightning.pytorch as L
import matplotlib.pyplot as plt
import torch

from supercm_pl import SSLDataModule, SSLModule
from supercm_pl.backbones import ConvNet
from supercm_pl.data import AffineNoise
from supercm_pl.viz import Embedding, plot_confusion_matrix, plot_embeddings

STEPS = 300
warnings.filterwarnings("ignore", module="lightning|torchmetrics")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

# %% [markdown]
# ## Data
#
# The split depends only on the seed, so every run has the same twenty labels. These are the labeled
# images.


# %%
def digits() -> SSLDataModule:
    """Two labels per class; training images are slightly rotated and shifted."""
    view = AffineNoise(rotation=0.15, shift=0.1, scale=0.1, noise=0.05)
    return SSLDataModule(labels_per_class=2, steps_per_epoch=100, weak=view, seed=0)


data = digits()
data.setup("fit")
print(data.describe())
images, labels = data.parts()["labeled"].samples.fetch(torch.arange(20).numpy())
figure, axes = plt.subplots(2, 10, figsize=(10, 2.4))
for ax, index in zip(axes.T.flat, labels.argsort(), strict=True):
    ax.imshow(images[index, 0].numpy(), cmap="gray_r")
    ax.set_title(int(labels[index]))
    ax.axis("off")
plt.show()

# %% [markdown]
# ## Training
#
# `cm_weight` is the weight β of the clustering loss. With 0, the unlabeled images are not used. The
# last weights are tested; the validation images are not used, and nothing is selected.


# %%
def train(cm_weight: float) -> tuple[SSLModule, float]:
    """Train a module; return it and its test accuracy."""
    L.seed_everything(0, verbose=False)
    module = SSLModule(
        ConvNet(1, (32, 64, 128), out_features=32),
        num_classes=10,
        cm_weight=cm_weight,
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
    trainer.fit(module, digits())
    (metrics,) = trainer.test(module, digits(), verbose=False)
    return module.eval(), metrics["test/acc"]


trained = {"without SuperCM": train(0.0), "with SuperCM": train(2.0)}
for name, (_, accuracy) in trained.items():
    print(f"{name}: test accuracy {accuracy:.3f}")

# %% [markdown]
# ## Features of the test images
#
# t-SNE projects the features of the test images to the plane. Colors are the true classes, and
# stars the centroids. The run without SuperCM has no centroids.

# %%
x, y = map(torch.cat, zip(*data.test_dataloader(), strict=True))
panels = {}
for name, (module, accuracy) in trained.items():
    with torch.no_grad():
        outputs = module.forward_outputs(x)
    centroids = module.head.centroids if module.cm_weight > 0 else None
    panels[f"{name}: accuracy {accuracy:.3f}"] = Embedding(outputs.features, y, centroids)
plot_embeddings(panels, projection="tsne")

# %% [markdown]
# ## Confusion
#
# Look for a row with no dark field on the diagonal. It means that a whole class is predicted as
# another one, the typical error of a clustering method that converged to a wrong cluster. More
# labels, or a different draw of labels, resolve it.

# %%
plot_confusion_matrix(outputs.assignments, y, title="with SuperCM (% of class)")
plt.show()

# %% [markdown]
# A single seed is weak evidence. The last notebook shows how to compare runs.
