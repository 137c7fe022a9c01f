"""Reading audio, framing, shards, levels, data sets, and synthetic soundscapes.

Importing this package is cheap: each module imports its heavy dependencies itself.
"""
