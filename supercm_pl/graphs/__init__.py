"""Graphs of samples, and labels that spread over them."""
