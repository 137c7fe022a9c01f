"""Front ends, against the packages' own images."""

from __future__ import annotations

from dataclasses import replace

import keras
import librosa
import numpy as np
import pytest

from l3embedding.data.audio import frame_audio
from l3embedding.models.frontend import LogMelSpectrogram
from l3embedding.models.representation import OPENL3_REPRESENTATIONS, InputRepresentation, student_representation
from l3embedding.settings import StudentSettings
from l3embedding.utils.errors import InputError


@pytest.mark.parametrize(
    ("name", "convention", "shape"),
    [
        ("mel256", "kapre_v0_1", (256, 199, 1)),
        ("mel256", "kapre", (256, 199, 1)),
        ("mel256", "librosa", (256, 199, 1)),
        ("mel128", "kapre", (128, 199, 1)),
        ("linear", "kapre_v0_1", (257, 199, 1)),
        ("linear", "kapre", (257, 197, 1)),
        ("linear", "librosa", (257, 197, 1)),
    ],
)
def test_images_have_the_shape_that_the_networks_were_trained_with(name, convention, shape, rng):
    representation = replace(OPENL3_REPRESENTATIONS[name], convention=convention)
    assert representation.image_shape == shape
    audio = rng.normal(size=(2, 48000)).astype(np.float32)
    assert LogMelSpectrogram(representation)(audio).shape == (2, *shape)


def test_a_students_frame_is_padded_by_432_zeros_on_either_side():
    assert student_representation().padding == (432, 432)
    assert student_representation().image_shape == (64, 50, 1)


def test_the_settings_of_a_student_are_its_representation():
    student = StudentSettings(asr=4000, num_mels=20, num_dft=256, hop_len=100, fmax=1500)
    assert student_representation(student) == InputRepresentation(4000, 256, 100, 20, 1500.0, "kapre_v0_1")


def test_an_unknown_convention_is_refused():
    with pytest.raises(InputError, match="one of kapre_v0_1, kapre, librosa, not 'kapre_v1'"):
        InputRepresentation(4000, 256, 100, 20, convention="kapre_v1")


def _image(representation, frame):
    return keras.ops.convert_to_numpy(LogMelSpectrogram(representation)(frame[np.newaxis]))[0, :, :, 0]


def test_the_students_image_is_the_released_models(shared):
    golden = np.load(shared / "sea64" / "golden.npz")
    stems = [name.removesuffix("__audio_8k") for name in golden if name.endswith("audio_8k") and "chirp" not in name]
    for stem in stems:
        frames = frame_audio(golden[f"{stem}__audio_8k"], 8000, 800, center=True)
        expected = golden[f"{stem}__log_mel_middle_frame"]
        np.testing.assert_allclose(_image(student_representation(), frames[len(frames) // 2]), expected, atol=2e-3)


def test_the_teachers_image_is_openl3s(shared):
    golden = np.load(shared / "openl3" / "golden_openl3_mel256.npz")
    representation = replace(OPENL3_REPRESENTATIONS["mel256"], convention="kapre")
    for stem in ("001_1-100032-A", "008_1-116765-A", "chirp_mono"):
        frames = frame_audio(golden[f"{stem}__audio48k"], 48000, 4800, center=True)
        expected = golden[f"{stem}__spec_kapre_frame5"]
        loud = expected > -50
        np.testing.assert_allclose(_image(representation, frames[5])[loud], expected[loud], atol=1e-2)


def test_the_image_equals_a_float64_transcription(rng):
    representation = student_representation()
    frame = rng.normal(0, 0.1, 8000).astype(np.float32)
    padded = np.pad(frame.astype(float), 432)
    window = np.hanning(1025)[:-1]
    spectra = np.array([np.fft.rfft(window * padded[i * 160 : i * 160 + 1024]) for i in range(50)])
    bank = librosa.filters.mel(sr=8000, n_fft=1024, n_mels=64, fmin=0, fmax=4000, htk=True, norm="slaney")
    decibel = 10 * np.log10(np.maximum(np.sqrt(np.abs(spectra) ** 2 @ bank.T), 1e-10)).T
    expected = np.maximum(decibel - decibel.max(), -80)
    np.testing.assert_allclose(_image(representation, frame), expected, atol=1e-3)


def test_silence_is_0_db_everywhere_and_nothing_lies_outside_80_db(rng):
    assert (_image(student_representation(), np.zeros(8000, np.float32)) == 0).all()
    image = _image(student_representation(), np.eye(1, 8000, 100, dtype=np.float32)[0])
    assert image.max() == 0
    assert image.min() == -80


def test_the_layer_survives_saving(tmp_path, rng):
    representation = InputRepresentation(4000, n_fft=256, hop_length=100, n_mels=20, fmax=1500.0, convention="kapre")
    audio = keras.Input((4000,))
    model = keras.Model(audio, LogMelSpectrogram(representation)(audio))
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert loaded.layers[-1].representation == representation
    x = rng.normal(size=(2, 4000)).astype(np.float32)
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
