"""The command `sea`, and what every stage's program does."""
