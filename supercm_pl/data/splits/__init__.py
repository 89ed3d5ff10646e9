"""Labeled, unlabeled and validation samples."""
