"""What a student is worth: clips embedded, classifiers trained and evaluated on them."""
