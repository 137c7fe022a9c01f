"""Stage 07's substance: what a run's folder holds, as tables, figures and one page."""
