"""A language model of a few thousand random weights, and its tokenizer, made without network."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch


@pytest.fixture
def tiny() -> Callable[..., tuple[Any, Any]]:
    """Function that makes a random encoder and a tokenizer which knows the words of some texts."""

    def make(texts: Sequence[str], *, typed: bool = True, **options: Any) -> tuple[Any, Any]:
        pytest.importorskip("transformers")
        tokenizer = tiny_tokenizer(texts, typed=typed)
        return tiny_encoder(tokenizer, **options), tokenizer

    return make


def tiny_tokenizer(texts: Sequence[str], *, typed: bool = True) -> Any:
    """A tokenizer of whole words in BERT's frame, or in RoBERTa's with two tokens in a pair."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = sorted({word for text in texts for word in re.findall(r"\w+|[^\w\s]", text.lower())})
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {word: place for place, word in enumerate([*special, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    pair = "[CLS] $A [SEP] $B:1 [SEP]:1" if typed else "[CLS] $A [SEP] [SEP] $B [SEP]"
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair=pair,
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    names = ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_input_names=names if typed else [names[0], names[2]],
    )


def tiny_encoder(tokenizer: Any, *, width: int = 16, dropout: float = 0.0, seed: int = 0) -> Any:
    """BERT with two layers and random weights."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(seed)
    return BertModel(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=2 * width,
            max_position_embeddings=64,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
        )
    ).eval()
