# %% [markdown]
# # Reading a result honestly
#
# With twenty labels, which twenty decides a lot. This notebook shows how large that effect is, and what can be said all
# the same.

# %%
import logging
import warnings

import lightning.pytorch as L
import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.semi_supervised import LabelSpreading

from supercm_pl import SSLDataModule, SSLModule
from supercm_pl.backbones import ConvNet
from supercm_pl.data import AffineNoise
from supercm_pl.viz import plot_confidence, plot_reliability

STEPS = 200
SEEDS = range(4)
warnings.filterwarnings("ignore", module="lightning|torchmetrics")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

# %% [markdown]
# ## The same splits for everybody
#
# Each seed draws other labels. All methods get the same ones, so that differences can be taken seed by seed. A method
# without a network is among them: a network with twenty labels is not sure to beat it.


# %%
def digits(seed: int) -> SSLDataModule:
    """Two labels per class, drawn by the seed."""
    view = AffineNoise(rotation=0.15, shift=0.1, scale=0.1, noise=0.05)
    return SSLDataModule(labels_per_class=2, steps_per_epoch=50, weak=view, seed=seed)


def network(seed: int, cm_weight: float) -> tuple[float, torch.Tensor, torch.Tensor]:
    """Test accuracy, assignments and labels of a short run."""
    L.seed_everything(seed, verbose=False)
    module = SSLModule(
        ConvNet(1, (32, 64), out_features=32),
        10,
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
    trainer.fit(module, digits(seed))
    x, y = map(torch.cat, zip(*digits(seed).test_dataloader(), strict=True))
    with torch.no_grad():
        assignments = module.eval().rows(x).assignments
    return float((assignments.argmax(1) == y).float().mean()), assignments, y


def spreading(seed: int) -> float:
    """Test accuracy of scikit-learn's graph of neighbors on the pixels."""
    data = digits(seed)
    data.setup("fit")
    streams = data.streams()
    labeled, unlabeled = streams["labeled"].samples, streams["unlabeled"].samples
    x, y = labeled.fetch(np.arange(len(labeled)))
    more = unlabeled.fetch(np.arange(len(unlabeled)))
    everything = torch.cat([x, more]).flatten(1).numpy()
    known = np.concatenate([y.numpy(), np.full(len(more), -1)])
    model = LabelSpreading(kernel="knn", n_neighbors=7).fit(everything, known)
    test_x, test_y = map(torch.cat, zip(*data.test_dataloader(), strict=True))
    # Images with no label in reach of their neighbors get 0 for each class, which it divides by.
    with np.errstate(invalid="ignore"):
        return float(model.score(test_x.flatten(1).numpy(), test_y.numpy()))


results = {
    "neighbors": [spreading(seed) for seed in SEEDS],
    "labels alone": [network(seed, 0.0)[0] for seed in SEEDS],
}
runs = [network(seed, 2.0) for seed in SEEDS]
results["SuperCM"] = [accuracy for accuracy, _, _ in runs]

# %% [markdown]
# ## Mean, spread, worst
#
# The standard deviation over draws of labels is what a single run can be off by. The worst seed is what a user can meet.

# %%
for name, values in results.items():
    print(
        f"{name:13} {np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}, worst {min(values):.3f}"
    )
plt.figure(figsize=(5, 4))
for seed in SEEDS:
    plt.plot(
        list(results), [values[seed] for values in results.values()], "o-", label=f"seed {seed}"
    )
plt.ylabel("test accuracy")
plt.legend()
plt.show()

# %% [markdown]
# ## Differences, seed by seed
#
# Both methods had the same labels, so differences can be taken draw by draw: what an easy or a hard draw does to both falls
# out. If an interval below holds 0, these seeds do not show which of the two is better, whatever the means say. With four
# seeds the interval is wide: 3.18 is the quantile of Student's distribution for three degrees of freedom.

# %%
for name in ("labels alone", "neighbors"):
    difference = np.subtract(results["SuperCM"], results[name])
    middle, half = difference.mean(), 3.18 * difference.std(ddof=1) / np.sqrt(len(difference))
    shown = "shown" if abs(middle) > half else "not shown"
    print(
        f"SuperCM over {name:13} {middle:+.3f}, 95 % interval {middle - half:+.3f} to "
        f"{middle + half:+.3f}: {shown}"
    )

# %% [markdown]
# The test set is finite as well. For an accuracy $a$ on $n$ images the standard error is $\sqrt{a (1 - a) / n}$. Here the test
# has 450. A validation set of twenty images can't choose between methods that differ by a few points, so do not choose by it.

# %%
accuracy = float(np.mean(results["SuperCM"]))
for count in (20, 450, 10_000):
    print(f"{count:6} images: ± {np.sqrt(accuracy * (1 - accuracy) / count):.3f}")

# %% [markdown]
# ## Is it as sure as it is right?
#
# Look at the confidence before you use it to decide anything. Bars above the diagonal: right more often than it claims; below:
# too sure of itself. A short run leaves assignments soft; the clustering loss sharpens them as training goes on, right ones and
# wrong ones.

# %%
_, assignments, labels = runs[0]
figure, axes = plt.subplots(1, 2, figsize=(10, 4))
plot_reliability(assignments, labels, bins=10, ax=axes[0])
plot_confidence(assignments, labels, ax=axes[1])
plt.show()

# %% [markdown]
# ## A list to go through
#
# 1. Several draws of labels, the same for every method; mean, spread and worst.
# 2. A simple method beside yours, and the network on the labels alone with as many steps.
# 3. Nothing chosen on test images: not the step, not the weights, not β. The last weights count here.
# 4. In domain adaptation, nothing chosen by target labels: use a validator that needs none.
# 5. Say how long it ran. These runs are short so that the notebook is quick, and longer ones may order the methods otherwise.
