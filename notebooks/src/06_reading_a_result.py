# %% [markdown]
# # Comparing runs
#
# With twenty labels, the choice of these labels has a large effect. This notebook measures the
# effect and shows what you can still conclude.

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
# ## The same splits for every method
#
# Each seed draws different labels, and all methods use the same ones, so that you can compare them
# seed by seed. One of the methods has no network: with twenty labels, a network does not always
# beat it.


# %%
def digits(seed: int) -> SSLDataModule:
    """Return data with two labels per class, drawn by the seed."""
    view = AffineNoise(rotation=0.15, shift=0.1, scale=0.1, noise=0.05)
    return SSLDataModule(labels_per_class=2, steps_per_epoch=50, weak=view, seed=seed)


def network(seed: int, cm_weight: float) -> tuple[float, torch.Tensor, torch.Tensor]:
    """Return test accuracy, assignments and labels of a short run."""
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
        assignments = module.eval().forward_outputs(x).assignments
    return float((assignments.argmax(1) == y).float().mean()), assignments, y


def spreading(seed: int) -> float:
    """Return the test accuracy of scikit-learn's label spreading on the pixels."""
    data = digits(seed)
    data.setup("fit")
    parts = data.parts()
    labeled, unlabeled = parts["labeled"].samples, parts["unlabeled"].samples
    x, y = labeled.fetch(np.arange(len(labeled)))
    more = unlabeled.fetch(np.arange(len(unlabeled)))
    everything = torch.cat([x, more]).flatten(1).numpy()
    known = np.concatenate([y.numpy(), np.full(len(more), -1)])
    model = LabelSpreading(kernel="knn", n_neighbors=7).fit(everything, known)
    test_x, test_y = map(torch.cat, zip(*data.test_dataloader(), strict=True))
    # LabelSpreading divides by 0 for images that no label reaches.
    with np.errstate(invalid="ignore"):
        return float(model.score(test_x.flatten(1).numpy(), test_y.numpy()))


results = {
    "neighbors": [spreading(seed) for seed in SEEDS],
    "labels only": [network(seed, 0.0)[0] for seed in SEEDS],
}
runs = [network(seed, 2.0) for seed in SEEDS]
results["SuperCM"] = [accuracy for accuracy, _, _ in runs]

# %% [markdown]
# ## Mean, standard deviation, minimum
#
# The standard deviation over label draws is the typical error of a single run. The minimum is the
# worst case that a user may encounter.

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
# ## Paired differences
#
# Both methods used the same labels, so take differences seed by seed. The effect of an easy or hard
# draw then cancels. If an interval contains 0, these seeds do not show which method is better,
# whatever the means are. With four seeds the interval is wide: 3.18 is the quantile of Student's
# distribution with three degrees of freedom.

# %%
for name in ("labels only", "neighbors"):
    difference = np.subtract(results["SuperCM"], results[name])
    middle, half = difference.mean(), 3.18 * difference.std(ddof=1) / np.sqrt(len(difference))
    shown = "shown" if abs(middle) > half else "not shown"
    print(
        f"SuperCM over {name:13} {middle:+.3f}, 95 % interval {middle - half:+.3f} to "
        f"{middle + half:+.3f}: {shown}"
    )

# %% [markdown]
# The test set is finite as well. The standard error of an accuracy $a$ on $n$ images is
# $\sqrt{a (1 - a) / n}$. Here the test set has 450 images. A validation set of twenty images cannot
# separate methods that differ by a few points, so do not select with it.

# %%
accuracy = float(np.mean(results["SuperCM"]))
for count in (20, 450, 10_000):
    print(f"{count:6} images: ± {np.sqrt(accuracy * (1 - accuracy) / count):.3f}")

# %% [markdown]
# ## Calibration
#
# Check the confidence before you base decisions on it. Bars above the diagonal mean that
# predictions are more often correct than their confidence; bars below mean overconfidence. A short
# run leaves the assignments soft. The clustering loss makes them more confident during training,
# correct ones and wrong ones.

# %%
_, assignments, labels = runs[0]
figure, axes = plt.subplots(1, 2, figsize=(10, 4))
plot_reliability(assignments, labels, bins=10, ax=axes[0])
plot_confidence(assignments, labels, ax=axes[1])
plt.show()

# %% [markdown]
# ## Checklist
#
# 1. Use several draws of labels, the same for every method. Report mean, standard deviation and
#    minimum.
# 2. Include a simple method, and the network trained on the labels only, with as many steps.
# 3. Select nothing on test images: not the step, not the weights, not β. Here the last weights are
#    tested.
# 4. In domain adaptation, select nothing by target labels: use a validator that does not need them.
# 5. Report the length of the runs. These runs are short to keep the notebook quick; longer runs may
#    rank the methods differently.
