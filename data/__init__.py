"""Reading audio, framing, shards, levels, data sets, and synthetic soundscapes."""
