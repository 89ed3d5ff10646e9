"""Accuracy of the default recipes on a field of data sets that packages ship."""
