"""Vectors of entity texts: TF-IDF with truncated SVD, a sentence transformer, or ready arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kge.text.cache import content_key, load_arrays, store_arrays
from kge.text.entity_texts import check_texts
from kge.text.latent_semantics import latent_semantic_vectors

if TYPE_CHECKING:
    from torch import Tensor


class TextEncoder:
    """Encodes entity texts as vectors whose inner products are similarities.

    Equal texts get equal vectors; each distinct text counts once when TF-IDF is fitted. An empty
    text gets a zero vector, which readers of the result must take as "no text", not as a place.

    Args:
        model: ``tfidf``: TF-IDF of word and character n-grams, then truncated SVD, known as latent
            semantic analysis; needs no download. A folder or a hub name: that model of
            ``sentence-transformers`` (extra ``text``). An array (E, D), or the path of a ``.npy``
            file that holds one: taken as it is.
        dim: largest width for ``tfidf``; fewer where the texts span fewer directions.
        batch_size: texts a sentence transformer encodes at once.
        device: where a sentence transformer runs; by default it chooses.
        local_files_only: never ask the hub. ``HF_HUB_OFFLINE=1`` does the same from outside.
        revision: commit or branch on the hub.
        seed: of the randomised SVD (more than 2048 distinct texts).
        cache: keep vectors under ``GRAPHCL_CACHE``, by a hash of texts and settings.

    Raises:
        FileNotFoundError: ``model`` is the path of nothing.
        ImportError: ``sentence-transformers`` is needed and not installed.

    Example:
        >>> vectors = TextEncoder(dim=2).encode(["red apple", "green apple", "steam engine", ""])
        >>> vectors.shape, bool((vectors[3] == 0).all())
        ((4, 2), True)
    """

    def __init__(
        self,
        model: str | Path | np.ndarray | Tensor = "tfidf",
        *,
        dim: int = 128,
        batch_size: int = 64,
        device: str | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
        seed: int = 0,
        cache: bool = False,
    ) -> None:
        if dim < 1 or batch_size < 1:
            raise ValueError(f"dim and batch_size must be at least 1, got {dim} and {batch_size}")
        self.array: np.ndarray | None = None
        self.model: str = "array"
        if not isinstance(model, str | Path):
            self.array = ready_vectors(model)
        elif str(model).endswith(".npy"):
            self.array = load_vectors(model)
        else:
            self.model = _model_name(model)
        self.dim, self.batch_size, self.seed = dim, batch_size, seed
        self.device, self.local_files_only, self.revision = device, local_files_only, revision
        self.cache = cache

    def __repr__(self) -> str:
        shape = "" if self.array is None else f", shape={self.array.shape}"
        return f"TextEncoder({self.model!r}{shape})"

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of E texts, float32 (E, D); rows are of unit length or, without text, zero.

        Ready arrays come back unchanged.

        Raises:
            ValueError: not strings, all empty, or a ready array with another count of rows.
        """
        if self.array is not None:
            if len(texts) != len(self.array):
                raise ValueError(
                    f"the array has {len(self.array)} rows, but there are {len(texts)} texts"
                )
            return self.array
        texts = check_texts(texts)
        key = content_key(self.settings(), texts=texts) if self.cache else ""
        stored = load_arrays("vectors", key) if self.cache else None
        if stored is not None and len(stored.get("vectors", ())) == len(texts):
            return stored["vectors"]
        distinct = sorted({text for text in texts if text})
        place = {text: i for i, text in enumerate(distinct)}
        if self.model == "tfidf":
            found = latent_semantic_vectors(distinct, self.dim, seed=self.seed)
        else:
            found = self._transform(distinct)
        vectors = np.zeros((len(texts), found.shape[1]), dtype=np.float32)
        rows = [i for i, text in enumerate(texts) if text]
        vectors[rows] = found[[place[texts[i]] for i in rows]]
        if self.cache:
            store_arrays("vectors", key, {"vectors": vectors})
        return vectors

    def settings(self) -> dict[str, Any]:
        """What the vectors depend on besides the texts, as plain values."""
        if self.array is not None:
            return {"model": "array", "content": content_key({}, array=self.array)}
        if self.model == "tfidf":
            return {
                "model": "tfidf",
                "layout": 1,
                "dim": self.dim,
                "seed": self.seed,
                "scikit-learn": _version("scikit-learn"),
            }
        return {
            "model": self.model,
            "revision": self.revision,
            "files": _folder_state(self.model),
            "sentence-transformers": _version("sentence-transformers"),
        }

    def _transform(self, texts: list[str]) -> np.ndarray:
        """Sentence vectors."""
        transformers = _sentence_transformers()
        local = Path(self.model).is_dir()
        try:
            model = transformers.SentenceTransformer(
                self.model,
                device=self.device,
                revision=self.revision,
                local_files_only=self.local_files_only or local,
            )
        except (OSError, ValueError) as error:
            raise OSError(
                f"the sentence-transformers model {self.model!r} could not be loaded: {error}\n"
                "Without network give the path of a folder that holds it, or use model='tfidf'."
            ) from error
        found = model.encode(
            texts,
            batch_size=self.batch_size,
            convert_to_numpy=True,
            normalize_embeddings=True,
            show_progress_bar=len(texts) > 100 * self.batch_size,
        )
        return np.asarray(found, dtype=np.float32)


def ready_vectors(vectors: Any) -> np.ndarray:
    """An array or tensor (E, D) as float32.

    Raises:
        ValueError: not two-dimensional, empty, not numeric, or with NaN or infinity.
    """
    if hasattr(vectors, "detach"):
        vectors = vectors.detach().cpu().numpy()
    array = np.asarray(vectors)
    if array.ndim != 2 or 0 in array.shape or array.dtype.kind not in "fiu":
        raise ValueError(
            f"vectors must be numbers of shape (E, D), got {array.dtype} of shape {array.shape}"
        )
    array = np.ascontiguousarray(array, dtype=np.float32)
    bad = ~np.isfinite(array).all(axis=1)
    if bad.any():
        raise ValueError(f"the vector of entity {int(bad.argmax())} is NaN or infinite")
    return array


def load_vectors(path: str | Path) -> np.ndarray:
    """Vectors (E, D) from a ``.npy`` file, float32.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no such array.
    """
    return ready_vectors(np.load(Path(path).expanduser(), allow_pickle=False))


def _model_name(model: str | Path) -> str:
    name = str(model)
    if name == "tfidf":
        return name
    path = Path(name).expanduser()
    if path.is_dir():
        return str(path.resolve())
    if isinstance(model, Path) or name.startswith((".", "/", "~")) or path.exists():
        raise FileNotFoundError(
            f"{name!r} is no folder with a sentence-transformers model and no .npy file"
        )
    # Known before the first batch, not only when texts are encoded.
    if find_spec("sentence_transformers") is None:
        _sentence_transformers()
    return name


def _sentence_transformers() -> Any:
    try:
        import sentence_transformers
    except ImportError as error:
        raise ImportError(
            "encoding texts with a sentence transformer needs the extra 'text': "
            'pip install "graphcl-kge[text]"; the model "tfidf" needs nothing more'
        ) from error
    return sentence_transformers


def _folder_state(model: str) -> str | None:
    """Hash of names, sizes and times of the files of a local model; None for one of the hub."""
    folder = Path(model)
    if not folder.is_dir():
        return None
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    state = [
        (str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns)
        for path in files
    ]
    return hashlib.sha256(repr(state).encode()).hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
