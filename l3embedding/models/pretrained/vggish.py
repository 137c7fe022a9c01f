"""VGGish (Hershey et al., ICASSP 2017): `vggish` without and `vggish_relu` with a ReLU after the last layer.

Both are the same weights: the published TensorFlow checkpoint or the HDF5 file of a Keras port. There is no published
checksum. The licence is the one of the repository that publishes code and checkpoint. The network is in
`l3embedding.models.vggish`.
"""

from dataclasses import replace

from l3embedding.models.registry import Family, Pretrained

VGGISH = Pretrained(
    name="vggish",
    licence="apache-2.0",
    sample_rate=16_000,
    bins=64,
    dimensions=(128,),
    parameters=72_141_184,
    url="https://storage.googleapis.com/audioset/vggish_model.ckpt",
    files=("vggish_model.ckpt", "vggish_model.ckpt.index", "vggish.h5"),
    loader="l3embedding.models.vggish:load_vggish",
    patterns=("*.ckpt", "*.ckpt.index", "vggish*.h5"),
)
# A file does not tell whether its network ended in a ReLU; so it is recognised as `vggish`.
VGGISH_RELU = replace(VGGISH, name="vggish_relu", patterns=())

FAMILY = Family("vggish", "https://github.com/tensorflow/models", (VGGISH, VGGISH_RELU), fetched=("vggish",))
