# %% [markdown]
# # Twenty labels
#
# Scikit-learn's handwritten digits: 1,797 images of 8×8 pixels. Two of each digit keep their label, the rest of the training
# images are unlabeled. The same network is trained twice, with the clustering loss and without it.

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
# ## The data
#
# The split is drawn from the seed, so that everybody has the same twenty labels. These are they.


# %%
def digits() -> SSLDataModule:
    """Two labels per class, and slightly turned and shifted images in training."""
    view = AffineNoise(rotation=0.15, shift=0.1, scale=0.1, noise=0.05)
    return SSLDataModule(labels_per_class=2, steps_per_epoch=100, weak=view, seed=0)


data = digits()
data.setup("fit")
print(data.describe())
images, labels = data.streams()["labeled"].samples.fetch(torch.arange(20).numpy())
figure, axes = plt.subplots(2, 10, figsize=(10, 2.4))
for ax, index in zip(axes.T.flat, labels.argsort(), strict=True):
    ax.imshow(images[index, 0].numpy(), cmap="gray_r")
    ax.set_title(int(labels[index]))
    ax.axis("off")
plt.show()

# %% [markdown]
# ## Training
#
# `cm_weight` is the weight β of the clustering loss. With 0 the unlabeled images are not looked at. The last weights count:
# the validation images are not used, and nothing is chosen.


# %%
def train(cm_weight: float) -> tuple[SSLModule, float]:
    """The trained module, and its accuracy on the test images."""
    L.seed_everything(0, verbose=False)
    module = SSLModule(
        ConvNet(1, (32, 64, 128), out_features=32),
        num_classes=10,
        cm_weight=cm_weight,
        alpha=1.2,  # a mild wish for classes of equal size
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
    print(f"{name}: {accuracy:.3f} of the test images right")

# %% [markdown]
# ## What the network sees
#
# Features of the test images, drawn in the plane by t-SNE and colored by their true class. Stars are the centroids, which
# the run without SuperCM does not have.

# %%
x, y = map(torch.cat, zip(*data.test_dataloader(), strict=True))
panels = {}
for name, (module, accuracy) in trained.items():
    with torch.no_grad():
        rows = module.forward_outputs(x)
    centroids = module.head.centroids if module.cm_weight > 0 else None
    panels[f"{name}: accuracy {accuracy:.3f}"] = Embedding(rows.features, y, centroids)
plot_embeddings(panels, projection="tsne")

# %% [markdown]
# Which digits are still taken for which? Look for a row without a dark field on the diagonal: a whole class taken for
# another is the typical mistake of a clustering method, which then has settled on a wrong cluster. More labels, or another
# draw of them, are the cure.

# %%
plot_confusion_matrix(rows.assignments, y, title="with SuperCM (% of class)")
plt.show()

# %% [markdown]
# One seed proves little. How to compare runs is the subject of the last notebook.
