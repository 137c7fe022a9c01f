"""How useful a student is: clips are embedded, and classifiers trained and evaluated on them."""
