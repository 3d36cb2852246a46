"""Real models of the real libraries, tiny and with random weights, written to directories as anybody's would be."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import CrossEncoder, SentenceTransformer, SparseEncoder
from sentence_transformers.sentence_transformer import modules
from sentence_transformers.sparse_encoder.modules import SpladePooling
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2Model,
    RobertaConfig,
    RobertaModel,
)

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCABULARY = [*SPECIAL, *string.ascii_lowercase, "query", "passage", "find", ":", "the", "of"]
POSITIONS = 64


def tokenizer(**kwargs: Any) -> PreTrainedTokenizerFast:
    """Words and letters; the special tokens where BERT has them."""
    words = Tokenizer(WordLevel({word: number for number, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    values = {"tokenizer_object": words, "mask_token": "[MASK]", **names, **kwargs}
    return PreTrainedTokenizerFast(**values)  # type: ignore[no-untyped-call]


def bert_config(**kwargs: Any) -> BertConfig:
    return BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=POSITIONS,
        # The usual 0.02 makes every text nearly the same vector, and a wrong answer look right.
        initializer_range=0.5,
        **kwargs,
    )


def written(path: Path, model: Any, **tokenizer_kwargs: Any) -> Path:
    model.save_pretrained(path)
    tokenizer(**tokenizer_kwargs).save_pretrained(path)
    return path


def bert(path: Path) -> Path:
    """A plain transformer, no sentence-transformers files."""
    torch.manual_seed(7)
    return written(path, BertModel(bert_config()), model_max_length=48)


def dense(path: Path, *, pooling: str = "mean", include_prompt: bool = True, normalize: bool = False) -> Path:
    """BERT, pooling, a projection to 16, perhaps normalising; with prompts of its own."""
    transformer = modules.Transformer(str(bert(path / "bert")))
    parts = [
        transformer,
        modules.Pooling(32, pooling_mode=pooling, include_prompt=include_prompt),
        modules.Dense(32, 16),
        *([modules.Normalize()] if normalize else []),
    ]
    model = SentenceTransformer(
        modules=parts, device="cpu", prompts={"query": "query : ", "document": "passage : ", "other": "find "}
    )
    model.save(str(path / "whole"))
    return path / "whole"


def decoder(path: Path) -> Path:
    """Padded on the left, the last token's vector: as the large embedding models are."""
    torch.manual_seed(8)
    config = Qwen2Config(
        vocab_size=len(VOCABULARY),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=64,
        max_position_embeddings=POSITIONS,
        initializer_range=0.5,
    )
    kwargs = {"padding_side": "left", "model_max_length": 48, "model_input_names": ["input_ids", "attention_mask"]}
    transformer = modules.Transformer(str(written(path / "qwen", Qwen2Model(config), **kwargs)))
    model = SentenceTransformer(modules=[transformer, modules.Pooling(32, pooling_mode="lasttoken")], device="cpu")
    model.save(str(path / "whole"))
    return path / "whole"


def roberta(path: Path) -> Path:
    """Its positions begin after the padding index, so it has two fewer than its configuration says."""
    torch.manual_seed(9)
    config = RobertaConfig(**{**bert_config().to_dict(), "pad_token_id": 0, "model_type": "roberta"})
    return written(path, RobertaModel(config))


def sparse(path: Path) -> Path:
    torch.manual_seed(10)
    transformer = modules.Transformer(
        str(written(path / "mlm", BertForMaskedLM(bert_config()), model_max_length=48)), transformer_task="fill-mask"
    )
    SparseEncoder(modules=[transformer, SpladePooling()], device="cpu").save(str(path / "whole"))
    return path / "whole"


def cross_encoder(path: Path, *, labels: int = 1) -> Path:
    torch.manual_seed(11)
    model = BertForSequenceClassification(bert_config(num_labels=labels))
    CrossEncoder(str(written(path / "bert", model, model_max_length=48)), device="cpu").save(str(path / "whole"))
    return path / "whole"
