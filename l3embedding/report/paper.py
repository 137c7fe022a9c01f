"""What the paper reports, to be shown beside what is measured.

Srivastava et al., Specialized Embedding Approximation for Edge Intelligence, ICASSP 2021. MB is 10^6 bytes.
"""

from __future__ import annotations

from typing import NamedTuple


class PaperModel(NamedTuple):
    """A row of the paper's table of models, on SONYC-UST."""

    embedding_size: int
    size_mb: float
    activation_mb: float
    micro_auprc: float


TEACHER = "L3-Audio"

MODELS = {
    TEACHER: PaperModel(512, 18.80, 12.74, 0.810),
    "Student 0": PaperModel(512, 18.80, 0.82, 0.823),
    "Student 1": PaperModel(256, 4.70, 0.41, 0.793),
    "Student 2": PaperModel(128, 2.34, 0.41, 0.797),
    "Student 3": PaperModel(64, 1.60, 0.41, 0.784),
}

SAMPLING = {
    "dpp": ("diversity + relevance", 0.781),
    "random": ("random", 0.782),
    "dpp_div": ("only diversity", 0.783),
    "spl": ("only relevance", 0.779),
}
"""Key of the sampling to its name and the paper's micro-AUPRC of a PCA to 64 dimensions, without a student."""

BOARD = ("Student 2, 8 bits (paper)", 0.585, 0.1025)
"""The paper's 8-bit student: name, flash and RAM in MB."""

CITATION = "Srivastava, Roy, Cartwright, Bello, Arora: Specialized Embedding Approximation, ICASSP 2021"
DOI = "https://ieeexplore.ieee.org/document/9414287"
