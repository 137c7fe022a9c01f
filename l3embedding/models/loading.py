"""Load an embedding model by its name or its path. Frameworks are imported once it is clear what is to be loaded."""

from __future__ import annotations

import os
from collections.abc import Sequence
from numbers import Real
from pathlib import Path

from l3embedding.models import registry
from l3embedding.models.interface import EmbeddingModel, Teacher
from l3embedding.models.plugged import PluggedTeacher, is_plugged, load_plugged
from l3embedding.models.representation import Convention
from l3embedding.utils.errors import InputError

BEST_MODEL = "model_best_valid_loss.keras"
INT8_MODEL = "student_int8.tflite"
"""The model file in the folder of a trained student, and in that of an exported one."""

OPENL3_EMBEDDING_SIZE = 6144
"""openl3's default."""


def model_name(
    input_repr: str | None = None,
    content_type: str | None = None,
    frontend: str | None = None,
    model_type: str | None = None,
    emb_dim: int | None = None,
    retrain_type: str | None = None,
    sparsity: float | None = None,
) -> str:
    """Find the official name of a model that is described by openl3's or edgel3's arguments.

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

    def or_default(value: object, default: object) -> object:
        return default if value is None else value

    if input_repr is not None or content_type is not None:
        name = f"openl3_audio_{or_default(input_repr, 'mel256')}_{or_default(content_type, 'music')}"
        name += "" if frontend == "kapre_v0_1" else "-v0_4_0"
    elif model_type == "sparse" or (model_type is None and (retrain_type, sparsity) != (None, None)):
        # The official names write every sparsity with its decimals: 87.0.
        percent = or_default(sparsity, 95.45)
        percent = float(percent) if isinstance(percent, Real) else percent
        name = f"edgel3_{or_default(retrain_type, 'ft')}_audio_sparsity_{percent}"
    elif model_type in (None, "sea"):
        name = f"edgel3_sea_ust_audio_emb_{or_default(emb_dim, 128)}"
    else:
        raise InputError(f"model_type {model_type!r} is neither 'sea' nor 'sparse'.")
    return registry.find(name).name


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
        `package.module:callable` (see `l3embedding.models.plugged`). By default the next arguments name it.
    input_repr, content_type, model_type, emb_dim, retrain_type, sparsity
        openl3's and edgel3's ways of naming a model, see `l3embedding.models.loading.model_name`. `input_repr` also
        describes a file of openl3's weights whose name does not.
    embedding_size
        For openl3's weights: 512, or 6144 for its 4 x 3 grid. By default 512 for a name or a file, and
        6144 where `input_repr` or `content_type` name the model, as in openl3.
    frontend
        For openl3's and edgel3's weights: the front end's convention, if not that of the name.
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
            embedding_size = OPENL3_EMBEDDING_SIZE
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
        path = _file_in(path)
    if not path.is_file():
        known = registry.nearest_first(str(path), registry.models())
        raise InputError(f"{path} is neither a file nor a pretrained model; those are {known}.")
    if (pretrained := registry.of_file(path)) is not None:
        return pretrained.load(path, batch_size, embedding_size=embedding_size, frontend=frontend)
    if path.suffix == ".tflite":
        from l3embedding.models.tflite import TFLiteEmbeddingModel

        return _checked(TFLiteEmbeddingModel(path), batch_size)
    from l3embedding.models.l3 import architecture_of
    from l3embedding.models.model_files import is_full_model, load_keras_file
    from l3embedding.models.weights import load_l3

    if path.suffix == ".keras" or (path.suffix == ".h5" and is_full_model(path)):
        return _checked(load_keras_file(path, batch_size), batch_size)
    architecture = architecture_of(model_name(input_repr)) if input_repr else None
    return load_l3(path, None, batch_size, embedding_size, frontend, architecture)


def _checked(model: EmbeddingModel | Teacher, batch_size: int) -> EmbeddingModel:
    """Check the output of a model that is not of our own architecture."""
    if hasattr(model, "representation") and isinstance(model, EmbeddingModel):
        return model
    return PluggedTeacher(model, getattr(model, "name", ""), batch_size)


def _file_in(folder: Path) -> Path:
    for name in (BEST_MODEL, INT8_MODEL):
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"{folder} holds no student: neither {BEST_MODEL} nor {INT8_MODEL} is there.")
