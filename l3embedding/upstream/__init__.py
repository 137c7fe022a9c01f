"""From the recordings of a domain to phi: extraction, sampling, reduction."""
