"""Training the student to produce phi(teacher(x)) from x."""
