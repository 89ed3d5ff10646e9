"""Training shared by semi-supervised learning and domain adaptation."""
