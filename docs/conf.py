"""Configuration of the documentation site: ``sphinx-build -W --keep-going -n docs site``.

Neither the build nor the site uses the network: equations are MathML.
"""

import importlib
import pkgutil
import sys
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities.types import LRSchedulerConfigType
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import supercm_pl.callbacks
import supercm_pl.viz
from supercm_pl import __version__
from supercm_pl.training import optim

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_extensions"))

project = "supercm_pl"
author = "The supercm_pl developers"
copyright = author
release = version = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "myst_nb",
    "mathml",
    "outside",
]
exclude_patterns = ["_build", "_extensions"]
default_role = "code"

# Pages.
html_theme = "furo"
html_title = f"supercm_pl {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"
copybutton_exclude = ".linenos, .gp, .go"

# Docstrings.
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False
python_use_unqualified_type_names = True
maximum_signature_line_length = 80  # one argument in each line of a longer one
add_module_names = False

# Every reference must resolve, except to other packages, whose inventories are online. Fields of
# named tuples are annotated as Tensor, without a module.
nitpick_ignore_regex = [
    (
        r"py:.*",
        r"(Tensor|Values|abc|argparse|collections|contextlib|dataclasses|lightning|matplotlib|numpy|onnxruntime|os|pathlib|pickle"
        r"|sklearn|torch|torchmetrics|torchvision|typing)(\..*)?",
    ),
]

# These modules import types only for type checkers; autodoc needs them to read signatures.
for _package in (supercm_pl.viz, supercm_pl.callbacks):
    for _module in pkgutil.iter_modules(_package.__path__, f"{_package.__name__}."):
        vars(importlib.import_module(_module.name)).update(Axes=Axes, Figure=Figure)
vars(optim).update(LRSchedulerConfigType=LRSchedulerConfigType)


def show_public_bases(app: Any, name: str, obj: Any, options: Any, bases: list[Any]) -> None:
    """Replace a private base class by its own bases."""
    private = [base for base in bases if getattr(base, "__name__", "").startswith("_")]
    for base in private:
        place = bases.index(base)
        bases[place : place + 1] = base.__bases__


def skip_fields(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Skip the fields of a named tuple; its docstring describes them."""
    return True if str(getattr(obj, "__doc__", "")).startswith("Alias for field") else None


def setup(app: Any) -> None:
    """Connect both hooks to autodoc."""
    app.connect("autodoc-process-bases", show_public_bases)
    app.connect("autodoc-skip-member", skip_fields)
