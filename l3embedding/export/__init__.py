"""What a student is published as: a TFLite model with a model card."""
