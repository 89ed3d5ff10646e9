"""Seeded, resumable training batches."""
