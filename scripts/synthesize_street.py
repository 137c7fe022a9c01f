"""Before the chain, where there are no recordings: synthesise a small street."""

from __future__ import annotations

import sys

from l3embedding.cli.program import Job, Results, run_stage
from l3embedding.data.soundscapes import synthesize_street
from l3embedding.settings import StreetSettings


def synthesize(job: Job, street: StreetSettings, random_state: int) -> Results:
    """Synthesise recordings and annotated clips; see `l3embedding.data.soundscapes`."""
    synthesize_street(job.folder, street, random_state)
    return {"synthetic": True}


if __name__ == "__main__":
    sys.exit(run_stage("synthesize-street", synthesize))
