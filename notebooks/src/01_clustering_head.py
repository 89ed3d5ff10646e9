# %% [markdown]
# # The clustering head
#
# SuperCM (Singh et al., Pattern Recognition 2025,
# [arXiv 2507.13779](https://arxiv.org/abs/2507.13779)) adds one small module, `ClusteringHead`, to
# any network. For each sample it uses the features $x_i$ and the assignments $\gamma_i$, that is,
# how much the sample belongs to each class. The centroids $\mu_k$ are the mean features of the
# labeled samples. The loss is small if each sample is near the centroids of the classes to which it
# is assigned.
#
# In this notebook the features are points in the plane, so that you can see everything.

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
# The head averages the labeled features of each class. With two labels per class, the centroids lie
# near the centers of their clusters, but not at them.

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
# ## Terms of the loss as functions of position
#
# Let the assignments depend on the distances to the centroids,
# $\gamma_{ik} \propto \exp(-\tau \|x_i - \mu_k\|^2)$. The contribution of a point to the loss is
# then a function of its position. It is the sum of three terms:
#
# * *reconstruction* $\|x_i - \sum_k \gamma_{ik} \mu_k\|^2$: the distance to the mixture of
#   centroids given by the assignments;
# * *sparsity* $\sum_k \gamma_{ik} (1 - \gamma_{ik}) \|\mu_k\|^2$: the uncertainty of the
#   assignment;
# * *overlap* $-\sum_{k \neq l} \gamma_{ik} \gamma_{il} \langle \mu_k, \mu_l \rangle$: which
#   centroids share the point. It is negative for centroids in similar directions, where it
#   compensates sparsity. It is positive for opposite centroids, such as the left and right ones
#   below.
#
# The loss is the mean of these terms over all points, divided by the number of features.

# %%
x, y = torch.meshgrid(torch.linspace(-5, 5, 200), torch.linspace(-3, 6, 200), indexing="xy")
grid = torch.stack([x, y], dim=-1).view(-1, 2)


def terms_at(points: torch.Tensor, tau: float) -> dict[str, torch.Tensor]:
    """The terms of the loss at each point, by the equations above."""
    mu = head.centroids
    gamma = (-tau * torch.cdist(points, mu).square()).softmax(1)
    between = mu @ mu.T - torch.diag(mu.square().sum(1))
    return {
        "reconstruction": (points - gamma @ mu).square().sum(1),
        "sparsity": (gamma * (1 - gamma)) @ mu.square().sum(1),
        "overlap": -(gamma @ between * gamma).sum(1),
    }


tau = 0.2
parts = terms_at(grid, tau)
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
for name, values in terms_at(points, tau).items():
    by_hand = values.sum() / points.numel()
    print(f"{name:15} by hand {by_hand:8.5f}, by clustering_loss {getattr(loss, name):8.5f}")

# %% [markdown]
# ## Terms of the loss and confidence
#
# With $\tau = 0$, every point belongs equally to all centroids. With a large $\tau$, it belongs to
# the nearest centroid. Sparsity and overlap approach 0 as the assignments become confident. The sum
# of the terms is the mean squared distance to the centroids, weighted by the assignments: soft
# k-means.

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
# ## Effect on training
#
# The head computes its assignments with a linear layer on the features. Cross-entropy uses only the
# six labeled points. The clustering loss also uses the 294 other points, and moves the boundaries
# away from them.


# %%
def train(weight: float) -> tuple[ClusteringHead, list[list[float]]]:
    """Train a head with this weight of the clustering loss; return it and the terms by step."""
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
    ax.set_title(f"weight {weight:g}: {float(accuracy):.1%} of the points correct")
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
# The boundaries turn by a few degrees, away from dense regions. With fixed features, as here, the
# loss can do no more. If a network computes the features, the loss also moves the points: see the
# next notebook.
