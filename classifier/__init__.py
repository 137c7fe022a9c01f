"""Downstream classifiers, which measure how useful an embedding is, and the metrics that evaluate them."""
