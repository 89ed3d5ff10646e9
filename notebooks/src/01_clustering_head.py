# %% [markdown]
# # The clustering head by hand
#
# SuperCM (Singh et al., Pattern Recognition 2025, [arXiv 2507.13779](https://arxiv.org/abs/2507.13779)) is one small module, `ClusteringHead`, on top of any network. It knows two things of each sample: its features
# $x_i$, and how much it belongs to each class, the assignments $\gamma_i$. The centroids $\mu_k$ are the mean features of the
# labeled samples. The loss asks that each sample be near the centroids of the classes it is assigned to.
#
# Here the features are points in the plane, so that everything can be drawn.

# %%
import matplotlib.pyplot as plt
import torch
from sklearn.datasets import make_blobs

from supercm_pl import ClusteringHead
from supercm_pl.clustering import clustering_loss

STEPS = 300
torch.manual_seed(0)

points, labels = make_blobs(300, centers=[[-2, 0], [2, 0], [0, 3]], cluster_std=0.9, random_state=0)
points, labels = torch.tensor(points, dtype=torch.float32), torch.tensor(labels)
known = torch.cat([(labels == k).nonzero()[:2, 0] for k in range(3)])  # two labels per class

# %% [markdown]
# ## Centroids from six labels
#
# The head averages the labeled features of each class. With two labels per class the centroids are near the middle of
# their clusters, and not in it: that is all the labels can say.

# %%
head = ClusteringHead(in_features=2, num_classes=3, centroids="cumulative")
head.update_centroids(points[known], labels[known])
print(head.centroids)

plt.figure(figsize=(5, 4))
plt.scatter(*points.T, c="lightgray", s=12, label="unlabeled")
plt.scatter(*points[known].T, c=labels[known], s=60, edgecolor="black", label="labeled")
plt.scatter(*head.centroids.T, c=range(3), marker="*", s=250, edgecolor="black", label="centroids")
plt.legend(title="colors: class")
plt.axis("equal")
plt.show()

# %% [markdown]
# ## The terms of the loss, place by place
#
# Take assignments that come from the distances to the centroids, $\gamma_{ik} \propto \exp(-\tau \|x_i - \mu_k\|^2)$. What a
# point adds to the loss is then a function of where it lies, the sum of
#
# * *reconstruction* $\|x_i - \sum_k \gamma_{ik} \mu_k\|^2$: how far it is from the mixture of centroids that its assignments
#   make;
# * *sparsity* $\sum_k \gamma_{ik} (1 - \gamma_{ik}) \|\mu_k\|^2$: how undecided it is;
# * *overlap* $-\sum_{k \neq l} \gamma_{ik} \gamma_{il} \langle \mu_k, \mu_l \rangle$: between which centroids it is undecided. Between two
#   that point the same way it is below 0, and takes back what sparsity asked; between opposite ones, as those on the left and
#   on the right here, it is above 0.
#
# The loss is the mean of these over all points, divided by the number of features.

# %%
x, y = torch.meshgrid(torch.linspace(-5, 5, 200), torch.linspace(-3, 6, 200), indexing="xy")
grid = torch.stack([x, y], dim=-1).view(-1, 2)


def place_by_place(rows: torch.Tensor, tau: float) -> dict[str, torch.Tensor]:
    """What each row adds to the terms of the loss, by the equations above."""
    mu = head.centroids
    gamma = (-tau * torch.cdist(rows, mu).square()).softmax(1)
    between = mu @ mu.T - torch.diag(mu.square().sum(1))
    return {
        "reconstruction": (rows - gamma @ mu).square().sum(1),
        "sparsity": (gamma * (1 - gamma)) @ mu.square().sum(1),
        "overlap": -(gamma @ between * gamma).sum(1),
    }


tau = 0.2
parts = place_by_place(grid, tau)
parts["total"] = sum(parts.values())
levels = torch.linspace(0, 6, 13)  # one scale for the three terms and for their sum
figure, axes = plt.subplots(1, 4, figsize=(12, 2.8), layout="constrained")
for ax, (name, values) in zip(axes, parts.items(), strict=True):
    picture = ax.contourf(x, y, values.view(x.shape), levels, cmap="Reds", extend="both")
    ax.scatter(*points.T, c="black", s=1)
    ax.scatter(*head.centroids.T, c="gold", marker="*", s=150, edgecolor="black")
    ax.set(title=name, xticks=[], yticks=[])
figure.colorbar(picture, ax=axes)
plt.show()

gamma = (-tau * torch.cdist(points, head.centroids).square()).softmax(1)
loss = clustering_loss(points, gamma, head.centroids)
for name, values in place_by_place(points, tau).items():
    by_hand = values.sum() / points.numel()
    print(f"{name:15} by hand {by_hand:8.5f}, by clustering_loss {getattr(loss, name):8.5f}")

# %% [markdown]
# ## The terms of the loss, sharp and soft
#
# At $\tau = 0$ every point belongs to all centroids alike; with a large $\tau$ each belongs to its nearest one. Sparsity and
# overlap go to 0 as the assignments get sharp. All together are one thing, the mean squared distance to the centroids,
# weighted by the assignments: soft k-means.

# %%
distances = torch.cdist(points, head.centroids).square()
sharpness = torch.logspace(-2, 1, 40)
terms = [clustering_loss(points, (-t * distances).softmax(1), head.centroids) for t in sharpness]

plt.figure(figsize=(6, 4))
for name in ("reconstruction", "sparsity", "overlap", "total"):
    values = [float(getattr(term, name)) for term in terms]
    plt.plot(sharpness, values, label=name, linewidth=3 if name == "total" else 1.5)
plt.xscale("log")
plt.xlabel(r"sharpness $\tau$ of the assignments")
plt.ylabel("loss")
plt.legend()
plt.show()

gamma = (-sharpness[20] * distances).softmax(1)
by_distance = (gamma * distances).sum() / points.numel()
print(f"sum of the terms {float(terms[20].total):.6f}, weighted distance {float(by_distance):.6f}")

# %% [markdown]
# ## What it changes in training
#
# The head's own assignments come from a linear layer on the features. Cross-entropy alone looks at the six labeled
# points; the clustering loss also moves the borders through the 294 others.


# %%
def train(weight: float) -> tuple[ClusteringHead, list[list[float]]]:
    """A head trained with the clustering loss at this weight, and its terms over the steps."""
    torch.manual_seed(0)
    head = ClusteringHead(in_features=2, num_classes=3)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
    history = []
    for _ in range(STEPS):
        out = head(points)
        head.update_centroids(points[known], labels[known])
        loss = head.loss(points, out.assignments)
        cross_entropy = torch.nn.functional.cross_entropy(out.logits[known], labels[known])
        optimizer.zero_grad()
        (cross_entropy + weight * loss.total).backward()
        optimizer.step()
        history.append([float(cross_entropy.detach()), *(float(v.detach()) for v in loss)])
    return head, history


figure, axes = plt.subplots(1, 3, figsize=(9.5, 2.8), layout="constrained")
for ax, weight in zip(axes, (0.0, 1.0), strict=False):
    head, history = train(weight)
    with torch.no_grad():
        regions = head(grid).assignments.argmax(1).view(x.shape)
        accuracy = (head(points).assignments.argmax(1) == labels).float().mean()
    ax.contourf(x, y, regions, levels=[-0.5, 0.5, 1.5, 2.5], alpha=0.25)
    ax.scatter(*points.T, c=labels, s=8)
    ax.scatter(*points[known].T, c=labels[known], s=60, edgecolor="black")
    ax.set_title(f"weight {weight:g}: {float(accuracy):.1%} of the points right")
for name, values in zip(
    ("cross-entropy", "clustering loss", "reconstruction", "sparsity", "overlap"),
    zip(*history, strict=True),
    strict=False,
):
    axes[2].plot(values, label=name)
axes[2].set(title="weight 1: the terms over training", xlabel="step", ylabel="loss")
axes[2].legend(fontsize="small")
plt.show()

# %% [markdown]
# The borders turn by some degrees, away from the crowded places. Features that are given, as here, leave the loss no more to
# do than that. Where a network makes them, it can move the points as well: see the next notebook.
