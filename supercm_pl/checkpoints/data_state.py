"""The state of the data module in a checkpoint, with the preprocessing that a model requires."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from torch import nn

from supercm_pl.checkpoints.building import build
from supercm_pl.checkpoints.trust import named_in
from supercm_pl.options import class_and_arguments

DATA_OPTIONS = "data_options"
"""Key of a checkpoint: the options of the data module. Those of the model are its hyperparameters.
"""


def data_state(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the state of the data module; empty without one of this package."""
    # Lightning saves it under the name of its class.
    states = (state for state in content.values() if isinstance(state, dict))
    return next((state for state in states if "fingerprint" in state), {})


def preprocess_state(preprocess: nn.Module | None) -> dict[str, Any]:
    """Return the state of a fitted preprocessing, and its class with arguments, or nothing."""
    if preprocess is None or not is_fitted(preprocess):
        return {}
    state = preprocess.state_dict()
    return {"preprocess": state, "preprocess_class": class_and_arguments(preprocess)}


def is_fitted(preprocess: nn.Module) -> bool:
    """Whether a preprocessing is fitted, or requires no fit."""
    return not hasattr(preprocess, "fit") or bool(getattr(preprocess, "fitted", True))


def load_preprocess(
    state: Mapping[str, Any], named: Any = None, trust: Collection[str] = ()
) -> nn.Module | None:
    """Rebuild the fitted preprocessing of :func:`data_state`; ``None`` if there was none.

    Args:
        state: State of the data module.
        named: Its trusted class path and arguments; ``None``: those of the checkpoint.
        trust: Packages whose classes the checkpoint may name.

    Raises:
        ValueError: If the class is unknown, not trusted or not a module.
    """
    if "preprocess" not in state:
        return None
    known = named or state.get("preprocess_class")
    known = {"class_path": known} if isinstance(known, str) else known
    if not isinstance(known, Mapping) or "class_path" not in known:
        raise ValueError("the checkpoint has no class path of its preprocessing")
    preprocess = build(known, frozenset(trust) | named_in(named))
    if not isinstance(preprocess, nn.Module):
        raise ValueError(f"the preprocessing must be a module, got {known['class_path']}")
    preprocess.load_state_dict(state["preprocess"])
    return preprocess
