"""Optional third-party libraries."""
