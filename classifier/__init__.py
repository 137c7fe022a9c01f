"""Downstream: the classifiers that judge an embedding, and the metrics that judge them."""
