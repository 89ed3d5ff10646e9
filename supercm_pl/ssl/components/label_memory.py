"""A memory of the latest pseudo-label of every unlabeled sample."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from supercm_pl.checks import check_saved_labels, is_readable
from supercm_pl.distributed import gather_over_ranks

NO_LABEL = -1


class LabelMemory(nn.Module):
    """The latest pseudo-label of every unlabeled sample, and how many samples have each class.

    All ranks remember all samples. The memory is saved with the module, but it is not a buffer:
    it must not be averaged over steps, nor broadcast in each of them.

    Args:
        num_classes: ``K``.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self._table = torch.full((1,), NO_LABEL, dtype=torch.int32)  # the last one is a dummy
        self._counts = torch.zeros(num_classes, dtype=torch.int64)

    @property
    def latest(self) -> Tensor:
        """``(num_samples,)`` int32, the latest label of each sample; -1 if there was none."""
        return self._table[:-1]

    @property
    def counts(self) -> Tensor:
        """``(K,)`` int64, the number of samples with each class."""
        return self._counts

    def prepare(self, index: Tensor, num_samples: int | None) -> Tensor:
        """Check the index ``(N,)``, int64, of a step, and return it.

        The memory starts anew if the unlabeled part has another number of samples. A missing
        argument, or an index out of range, is a ``ValueError``.
        """
        if num_samples is None:
            raise ValueError(
                "num_samples must be the size of the unlabeled part, as the data module has no "
                "num_unlabeled; got None"
            )
        if len(self.latest) != num_samples:
            size = (num_samples + 1,)
            self._table = torch.full(size, NO_LABEL, dtype=torch.int32, device=index.device)
            self._counts = torch.zeros_like(self._counts, device=index.device)
        if is_readable(index) and bool(((index < 0) | (index >= num_samples)).any()):
            raise ValueError(
                f"num_samples must be the size of the unlabeled part, got {num_samples} and the "
                f"sample {int(index.max())}"
            )
        return index

    @torch.no_grad()
    def update(self, index: Tensor, labels: Tensor) -> None:
        """Remember labels ``(N,)`` of the samples ``index``; ``NO_LABEL`` keeps the old one."""
        classes, dummy = len(self._counts), len(self._table) - 1
        pairs = gather_over_ranks(torch.stack([index, labels], dim=1))
        # A sample may occur twice with different labels. All ranks must take the same one: the
        # greatest, which is the last of its sample once sorted. The others go to the dummy.
        keys = (pairs[:, 0] * (classes + 1) + pairs[:, 1] + 1).sort().values
        index, labels = keys // (classes + 1), keys % (classes + 1) - 1
        last = torch.cat([index[1:] != index[:-1], torch.ones_like(index[:1], dtype=torch.bool)])
        before = self._table[index]
        after = torch.where(labels == NO_LABEL, before, labels.to(before.dtype))
        self._table.scatter_(0, torch.where(last, index, dummy), after)
        # Counting the whole table would cost more with every sample in it.
        change = torch.zeros(classes + 1, dtype=torch.int64, device=index.device)
        change.scatter_add_(0, before.long() + 1, -last.long())
        change.scatter_add_(0, after.long() + 1, last.long())
        self._counts += change[1:]

    def get_extra_state(self) -> Tensor:
        """The labels, for a checkpoint."""
        return self.latest

    def set_extra_state(self, state: Tensor) -> None:
        """Restore the labels of a checkpoint, of any number of samples.

        Raises:
            ValueError: If they are not labels.
        """
        check_saved_labels(state, len(self._counts), NO_LABEL)
        latest = state.to(self._table)
        self._table = torch.cat([latest, latest.new_full((1,), NO_LABEL)])
        counts = torch.zeros(len(self._counts) + 1, dtype=torch.int64, device=latest.device)
        counts.scatter_add_(0, latest.long() + 1, torch.ones_like(latest, dtype=torch.int64))
        self._counts = counts[1:]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> LabelMemory:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._table, self._counts = fn(self._table), fn(self._counts)
        return self
