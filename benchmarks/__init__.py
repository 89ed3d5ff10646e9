"""Benchmarks, each one command: ``python -m benchmarks.<name> --help``."""
