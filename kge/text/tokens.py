"""Token ids of texts, found once, and inputs of a language model put together from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

_NONE = -1


class Frame(NamedTuple):
    """Special tokens around one text and around a pair of texts.

    Attributes:
        before: first of all.
        after: behind a single text.
        between: in the midst of a pair.
        end: behind a pair.
        pad: fills up rows.
        typed: whether the model is told which text of a pair a token belongs to.
    """

    before: list[int]
    after: list[int]
    between: list[int]
    end: list[int]
    pad: int
    typed: bool


def frame_of(tokenizer: Any) -> Frame:
    """The special tokens of a tokenizer of ``transformers``, learned from what it makes of a word.

    Raises:
        ValueError: it changes the tokens of the word itself.
    """
    word = list(tokenizer("a", add_special_tokens=False)["input_ids"])
    single, pair = (list(tokenizer(*texts)["input_ids"]) for texts in (("a",), ("a", "a")))
    start = _place(word, single, 0)
    first = _place(word, pair, 0)
    second = _place(word, pair, first + len(word))
    return Frame(
        before=single[:start],
        after=single[start + len(word) :],
        between=pair[first + len(word) : second],
        end=pair[second + len(word) :],
        pad=tokenizer.pad_token_id or 0,
        typed="token_type_ids" in tokenizer.model_input_names,
    )


def token_pieces(tokenizer: Any, texts: Sequence[str], max_tokens: int) -> Tensor:
    """Ids of the tokens of each text without special ones, int32 (n, L), filled up with -1.

    Args:
        tokenizer: of ``transformers``.
        texts: n texts.
        max_tokens: at most, those counted that stand around a single text.

    Raises:
        ValueError: no room for a text.
    """
    frame = frame_of(tokenizer)
    room = max_tokens - len(frame.before) - len(frame.after)
    if room < 1:
        raise ValueError(
            f"max_tokens={max_tokens} leaves no room beside {max_tokens - room} special tokens"
        )
    rows = tokenizer(
        list(texts),
        add_special_tokens=False,
        truncation=True,
        max_length=room,
        return_attention_mask=False,
        return_token_type_ids=False,
    )["input_ids"]
    pieces = torch.full((len(rows), max(1, *map(len, rows), 1)), _NONE, dtype=torch.int32)
    for place, row in enumerate(rows):
        pieces[place, : len(row)] = torch.tensor(row, dtype=torch.int32)
    return pieces


def model_inputs(frame: Frame, first: Tensor, second: Tensor | None = None) -> dict[str, Tensor]:
    """Input of a language model from pieces of single texts (n, L) or of pairs of texts.

    Rows are as the tokenizer itself would make them, filled up to the longest of them.
    """
    parts: list[tuple[Tensor | list[int], int]]
    if second is None:
        parts = [(frame.before, 0), (first, 0), (frame.after, 0)]
    else:
        parts = [(frame.before, 0), (first, 0), (frame.between, 0), (second, 1), (frame.end, 1)]
    wide = [_columns(part, first) for part, _ in parts]
    ids = torch.cat(wide, 1)
    kinds = torch.cat(
        [torch.full_like(part, kind) for part, (_, kind) in zip(wide, parts, strict=True)], 1
    )
    there = ids != _NONE
    order = there.int().argsort(dim=1, descending=True, stable=True)
    order = order[:, : int(there.sum(1).max())]
    there = there.gather(1, order)
    inputs = {
        "input_ids": ids.gather(1, order).long().masked_fill(~there, frame.pad),
        "attention_mask": there.long(),
    }
    if frame.typed:
        inputs["token_type_ids"] = kinds.gather(1, order).long().masked_fill(~there, 0)
    return inputs


def _columns(part: Tensor | list[int], like: Tensor) -> Tensor:
    if isinstance(part, Tensor):
        return part
    return torch.tensor(part, dtype=like.dtype, device=like.device).expand(len(like), len(part))


def _place(word: list[int], row: list[int], start: int) -> int:
    for place in range(start, len(row) - len(word) + 1):
        if row[place : place + len(word)] == word:
            return place
    raise ValueError(f"the tokenizer writes {row} where the tokens {word} should stand")
