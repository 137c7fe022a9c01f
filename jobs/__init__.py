"""The chain: which stage follows which, with what parameters, and who runs it.

This room knows the stages by name and never imports their code, so that the launcher starts at
once and works on a login node.
"""
