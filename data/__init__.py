"""Reading audio, framing, shards, loudness, data sets, and synthetic soundscapes.

The bottom room: it imports nothing else of this project, and importing it costs
nothing, because every module here imports its heavy dependencies itself.
"""
