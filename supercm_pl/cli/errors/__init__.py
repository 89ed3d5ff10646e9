"""Error messages of the command."""
