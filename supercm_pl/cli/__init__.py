"""The ``supercm`` command."""
