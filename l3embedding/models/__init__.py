"""Front ends, networks, pretrained weights, model files, and teachers of any kind."""
