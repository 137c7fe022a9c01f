"""openl3's audio networks (Cramer et al., ICASSP 2019), among them the paper's teacher.

A name without a version is the first release; `-v0_2_0` and `-v0_4_0` are the weights that came with openl3 0.2 and
0.4. Licence: marl/openl3, README, "Model Weights License".
"""

from dataclasses import replace

from l3embedding.models.registry import Architecture, Family, L3Model
from l3embedding.models.representation import OPENL3_REPRESENTATIONS

SOURCE = "https://github.com/marl/openl3"

BLOBS = {
    "openl3_audio_linear_env": "1cb1794ba105f7f8336ad7cca3631a88524d8e22",
    "openl3_audio_linear_env-v0_2_0": "cdd124b91391070897fbec62ccd8b6b0222c0b57",
    "openl3_audio_linear_env-v0_4_0": "7837407f033f3564c7e8d53fc4a4241fe160478b",
    "openl3_audio_linear_music": "10fc4beb453e1d621e61f13a62dedb3243265f43",
    "openl3_audio_linear_music-v0_2_0": "9365d8f01837fdfb57bead16917c03fcc88ab204",
    "openl3_audio_linear_music-v0_4_0": "4e2e61beb17865481c8b8791c72eac8307e2753a",
    "openl3_audio_mel128_env": "04012b3399858de0ce3216046535059a063f8120",
    "openl3_audio_mel128_env-v0_2_0": "ea27bc20cbb3b8ce6710302d71355cd09643f98d",
    "openl3_audio_mel128_env-v0_4_0": "8c3dfee140f7776373841e5938a3e76c54f28942",
    "openl3_audio_mel128_music": "93447b54001ec4c1df7f9a11946ba534908bbc19",
    "openl3_audio_mel128_music-v0_2_0": "1003bd14a895b3ee8541d91d88a04d1c152c51cf",
    "openl3_audio_mel128_music-v0_4_0": "73ff29de441865318c4b3a3f98c40763c4773e7c",
    "openl3_audio_mel256_env": "548e62e79251b81dcaf1c293f75f301cc8dd0b89",
    "openl3_audio_mel256_env-v0_2_0": "b5c5534c2a5132a7d63dfe674c5c08702e667095",
    "openl3_audio_mel256_env-v0_4_0": "34dbd7a91cdd2de6a3d6d036ac0a24d27d78e3cc",
    "openl3_audio_mel256_music": "138dcc0a9c95ba3c08605944a2d74901f634dcf6",
    "openl3_audio_mel256_music-v0_2_0": "a0f80c1c7e16aa908408286a3cb3d8b677ec7005",
    "openl3_audio_mel256_music-v0_4_0": "15e483646fa3d4091a463f0affbb706e6bbbb098",
}


def _architecture(name: str) -> Architecture:
    representation = OPENL3_REPRESENTATIONS[name.split("_")[2]]
    # The weights of 0.4 were converted for kapre 0.3, whose images differ.
    return Architecture(replace(representation, convention="kapre") if name.endswith("-v0_4_0") else representation)


FAMILY = Family(
    "openl3",
    SOURCE,
    models=tuple(
        L3Model.of(name, blob, SOURCE, "cc-by-4.0", _architecture(name), 512, 6144) for name, blob in BLOBS.items()
    ),
    fetched=tuple(name for name in BLOBS if name.endswith("-v0_4_0")),
)
