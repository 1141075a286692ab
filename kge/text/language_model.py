"""A language model that turns token ids into one vector for each text."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kge.text.tokens import Frame, frame_of, model_inputs

Pooling = Literal["pooler", "mean", "first"]


class LanguageModel(nn.Module):
    """An encoder of ``transformers`` with its pooling.

    Args:
        encoder: called with ``input_ids`` and ``attention_mask``; has ``config.hidden_size``.
        tokenizer: the one that belongs to it.
        pooling: ``pooler``: what the encoder itself makes of the first token; ``mean`` of all
            tokens, as sentence transformers do; ``first``: the first token.

    Shape:
        pieces of n texts (n, L), or of n pairs (n, L) and (n, K), see :func:`token_pieces`, to
        vectors (n, ``width``).

    Raises:
        ValueError: no tokenizer, an encoder without width, or an unknown pooling.
    """

    def __init__(self, encoder: nn.Module, tokenizer: Any, pooling: Pooling = "mean") -> None:
        super().__init__()
        if pooling not in get_args(Pooling):
            raise ValueError(f"pooling must be one of {get_args(Pooling)}, got {pooling!r}")
        if tokenizer is None:
            raise ValueError(
                f"the encoder is a {type(encoder).__name__} without a tokenizer: give tokenizer="
            )
        width = getattr(getattr(encoder, "config", None), "hidden_size", None)
        if width is None:
            raise ValueError(f"{type(encoder).__name__} has no config.hidden_size")
        self.encoder, self.tokenizer, self.pooling = encoder, tokenizer, pooling
        self.width = int(width)
        self.frame: Frame = frame_of(tokenizer)

    def forward(self, first: Tensor, second: Tensor | None = None) -> Tensor:
        """Vectors (n, width) of texts, or of pairs of texts read as one."""
        inputs = model_inputs(self.frame, first, second)
        output = self.encoder(**inputs)
        if self.pooling == "pooler":
            pooled = getattr(output, "pooler_output", None)
            if pooled is None:
                raise ValueError(
                    f"{type(self.encoder).__name__} has no pooler: give pooling='mean' or 'first'"
                )
            return pooled
        if self.pooling == "first":
            return output.last_hidden_state[:, 0]
        mask = inputs["attention_mask"].unsqueeze(-1).to(output.last_hidden_state.dtype)
        return (output.last_hidden_state * mask).sum(1) / mask.sum(1).clamp_min(1)

    @torch.no_grad()
    def vectors(self, pieces: Tensor, chunk: int = 256, *, unit: bool = False) -> Tensor:
        """Vectors (n, width) of n texts, without dropout and gradient, ``chunk`` at a time."""
        mode = self.training
        self.eval()
        try:
            # Texts of like length together, so that little is filled up.
            order = (pieces >= 0).sum(1).argsort(stable=True)
            device = next(self.parameters()).device
            parts = [self(part.to(device)).cpu() for part in pieces[order].split(chunk)]
            found = torch.cat(parts)[order.argsort()]
        finally:
            self.train(mode)
        return F.normalize(found, dim=1) if unit else found


def load_language_model(name: str | Path, pooling: Pooling = "mean") -> LanguageModel:
    """A pretrained encoder with its tokenizer, from a folder or a hub name, in single precision.

    Raises:
        FileNotFoundError: the path of nothing.
        ImportError: the extra ``text`` is not installed.
        OSError: there is no such model, or no network to fetch it.
    """
    path = Path(name).expanduser()
    local = path.is_dir()
    if not local and (isinstance(name, Path) or str(name).startswith((".", "/", "~"))):
        raise FileNotFoundError(f"{str(name)!r} is no folder with a language model")
    transformers = _transformers()
    source = str(path.resolve()) if local else str(name)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(source, local_files_only=local)
        encoder = transformers.AutoModel.from_pretrained(source, local_files_only=local)
    except (OSError, ValueError) as error:
        raise OSError(
            f"the language model {str(name)!r} could not be loaded: {error}\n"
            "Without network give the path of a folder that holds it, or use encoder='tfidf'."
        ) from error
    return LanguageModel(encoder.float(), tokenizer, pooling)


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise ImportError(
            "reading texts with a language model needs the extra 'text': "
            'pip install "graphcl-kge[text]"; the encoder "tfidf" of "hasatext" needs nothing more'
        ) from error
    return transformers
