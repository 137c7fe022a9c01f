"""Stage 06's substance: from embeddings and labels to a classifier and its scores, on SONYC-UST or by folds."""
