"""Training data without a length."""
