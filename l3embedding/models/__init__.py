"""Networks, their front ends and weights, and teachers of any kind."""
