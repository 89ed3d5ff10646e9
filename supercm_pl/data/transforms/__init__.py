"""Augmentation and whitening of batches on the device."""
