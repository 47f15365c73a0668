"""The CTranslate2 engine on the tiny models of testdata: real inference in every folder layout it knows."""

from __future__ import annotations

import json
import shutil
import weakref
from pathlib import Path

import ctranslate2
import pytest

from streamlation_cli.engines.ct2 import Ct2Translator, layout_of
from streamlation_cli.errors import ModelMissing, PairMissing, Unavailable, UsageError

MODELS = Path(__file__).parent.parent / "testdata" / "models"
OPUS = MODELS / "tiny-opus-en-es"
NLLB = MODELS / "tiny-nllb"
HELD_OUT = json.loads((MODELS / "held_out.json").read_text("utf-8"))
"""Sentences in en, es and fr that the models were not shown."""

PHRASES = {
    "Good morning.": ("Buenos días.", "Bonjour à tous."),
    "Thank you very much.": ("Muchas gracias.", "Merci beaucoup."),
    "How much does it cost?": ("¿Cuánto cuesta?", "Combien ça coûte ?"),
    "My friend speaks English.": ("Mi amigo habla inglés.", "Mon ami parle anglais."),
    "The house is white.": ("La casa es blanca.", "La maison est blanche."),
}


def translate(folder: Path, source: str, target: str, texts: list[str], **more: object) -> list[str]:
    translator = Ct2Translator(folder, source=source, target=target, device="cpu", threads=1, **more)  # type: ignore[arg-type]
    try:
        return translator.translate(texts)
    finally:
        translator.close()


def renamed(folder: Path, target: Path, tokens: dict[str, str]) -> Path:
    """A copy of a model whose language tokens have other names: the same weights in another layout."""
    shutil.copytree(folder, target)
    file = target / "shared_vocabulary.json"
    vocabulary = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps([tokens.get(token, token) for token in vocabulary]), "utf-8")
    return target


@pytest.fixture
def m2m(tmp_path: Path) -> Path:
    return renamed(NLLB, tmp_path / "m2m100", {"eng_Latn": "__en__", "spa_Latn": "__es__", "fra_Latn": "__fr__"})


@pytest.fixture
def bilingual(tmp_path: Path) -> Path:
    return renamed(OPUS, tmp_path / "opus-mt-en-es", {">>spa<<": "<unused1>", ">>fra<<": "<unused2>"})


@pytest.mark.parametrize("beam_size", [1, 2, 5])
def test_a_model_of_one_pair(bilingual: Path, beam_size: int) -> None:
    layout = layout_of(bilingual)
    assert layout is not None
    assert (layout.kind, layout.languages) == ("opus", None)
    expected = [spanish for spanish, _ in PHRASES.values()]
    assert translate(bilingual, "en", "es", list(PHRASES), beam_size=beam_size) == expected


def test_a_model_of_several_targets() -> None:
    layout = layout_of(OPUS)
    assert layout is not None
    assert (layout.kind, layout.languages, layout.source_token) == ("opus", ("es", "fr"), False)
    assert translate(OPUS, "en", "es", list(PHRASES)) == [spanish for spanish, _ in PHRASES.values()]
    assert translate(OPUS, "en", "fr", list(PHRASES)) == [french for _, french in PHRASES.values()]


def test_vocabularies_apart(tmp_path: Path) -> None:
    shutil.copytree(OPUS, tmp_path / "apart")
    shared = tmp_path / "apart" / "shared_vocabulary.json"
    (tmp_path / "apart" / "target_vocabulary.json").write_bytes(shared.read_bytes())
    shared.rename(tmp_path / "apart" / "source_vocabulary.json")
    assert translate(tmp_path / "apart", "en", "fr", ["Good night."]) == ["Bonne nuit."]


@pytest.mark.parametrize(("folder", "source", "target"), [(OPUS, "en", "es"), (NLLB, "fr", "en"), (NLLB, "es", "fr")])
def test_sentences_it_was_not_shown(folder: Path, source: str, target: str) -> None:
    translated = translate(folder, source, target, [triple[source] for triple in HELD_OUT])
    right = [ours == triple[target] for ours, triple in zip(translated, HELD_OUT, strict=True)]
    assert len(right) > 15
    assert sum(right) >= 0.9 * len(right)


@pytest.mark.parametrize("layout", ["nllb", "m2m"])
def test_a_model_of_all_directions(layout: str, request: pytest.FixtureRequest) -> None:
    folder = NLLB if layout == "nllb" else request.getfixturevalue("m2m")
    found = layout_of(folder)
    assert found is not None
    assert (found.kind, found.languages, found.source_token) == (layout, ("en", "es", "fr"), True)
    spanish, french = ([pair[n] for pair in PHRASES.values()] for n in (0, 1))
    assert translate(folder, "en", "es", list(PHRASES)) == spanish
    assert translate(folder, "en", "fr", list(PHRASES)) == french
    assert translate(folder, "es", "en", spanish) == list(PHRASES)
    assert translate(folder, "fr", "es", french) == spanish
    assert translate(folder, "es", "fr", spanish) == french


def test_the_prefix_is_what_chooses_the_target() -> None:
    # Were the language tokens ignored, both answers would be the same.
    assert translate(NLLB, "en", "es", ["Good night."]) == ["Buenas noches."]
    assert translate(NLLB, "en", "fr", ["Good night."]) == ["Bonne nuit."]


def test_a_batch_gives_what_single_sentences_give() -> None:
    texts = [pair["en"] for pair in HELD_OUT][:10]
    assert translate(OPUS, "en", "es", texts) == [translate(OPUS, "en", "es", [text])[0] for text in texts]
    assert translate(OPUS, "en", "es", []) == []


def test_a_text_beyond_the_last_position_is_translated_in_parts() -> None:
    text = " ".join(["The house is white."] * 60)
    [translation] = translate(OPUS, "en", "es", [text])
    # One answer from each part of 200 pieces at the least; the model has 256 positions, and has seen no long texts.
    assert translation.count("La casa es blanca.") >= 3
    assert translate(OPUS, "en", "es", [text, "Good night."])[1] == "Buenas noches."


def test_the_directions_of_a_model_share_its_weights() -> None:
    one = Ct2Translator(NLLB, source="en", target="es", device="cpu")
    other = Ct2Translator(NLLB, source="en", target="fr", device="cpu")
    assert one._weights is other._weights
    weights = weakref.ref(one._weights)
    assert one.identity != other.identity
    one.close()
    assert other.translate(["Hello."]) == ["Bonjour."]
    other.close()
    assert weights() is None


def test_the_identity_names_weights_and_beam(bilingual: Path) -> None:
    def identity(**more: object) -> str:
        translator = Ct2Translator(bilingual, source="en", target="es", device="cpu", **more)  # type: ignore[arg-type]
        translator.close()
        return translator.identity

    first = identity(beam_size=1)
    assert first == identity(beam_size=1)
    assert first != identity(beam_size=2)
    layout_of.cache_clear()
    (bilingual / "model.bin").write_bytes((NLLB / "model.bin").read_bytes())
    assert first != identity(beam_size=1)


def test_a_language_it_lacks() -> None:
    with pytest.raises(PairMissing, match="no pt in this model; it has: en, es, fr"):
        Ct2Translator(NLLB, source="en", target="pt")


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match="not a CTranslate2 translation model"):
        Ct2Translator(tmp_path, source="en", target="es")
    shutil.copytree(OPUS, tmp_path / "cut")
    (tmp_path / "cut" / "model.bin").write_bytes((OPUS / "model.bin").read_bytes()[:5000])
    with pytest.raises(ModelMissing, match="cannot load it"):
        Ct2Translator(tmp_path / "cut", source="en", target="es", device="cpu")
    shutil.copytree(OPUS, tmp_path / "odd")
    (tmp_path / "odd" / "source.spm").write_bytes(b"no pieces")
    with pytest.raises(ModelMissing, match="not a SentencePiece model"):
        Ct2Translator(tmp_path / "odd", source="en", target="es", device="cpu")


@pytest.mark.skipif(ctranslate2.get_cuda_device_count() > 0, reason="there is a GPU")
def test_a_device_that_is_not_there() -> None:
    with pytest.raises(Unavailable, match="--device cuda: CUDA"):
        Ct2Translator(OPUS, source="en", target="es", device="cuda")


def test_a_compute_type_that_does_not_exist() -> None:
    with pytest.raises(UsageError, match="--compute-type int3"):
        Ct2Translator(OPUS, source="en", target="es", device="cpu", compute_type="int3")
