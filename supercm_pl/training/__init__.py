"""What semi-supervised learning and domain adaptation share."""
