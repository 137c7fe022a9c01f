"""A student as others take it: TFLite, a model card."""
