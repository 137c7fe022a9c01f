"""edgel3's networks: the released SEA students (Srivastava et al., 2021) and pruned copies of openl3's.

Licence: ksangeeta2429/edgel3, LICENSE, which does not mention the weights separately.
"""

from l3embedding.models.registry import Architecture, Family, L3Model
from l3embedding.models.representation import OPENL3_REPRESENTATIONS, student_representation
from l3embedding.settings import PAPER_STUDENTS

SOURCE = "https://github.com/ksangeeta2429/edgel3"

BLOBS = {
    "edgel3_sea_ust_audio_emb_64": "f3535405c91fe8da71f6456adb8a061213324239",
    "edgel3_sea_ust_audio_emb_128": "162576876259e8267eb6cefe09470dbf153ed6fc",
    "edgel3_sea_ust_audio_emb_256": "6be46fee2c278b79d9f77f064146a9493eff2f83",
    "edgel3_sea_ust_audio_emb_512": "116703e97997cc316d7163ede5d2f5e4d4018f87",
    "edgel3_ft_audio_sparsity_53.5": "145a4a61614c1b0b9f68339a844a3c92a431e118",
    "edgel3_ft_audio_sparsity_63.5": "ce456a346803f8251505f137c8c3d04dcdcb8e67",
    "edgel3_ft_audio_sparsity_72.3": "3bee3a0a90c82d7cd5ff77f3012eb51f6b818ef8",
    "edgel3_ft_audio_sparsity_87.0": "a3537e20cd83b5d55708af7b1141a8e0c092488c",
    "edgel3_ft_audio_sparsity_95.45": "f04c05f436a6f95eea6f30573cb70c68841e16de",
    "edgel3_kd_audio_sparsity_53.5": "28681887520bd12b87221c13beab11a766cb10dd",
    "edgel3_kd_audio_sparsity_63.5": "c2bad561ef1f1cdd919f73f4c4f34f5672f58b4b",
    "edgel3_kd_audio_sparsity_72.3": "2bc10ef8b9cec44354c5564173106ca5128cdc92",
    "edgel3_kd_audio_sparsity_87.0": "04fd3b2bf1d461bd6bc9a33925651797705e8b56",
    "edgel3_kd_audio_sparsity_95.45": "ddefcd4c49a216f2ccec92db15105ed1499a6a35",
}


def _architecture(name: str) -> Architecture:
    if name.startswith("edgel3_sea"):
        return Architecture(student_representation(), PAPER_STUDENTS[int(name.rpartition("_")[2])], "relu")
    # The sparse networks have the shape of openl3's mel256; their pruned weights are zeros.
    return Architecture(OPENL3_REPRESENTATIONS["mel256"])


FAMILY = Family(
    "edgel3",
    SOURCE,
    models=tuple(L3Model.of(name, blob, SOURCE, "mit", _architecture(name)) for name, blob in BLOBS.items()),
    fetched=tuple(BLOBS),
)
