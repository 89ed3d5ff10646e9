"""Pictures of what a model does; they need matplotlib (``pip install 'supercm-pl[plot]'``)."""

from supercm_pl.viz.embedding import plot_embedding

__all__ = ["plot_embedding"]
