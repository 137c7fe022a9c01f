"""Load an embedding model by its name or its path. Frameworks are imported only when they are needed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from numbers import Real
from pathlib import Path

from l3embedding.models import registry
from l3embedding.models.interface import EmbeddingModel, PluggedTeacher, is_plugged, load_plugged
from l3embedding.models.representation import Convention
from l3embedding.utils.errors import InputError

BEST_MODEL = "model_best_valid_loss.keras"
INT8_MODEL = "student_int8.tflite"
"""The model file in a trained student's folder, and in an exported student's."""


def model_name(
    input_repr: str | None = None,
    content_type: str | None = None,
    frontend: str | None = None,
    model_type: str | None = None,
    emb_dim: int | None = None,
    retrain_type: str | None = None,
    sparsity: float | None = None,
) -> str:
    """Find the official name of a model from openl3's or edgel3's arguments.

    Parameters
    ----------
    input_repr, content_type
        openl3's: linear, mel128 or mel256 (default); env or music (default). If either is given, the model is
        openl3's.
    frontend
        Of an openl3 model: kapre (default) or librosa as in openl3 0.4, kapre_v0_1 as before 0.4.
    model_type
        edgel3's: sea (default) or sparse.
    emb_dim
        Of a sea model: 64, 128 (default), 256 or 512.
    retrain_type, sparsity
        Of a sparse model: ft (default) or kd; 53.5, 63.5, 72.3, 87.0 or 95.45 (default).

    Raises
    ------
    InputError
        There is no such model.
    """
    if input_repr is not None or content_type is not None:
        name = f"openl3_audio_{_or(input_repr, 'mel256')}_{_or(content_type, 'music')}"
        name += "" if frontend == "kapre_v0_1" else "-v0_4_0"
    elif model_type == "sparse" or (model_type is None and (retrain_type, sparsity) != (None, None)):
        percent = _or(sparsity, 95.45)
        # The official names write every sparsity with its decimals: 87.0.
        percent = float(percent) if isinstance(percent, Real) else percent
        name = f"edgel3_{_or(retrain_type, 'ft')}_audio_sparsity_{percent}"
    elif model_type in (None, "sea"):
        name = f"edgel3_sea_ust_audio_emb_{_or(emb_dim, 128)}"
    else:
        raise InputError(f"model_type {model_type!r} is neither 'sea' nor 'sparse'.")
    return registry.find(name).name


def _or(value: object, default: object) -> object:
    """Replace None only: 0 and the empty text are errors."""
    return default if value is None else value


def load_model(
    model: str | os.PathLike[str] | None = None,
    input_repr: str | None = None,
    content_type: str | None = None,
    embedding_size: int | None = None,
    frontend: Convention | None = None,
    *,
    model_type: str | None = None,
    emb_dim: int | None = None,
    retrain_type: str | None = None,
    sparsity: float | None = None,
    search: Sequence[str | os.PathLike[str]] = (),
    download: bool = True,
    batch_size: int = 32,
) -> EmbeddingModel:
    """Load an embedding model.

    Parameters
    ----------
    model
        The name of a pretrained model (`openl3_audio_mel256_env`, `edgel3_sea_ust_audio_emb_64`, `vggish`, ...; see
        `sea models`), a file of such weights (`.h5`, `.h5.gz`, VGGish's `.ckpt`), a student's folder, a `.keras`,
        `.h5` or `.tflite` file (see `l3embedding.models.model_files`), or a callable of your own,
        `package.module:callable` (see `l3embedding.models.interface`). By default the next arguments name it.
    input_repr, content_type, model_type, emb_dim, retrain_type, sparsity
        openl3's and edgel3's ways of naming a model, see `l3embedding.models.loading.model_name`. `input_repr` also
        describes a file of openl3's weights whose name does not.
    embedding_size
        For openl3's weights: 512, or 6144 for its 4 x 3 grid. By default 512 for a name or a file, and
        6144 where `input_repr` or `content_type` name the model, as in openl3.
    frontend
        For openl3's and edgel3's weights: the front end's convention; by default the one that the name implies.
    search
        Folders searched for pretrained weights before the cache.
    download
        Whether to fetch pretrained weights that are missing.
    batch_size
        Frames per forward pass.

    Raises
    ------
    InputError
        There is no such model, or the file does not hold what its name promises.
    """
    if model is None:
        model = model_name(input_repr, content_type, frontend, model_type, emb_dim, retrain_type, sparsity)
        if embedding_size is None and model.startswith("openl3"):
            embedding_size = 6144  # openl3's default
    name = str(model)
    loaded: EmbeddingModel
    if is_plugged(name):
        loaded = load_plugged(name, batch_size)
    elif name in registry.models():
        pretrained = registry.models()[name]
        if "embedding_size" in pretrained.options:
            # Refused before the weights are fetched.
            _check_size(name, pretrained.dimensions, embedding_size)
        path = pretrained.locate(search, download)
        loaded = pretrained.load(path, batch_size, embedding_size=embedding_size, frontend=frontend)
    else:
        loaded = _load_file(Path(model), input_repr, embedding_size, frontend, batch_size)
    _check_size(loaded.name, (loaded.embedding_size,), embedding_size)
    return loaded


def _check_size(name: str, sizes: Sequence[int], embedding_size: int | None) -> None:
    if embedding_size is not None and embedding_size not in sizes:
        raise InputError(f"{name} embeds in {' or '.join(map(str, sizes))} dimensions, not {embedding_size!r}.")


def _load_file(
    path: Path, input_repr: str | None, embedding_size: int | None, frontend: Convention | None, batch_size: int
) -> EmbeddingModel:
    if path.is_dir():
        files = [path / name for name in (BEST_MODEL, INT8_MODEL) if (path / name).is_file()]
        if not files:
            raise InputError(f"{path} holds no student: neither {BEST_MODEL} nor {INT8_MODEL} is there.")
        path = files[0]
    if not path.is_file():
        known = registry.nearest_first(str(path), registry.models())
        raise InputError(f"{path} is neither a file nor a pretrained model; those are {known}.")
    if (pretrained := registry.of_file(path)) is not None:
        return pretrained.load(path, batch_size, embedding_size=embedding_size, frontend=frontend)
    model: EmbeddingModel
    if path.suffix == ".tflite":
        from l3embedding.models.tflite import TFLiteEmbeddingModel

        model = TFLiteEmbeddingModel(path)
    else:
        from l3embedding.models.model_files import is_full_model, load_keras_file
        from l3embedding.models.weights import load_l3

        if path.suffix != ".keras" and not (path.suffix == ".h5" and is_full_model(path)):
            architecture = registry.architecture_of(model_name(input_repr)) if input_repr else None
            return load_l3(path, None, batch_size, embedding_size, frontend, architecture)
        model = load_keras_file(path, batch_size)
    # A model that takes audio may be of any kind, so its output is checked.
    return model if hasattr(model, "representation") else PluggedTeacher(model, model.name, batch_size)
