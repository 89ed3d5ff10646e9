"""What several semi-supervised methods share."""
