"""What several methods of domain adaptation share."""
