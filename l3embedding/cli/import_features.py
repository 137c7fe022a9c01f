"""Convert the authors' features files to upstream shards, for stages 01 and 02.

    python -m l3embedding.cli.import_features FEATURES INDEX OUTPUT_DIR

FEATURES holds SENSOR.h5 with `openl3` and `timestamp`, INDEX the levels of the same sensors: SENSOR.h5
with `spl_vector` and `spl_timestamp`, or SENSOR.csv.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from l3embedding.cli.program import report_errors, start_logging
from l3embedding.data.shards import Frames, read_features, write_upstream_shard
from l3embedding.data.spl_series import find_series, read_series
from l3embedding.utils.errors import InputError

logger = logging.getLogger(__name__)


def import_sensor(features: Path, index: Path, output_dir: Path, hop_size: float) -> None:
    """Write the shard of one sensor, without the frames that have no level."""
    embedding, timestamp = read_features(features)
    sensor = features.stem
    levels = read_series(find_series(index, sensor)).levels(timestamp, hop_size)
    known = np.isfinite(levels) & np.isfinite(timestamp)
    if not known.any():
        raise InputError(f"{features}: the levels of {sensor} cover none of its {len(timestamp)} frames.")
    if n := int((~known).sum()):
        logger.warning("%s: %d of %d frames have no level and are left out", sensor, n, len(known))
    frames = Frames(
        audio=None,
        embedding=embedding[known],
        timestamp=timestamp[known],
        spl=levels[known],
        recording=np.zeros(int(known.sum()), np.int32),
        recording_path=[str(features)],
    )
    attributes = {"sensor": sensor, "hop_size": hop_size, "teacher": "of the authors' features"}
    write_upstream_shard(output_dir / "train" / f"{sensor}-0000.h5", frames, attributes)
    logger.info("%s: %d frames", sensor, len(frames.embedding))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", metavar="FEATURES", type=Path)
    parser.add_argument("index", metavar="INDEX", type=Path)
    parser.add_argument("output_dir", metavar="OUTPUT_DIR", type=Path)
    parser.add_argument("--hop-size", type=float, default=0.5, help="between frames, s")
    arguments = parser.parse_args(argv)
    start_logging()
    return report_errors(lambda: _import_all(arguments))


def _import_all(arguments: argparse.Namespace) -> None:
    files = sorted(arguments.features.glob("*.h5"))
    if not files:
        raise InputError(f"{arguments.features} holds no features files (SENSOR.h5).")
    for path in files:
        import_sensor(path, arguments.index, arguments.output_dir, arguments.hop_size)


if __name__ == "__main__":
    sys.exit(main())
