# ruff: noqa: E501  one model a line
"""The 90 models that SIE v0.1.10 ships, as facts: what is needed to write a file of the same shape for each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

# id | inputs | outputs:dim | max_sequence_length | profiles as name=module:Class(max_batch_tokens,precision)
# "ext": extends default. Modules without their prefix, sie_server.adapters.
_TABLE = """
Alibaba-NLP/gte-Qwen2-1.5B-instruct | text | dense:1536 | 32768 | default=qwen2_flash:Qwen2FlashAdapter(16384,bfloat16)
Alibaba-NLP/gte-Qwen2-7B-instruct | text | dense:3584 | 32000 | default=sglang:SGLangEmbeddingAdapter(16384,bfloat16)
Alibaba-NLP/gte-multilingual-base | text | dense:768 | 8192 | default=rope_flash:RoPEFlashAdapter(16384)
Alibaba-NLP/gte-reranker-modernbert-base | text | score | 8192 | default=modernbert_flash_cross_encoder:ModernBertFlashCrossEncoderAdapter(16384,bfloat16)
BAAI/bge-m3 | text | dense:1024,sparse:250002,multivector:1024 | 8192 | default=bge_m3_flash:BGEM3FlashAdapter(16384,bfloat16); dense=ext; sparse=ext; multivector=ext; banking=ext; medical-vn=ext; bge_m3_flag=bge_m3_flag:BGEM3FlagAdapter(16384)
BAAI/bge-reranker-base | text | score | 512 | default=bert_flash_cross_encoder:BertFlashCrossEncoderAdapter(8192)
BAAI/bge-reranker-large | text | score | 512 | default=bert_flash_cross_encoder:BertFlashCrossEncoderAdapter(8192)
BAAI/bge-reranker-v2-m3 | text | score | 8192 | default=bert_flash_cross_encoder:BertFlashCrossEncoderAdapter(16384)
EmergentMethods/gliner_large_news-v2.1 | text | extract | - | default=gliner:GLiNERAdapter(16384)
GritLM/GritLM-7B | text | dense:4096 | 4096 | default=pytorch_embedding:PyTorchEmbeddingAdapter(8192)
IDEA-Research/grounding-dino-base | text+image | extract | - | default=grounding_dino:GroundingDINOAdapter(16384,float16)
IDEA-Research/grounding-dino-tiny | text+image | extract | - | default=grounding_dino:GroundingDINOAdapter(16384,float16)
Ihor/gliner-biomed-large-v1.0 | text | extract | - | default=gliner:GLiNERAdapter(16384)
Linq-AI-Research/Linq-Embed-Mistral | text | dense:4096 | 32768 | default=sglang:SGLangEmbeddingAdapter(8192,bfloat16)
MoritzLaurer/deberta-v3-base-zeroshot-v2.0 | text | extract | 512 | default=nli_classification_flash:NLIClassificationFlashAdapter(16384)
MoritzLaurer/deberta-v3-large-zeroshot-v2.0 | text | extract | 512 | default=nli_classification_flash:NLIClassificationFlashAdapter(16384)
NeuML/gliner-bert-tiny | text | extract | - | default=gliner:GLiNERAdapter(16384)
NovaSearch/stella_en_1.5B_v5 | text | dense:1024 | 512 | default=qwen2_flash:Qwen2FlashAdapter(16384,bfloat16)
NovaSearch/stella_en_400M_v5 | text | dense:1024 | 512 | default=rope_flash:RoPEFlashAdapter(16384)
Qwen/Qwen3-Embedding-0.6B | text | dense:1024 | 32768 | default=qwen2_flash:Qwen2FlashAdapter(16384,bfloat16); custom=ext
Qwen/Qwen3-Embedding-4B | text | dense:2560 | 32768 | default=sglang:SGLangEmbeddingAdapter(16384,bfloat16)
Salesforce/SFR-Embedding-2_R | text | dense:4096 | 32768 | default=sglang:SGLangEmbeddingAdapter(8192,bfloat16)
Salesforce/SFR-Embedding-Mistral | text | dense:4096 | 4096 | default=sglang:SGLangEmbeddingAdapter(16384,bfloat16)
answerdotai/answerai-colbert-small-v1 | text | multivector:96 | 512 | default=colbert:ColBERTAdapter(16384); muvera=ext
colbert-ir/colbertv2.0 | text | multivector:128 | 512 | default=colbert:ColBERTAdapter(16384); muvera=ext
cross-encoder/ms-marco-MiniLM-L-12-v2 | text | score | 512 | default=bert_flash_cross_encoder:BertFlashCrossEncoderAdapter(8192)
cross-encoder/ms-marco-MiniLM-L-6-v2 | text | score | 512 | default=bert_flash_cross_encoder:BertFlashCrossEncoderAdapter(8192)
cross-encoder/nli-deberta-v3-base | text | extract | 512 | default=nli_classification_flash:NLIClassificationFlashAdapter(16384)
gliner-community/gliner_large-v2.5 | text | extract | - | default=gliner:GLiNERAdapter(16384)
gliner-community/gliner_medium-v2.5 | text | extract | - | default=gliner:GLiNERAdapter(16384)
gliner-community/gliner_small-v2.5 | text | extract | - | default=gliner:GLiNERAdapter(16384)
google/embeddinggemma-300m | text | dense:768 | 2048 | default=pytorch_embedding:PyTorchEmbeddingAdapter(16384,bfloat16)
google/owlv2-base-patch16-ensemble | image | extract | - | default=owlv2:Owlv2Adapter(16384,float16)
google/siglip-so400m-patch14-224 | text+image | dense:1152 | 64 | default=siglip:SiglipAdapter(16384,float16)
google/siglip-so400m-patch14-384 | text+image | dense:1152 | 64 | default=siglip:SiglipAdapter(16384,float16)
ibm-granite/granite-embedding-30m-sparse | text | sparse:50265 | 512 | default=splade_flash:SPLADEFlashAdapter(16384)
intfloat/e5-base-v2 | text | dense:768 | 512 | default=bert_flash:BertFlashAdapter(16384)
intfloat/e5-large-v2 | text | dense:1024 | 512 | default=bert_flash:BertFlashAdapter(16384)
intfloat/e5-mistral-7b-instruct | text | dense:4096 | 4096 | default=sglang:SGLangEmbeddingAdapter(16384,bfloat16)
intfloat/e5-small-v2 | text | dense:384 | 512 | default=bert_flash:BertFlashAdapter(16384)
intfloat/multilingual-e5-large-instruct | text | dense:1024 | 512 | default=xlm_roberta_flash:XLMRobertaFlashAdapter(16384)
intfloat/multilingual-e5-large | text | dense:1024 | 512 | default=xlm_roberta_flash:XLMRobertaFlashAdapter(16384); sentence_transformer=ext sentence_transformer:SentenceTransformerDenseAdapter
jackboyla/glirel-large-v0 | text | extract | - | default=glirel:GLiRELAdapter(16384)
jinaai/jina-colbert-v2 | text | multivector:128 | 8192 | default=colbert_rotary_flash:ColBERTRotaryFlashAdapter(16384,bfloat16); muvera=ext
jinaai/jina-reranker-v2-base-multilingual | text | score | 8192 | default=jina_flash_cross_encoder:JinaFlashCrossEncoderAdapter(16384,bfloat16)
knowledgator/gliclass-base-v1.0 | text | extract | 512 | default=gliclass:GLiClassAdapter(16384)
knowledgator/gliclass-large-v1.0 | text | extract | 512 | default=gliclass:GLiClassAdapter(16384)
knowledgator/gliclass-large-v3.0 | text | extract | 512 | default=gliclass:GLiClassAdapter(16384)
knowledgator/gliclass-small-v1.0 | text | extract | 512 | default=gliclass:GLiClassAdapter(16384)
laion/CLIP-ViT-B-32-laion2B-s34B-b79K | text+image | dense:512 | 77 | default=clip:CLIPAdapter(16384,float16)
laion/CLIP-ViT-H-14-laion2B-s32B-b79K | text+image | dense:1024 | 77 | default=clip:CLIPAdapter(16384,float16)
lightonai/GTE-ModernColBERT-v1 | text | multivector:128 | 8192 | default=colbert_modernbert_flash:ColBERTModernBERTFlashAdapter(16384); muvera=ext
lightonai/Reason-ModernColBERT | text | multivector:128 | 8192 | default=colbert_modernbert_flash:ColBERTModernBERTFlashAdapter(16384); muvera=ext
microsoft/Florence-2-base-ft | image | extract | - | default=florence2:Florence2Adapter(16384,float16)
microsoft/Florence-2-base | image | extract | - | default=florence2:Florence2Adapter(16384,float16)
microsoft/Florence-2-large | image | extract | - | default=florence2:Florence2Adapter(16384,float16)
mixedbread-ai/mxbai-colbert-large-v1 | text | multivector:128 | 512 | default=colbert:ColBERTAdapter(16384); muvera=ext
mixedbread-ai/mxbai-edge-colbert-v0-32m | text | multivector:64 | 8192 | default=colbert_modernbert_flash:ColBERTModernBERTFlashAdapter(16384); muvera=ext
mixedbread-ai/mxbai-rerank-base-v2 | text | score | 8192 | default=qwen2_flash_cross_encoder:Qwen2FlashCrossEncoderAdapter(16384,bfloat16)
mixedbread-ai/mxbai-rerank-large-v2 | text | score | 8192 | default=qwen2_flash_cross_encoder:Qwen2FlashCrossEncoderAdapter(16384,bfloat16)
mynkchaudhry/Florence-2-FT-DocVQA | text+image | extract | - | default=florence2:Florence2Adapter(16384,float16)
naver-clova-ix/donut-base-finetuned-cord-v2 | image | extract | - | default=donut:DonutAdapter(16384,float16)
naver-clova-ix/donut-base-finetuned-docvqa | image | extract | - | default=donut:DonutAdapter(16384,float16)
naver-clova-ix/donut-base-finetuned-rvlcdip | image | extract | - | default=donut:DonutAdapter(16384,float16)
naver/splade-cocondenser-selfdistil | text | sparse:30522 | 512 | default=splade_flash:SPLADEFlashAdapter(16384)
naver/splade-v3 | text | sparse:30522 | 512 | default=splade_flash:SPLADEFlashAdapter(16384)
nomic-ai/nomic-embed-text-v2-moe | text | dense:768 | 2048 | default=nomic_flash:NomicFlashAdapter(16384)
numind/NuNER_Zero-span | text | extract | - | default=gliner:GLiNERAdapter(16384)
numind/NuNER_Zero | text | extract | - | default=gliner:GLiNERAdapter(16384)
nvidia/NV-Embed-v2 | text | dense:4096 | 32768 | default=pytorch_embedding:PyTorchEmbeddingAdapter(16384)
nvidia/llama-embed-nemotron-8b | text | dense:4096 | 8192 | default=sglang:SGLangEmbeddingAdapter(8192,bfloat16)
nvidia/llama-nemoretriever-colembed-3b-v1 | text+image | multivector:128 | 8192 | default=nemo_colembed:NemoColEmbedAdapter(4096,bfloat16); muvera=ext
openai/clip-vit-base-patch32 | text+image | dense:512 | 77 | default=clip:CLIPAdapter(16384,float16)
openai/clip-vit-large-patch14 | text+image | dense:768 | 77 | default=clip:CLIPAdapter(16384,float16)
opensearch-project/opensearch-neural-sparse-encoding-doc-v2-distill | text | sparse:30522 | 512 | default=splade_flash:SPLADEFlashAdapter(16384)
opensearch-project/opensearch-neural-sparse-encoding-doc-v2-mini | text | sparse:30522 | 512 | default=splade_flash:SPLADEFlashAdapter(16384)
opensearch-project/opensearch-neural-sparse-encoding-doc-v3-distill | text | sparse:30522 | 512 | default=splade_flash:SPLADEFlashAdapter(16384)
opensearch-project/opensearch-neural-sparse-encoding-doc-v3-gte | text | sparse:30522 | 512 | default=gte_sparse_flash:GTESparseFlashAdapter(16384)
opensearch-project/opensearch-neural-sparse-encoding-v1 | text | sparse:30522 | 512 | default=splade_flash:SPLADEFlashAdapter(16384)
opensearch-project/opensearch-neural-sparse-encoding-v2-distill | text | sparse:30522 | 512 | default=splade_flash:SPLADEFlashAdapter(16384)
prithivida/Splade_PP_en_v2 | text | sparse:30522 | 128 | default=splade_flash:SPLADEFlashAdapter(8192)
rasyosef/splade-mini | text | sparse:30522 | 512 | default=splade_flash:SPLADEFlashAdapter(16384)
sentence-transformers/all-MiniLM-L6-v2 | text | dense:384 | 256 | default=sentence_transformer:SentenceTransformerDenseAdapter(16384)
urchade/gliner_large-v2.1 | text | extract | - | default=gliner:GLiNERAdapter(16384)
urchade/gliner_medium-v2.1 | text | extract | - | default=gliner:GLiNERAdapter(16384)
urchade/gliner_multi-v2.1 | text | extract | - | default=gliner:GLiNERAdapter(16384)
urchade/gliner_multi_pii-v1 | text | extract | - | default=gliner:GLiNERAdapter(16384)
urchade/gliner_small-v2.1 | text | extract | - | default=gliner:GLiNERAdapter(16384)
vidore/colpali-v1.3-hf | text+image | multivector:128 | 2048 | default=colpali:ColPaliAdapter(8192,bfloat16); muvera=ext
vidore/colqwen2.5-v0.2 | text+image | multivector:128 | 2048 | default=colqwen2:ColQwen2Adapter(4096,bfloat16); muvera=ext
"""


def shipped_models() -> Iterator[dict[str, Any]]:
    """The document of each."""
    for line in _TABLE.strip().splitlines():
        sie_id, inputs, outputs, length, profiles = line.split(" | ")
        yield {
            "sie_id": sie_id,
            "hf_id": "Hyukkyu/nv-embed-v2" if sie_id == "nvidia/NV-Embed-v2" else sie_id,
            "inputs": dict.fromkeys(inputs.split("+"), True),
            "tasks": _tasks(outputs),
            "max_sequence_length": None if length == "-" else int(length),
            "profiles": dict(_profile(one) for one in profiles.split("; ")),
        }


def _tasks(outputs: str) -> dict[str, Any]:
    if ":" not in outputs:
        return {outputs: {}}
    vectors = (one.split(":") for one in outputs.split(","))
    return {"encode": {kind: {"dim": int(dim)} for kind, dim in vectors}, "score": None, "extract": None}


def _profile(text: str) -> tuple[str, dict[str, Any]]:
    name, _, said = text.partition("=")
    if said == "ext":
        return name, {"extends": "default", "adapter_options": {"loadtime": {}, "runtime": {"instruction": name}}}
    if said.startswith("ext "):
        return name, {"extends": "default", "adapter_path": f"sie_server.adapters.{said.removeprefix('ext ')}"}
    adapter, _, numbers = said.rstrip(")").partition("(")
    tokens, _, precision = numbers.partition(",")
    return name, {
        "adapter_path": f"sie_server.adapters.{adapter}",
        "max_batch_tokens": int(tokens),
        "compute_precision": precision or None,
    }
