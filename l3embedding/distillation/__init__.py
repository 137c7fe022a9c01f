"""A student learns to produce phi(teacher(x)) from x."""
