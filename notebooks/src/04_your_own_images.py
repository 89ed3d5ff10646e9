# %% [markdown]
# # Your own images
#
# You need a folder with one subfolder of images per class, and a folder of unlabeled images. This
# notebook first creates such folders; replace them with the paths of your own.

# %%
import logging
import tempfile
import warnings
from pathlib import Path

import lightning.pytorch as L
import matplotlib.pyplot as plt
import torch
from PIL import Image
from sklearn.datasets import load_digits

from supercm_pl import SSLDataModule, SSLModule
from supercm_pl.backbones import ConvNet
from supercm_pl.data import AffineNoise
from supercm_pl.export import Classifier, export_torch

STEPS = 200
warnings.filterwarnings("ignore", module="lightning|torchmetrics")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

photos = Path(tempfile.mkdtemp()) / "photos"
digits = load_digits()
words = ["zero", "one", "two", "three", "four"]
few = (digits.target < 5).nonzero()[0]
for number, row in enumerate(few):
    name = words[digits.target[row]]
    part = f"labeled/{name}" if number < 40 else "unlabeled" if number < 600 else f"test/{name}"
    (photos / part).mkdir(parents=True, exist_ok=True)
    Image.fromarray((digits.images[row] * 15.9).astype("uint8")).save(photos / part / f"{row}.png")
for folder in sorted(photos.glob("*/*/")):
    print(folder.relative_to(photos), len(list(folder.glob("*.png"))))
print("unlabeled", len(list((photos / "unlabeled").glob("*.png"))))

# %% [markdown]
# ## Training
#
# Images may have any size and format; each is resized to a square. For photographs, use
# `image_size=128` or more and a pretrained network,
# `supercm_pl.backbones.TorchvisionBackbone("resnet18", weights="DEFAULT")`.
#
# The equivalent command is
# `supercm fit --config configs/ssl/folder_small.yaml --data.source.labeled photos/labeled --data.source.unlabeled photos/unlabeled --data.source.test photos/test`.
# For photographs, use `folder.yaml`.

# %%
data = SSLDataModule.from_folder(
    photos / "labeled",
    photos / "unlabeled",
    photos / "test",
    image_size=16,
    grayscale=True,
    weak=AffineNoise(rotation=0.15, shift=0.1, scale=0.1, noise=0.05),
    steps_per_epoch=50,
    val_size=0,
    predict_path=photos / "unlabeled",
    seed=0,
)
print(data.classes, data.num_classes)

L.seed_everything(0, verbose=False)
module = SSLModule(
    ConvNet(1, (16, 32, 64), out_features=32),
    data.num_classes,
    cm_weight=0.5,
    optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.002),
)
trainer = L.Trainer(
    max_steps=STEPS,
    accelerator="cpu",
    num_sanity_val_steps=0,
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
trainer.fit(module, data)
(metrics,) = trainer.test(module, data, verbose=False)
print(f"test accuracy {metrics['test/acc']:.3f}")

# %% [markdown]
# ## Least confident predictions
#
# The labels of these unlabeled images would help most. Label a few, move them to the folder of
# their class, and train again.

# %%
module.eval()
with torch.no_grad():
    batches = [data.on_after_batch_transfer(batch) for batch in data.predict_dataloader()]
    found = [(batch["ids"], batch["inputs"], module.predict_step(batch)) for batch in batches]
paths = [path for ids, _, _ in found for path in ids]
images = torch.cat([inputs for _, inputs, _ in found])
probability = torch.cat([prediction["probability"] for _, _, prediction in found])
label = torch.cat([prediction["class"] for _, _, prediction in found])
figure, axes = plt.subplots(1, 8, figsize=(11, 2))
for ax, number in zip(axes, probability.argsort()[:8].tolist(), strict=True):
    ax.imshow(images[number, 0].numpy(), cmap="gray_r")
    name = Path(paths[number]).name
    ax.set_title(f"{data.classes[label[number]]}, {probability[number]:.0%}\n{name}")
    ax.axis("off")
plt.show()

# %% [markdown]
# ## Export
#
# The exported file contains the class names, and PyTorch runs it without this package. For a run of
# the command, use `supercm export runs/.../last.ckpt`, with `--format onnx` for runtimes other than
# PyTorch.

# %%
file = photos.parent / "words.pt2"
difference = export_torch(Classifier(module, data.classes, data.input_shape), file)
print(f"{file.stat().st_size / 1e6:.1f} MB; outputs differ from the module's by {difference:.1g}")
probabilities, logits, features = torch.export.load(str(file)).module()(images[:3])
for path, row, known in zip(paths, probabilities, label, strict=False):
    print(path, "is", data.classes[row.argmax()], "and was", data.classes[known])
