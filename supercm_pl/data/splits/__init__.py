"""Which samples are labeled, unlabeled and for validation."""
