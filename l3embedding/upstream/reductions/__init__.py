"""The modes of reduction, one module each; see `l3embedding.upstream.reduction`."""
