"""The adapters this build carries, and every name they go by. Data only: nothing here imports torch.

The names under `sie_server.adapters` are those of the documented page and of SIE v0.1.10, so that
documented YAML works as it is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class AdapterClass:
    """One implementation: where it lives, what it gives, and which `loadtime` keys it knows (others are refused)."""

    path: str  # "module:Class" of ours
    outputs: frozenset[str]  # of dense, sparse, multivector, score
    loadtime: frozenset[str]


# What each may be set to: a config write must not be a way to run code, and transformers takes an attention
# implementation with a slash in it for the name of a repository to run.
LOADTIME_VALUES: Mapping[str, tuple[bool | str, ...]] = {
    "trust_remote_code": (True, False),
    "attn_implementation": ("eager", "sdpa", "flash_attention_2"),
    "padding_side": ("left", "right"),
    "backend": ("onednn", "torch", "onnx", "compile", "auto"),
}
_LOADTIME = frozenset(LOADTIME_VALUES)

DENSE = AdapterClass(
    path="sie.worker.adapters.dense:DenseAdapter",
    # Any transformer with a vector a token can also answer late interaction, so one loaded model serves all three.
    outputs=frozenset({"dense", "multivector", "score"}),
    loadtime=_LOADTIME,
)
SPARSE = AdapterClass(
    path="sie.worker.adapters.sparse:SparseAdapter", outputs=frozenset({"sparse"}), loadtime=_LOADTIME
)
CROSS_ENCODER = AdapterClass(
    path="sie.worker.adapters.cross_encoder:CrossEncoderAdapter", outputs=frozenset({"score"}), loadtime=_LOADTIME
)

_PEER = "sie_server.adapters"

# module -> class -> implementation. A module in this table is known whole: a class it lacks is refused at POST.
ADAPTERS: Mapping[str, Mapping[str, AdapterClass]] = {
    "sie.worker.adapters.dense": {"DenseAdapter": DENSE},
    "sie.worker.adapters.sparse": {"SparseAdapter": SPARSE},
    "sie.worker.adapters.cross_encoder": {"CrossEncoderAdapter": CROSS_ENCODER},
    f"{_PEER}.sentence_transformer": {
        "SentenceTransformerAdapter": DENSE,  # the page's
        "SentenceTransformerDenseAdapter": DENSE,
        "SentenceTransformerSparseAdapter": SPARSE,
    },
    f"{_PEER}.pytorch_embedding": {"PyTorchEmbeddingAdapter": DENSE},
    f"{_PEER}.bert_flash": {"BertFlashAdapter": DENSE},
    f"{_PEER}.xlm_roberta_flash": {"XLMRobertaFlashAdapter": DENSE},
    f"{_PEER}.qwen2_flash": {"Qwen2FlashAdapter": DENSE},
    f"{_PEER}.rope_flash": {"RoPEFlashAdapter": DENSE},
    f"{_PEER}.splade_flash": {"SPLADEFlashAdapter": SPARSE},
    f"{_PEER}.gte_sparse_flash": {"GTESparseFlashAdapter": SPARSE},
    f"{_PEER}.cross_encoder": {"CrossEncoderAdapter": CROSS_ENCODER},
    f"{_PEER}.bert_flash_cross_encoder": {"BertFlashCrossEncoderAdapter": CROSS_ENCODER},
    f"{_PEER}.modernbert_flash_cross_encoder": {"ModernBertFlashCrossEncoderAdapter": CROSS_ENCODER},
    f"{_PEER}.jina_flash_cross_encoder": {"JinaFlashCrossEncoderAdapter": CROSS_ENCODER},
    f"{_PEER}.sglang": {"SGLangEmbeddingAdapter": DENSE},
}


def module_of(adapter_path: str) -> str:
    """The part that bundles list: everything left of the first colon."""
    return adapter_path.partition(":")[0]


def find_adapter(adapter_path: str) -> AdapterClass | None:
    """The implementation behind a name, or None if this build has none of that name."""
    module, _, name = adapter_path.partition(":")
    return ADAPTERS.get(module, {}).get(name)
