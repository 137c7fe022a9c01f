"""Downstream classifiers, and the metrics that evaluate them."""
