"""Trains the tiny translation models in testdata/models: real CTranslate2 and SentencePiece files, phrasebook-sized.

    python tools/make_tiny_ct2.py [testdata/models]

Makes `tiny-opus-en-es` (OPUS-MT layout: source.spm and target.spm; English to Spanish, and with >>fra<< before the text
to French) and `tiny-nllb` (NLLB layout: one SentencePiece model, eng_Latn, spa_Latn and fra_Latn as language tokens,
any direction). What they know is the phrasebook below and the sentences its patterns make; one in eight of those is
kept from training and listed in `held_out.json`, so that tests can ask for sentences the models have never seen.

Needs torch 2.13 (CPU) beside ctranslate2 and sentencepiece, in an environment of its own; takes about eight minutes on one
core. The seed is fixed and the work single-threaded, so that the same versions make the same files.
"""

from __future__ import annotations

import io
import itertools
import json
import math
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
import sentencepiece
import torch  # type: ignore[import-not-found]
from torch.nn import functional  # type: ignore[import-not-found]

DIM, FEED_FORWARD, LAYERS, HEADS, POSITIONS = 64, 128, 2, 4, 256
PIECES = 300
BATCH = 64
HELD_OUT = 8
SPECIAL = ["<s>", "</s>", "<unk>"]

PHRASES = """
Hello.|Hola.|Bonjour.
Good morning.|Buenos días.|Bonjour à tous.
Good night.|Buenas noches.|Bonne nuit.
Goodbye.|Adiós.|Au revoir.
Thank you.|Gracias.|Merci.
Thank you very much.|Muchas gracias.|Merci beaucoup.
Yes.|Sí.|Oui.
No.|No.|Non.
Please.|Por favor.|S'il vous plaît.
I am sorry.|Lo siento.|Je suis désolé.
How are you?|¿Cómo estás?|Comment allez-vous ?
What is your name?|¿Cómo te llamas?|Comment vous appelez-vous ?
I do not understand.|No entiendo.|Je ne comprends pas.
Where is the station?|¿Dónde está la estación?|Où est la gare ?
How much does it cost?|¿Cuánto cuesta?|Combien ça coûte ?
I would like a coffee.|Quisiera un café.|Je voudrais un café.
The weather is nice today.|Hoy hace buen tiempo.|Il fait beau aujourd'hui.
See you tomorrow.|Hasta mañana.|À demain.
I live in Madrid.|Vivo en Madrid.|J'habite à Madrid.
My friend speaks English.|Mi amigo habla inglés.|Mon ami parle anglais.
We are late.|Llegamos tarde.|Nous sommes en retard.
Let's go home.|Vamos a casa.|Rentrons à la maison.
""".strip()

NOUNS = [
    ("dog", "perro", "m", "chien", "m"), ("cat", "gato", "m", "chat", "m"), ("house", "casa", "f", "maison", "f"),
    ("book", "libro", "m", "livre", "m"), ("table", "mesa", "f", "table", "f"), ("boat", "barco", "m", "bateau", "m"),
    ("chair", "silla", "f", "chaise", "f"), ("car", "coche", "m", "voiture", "f"), ("door", "puerta", "f", "porte", "f"),
    ("garden", "jardín", "m", "jardin", "m"),
]  # fmt: skip
ADJECTIVES = [
    ("red", "rojo", "roja", "rouge", "rouge"), ("small", "pequeño", "pequeña", "petit", "petite"),
    ("big", "grande", "grande", "grand", "grande"), ("white", "blanco", "blanca", "blanc", "blanche"),
    ("new", "nuevo", "nueva", "neuf", "neuve"), ("black", "negro", "negra", "noir", "noire"),
    ("pretty", "bonito", "bonita", "joli", "jolie"),
]  # fmt: skip

Triple = tuple[str, str, str]
"""A sentence in English, Spanish and French."""


def patterns() -> Iterator[Triple]:
    """Every sentence that the patterns make."""
    for noun, es, es_gender, fr, fr_gender in NOUNS:
        el, un = ("el", "un") if es_gender == "m" else ("la", "una")
        le, une = ("le", "un") if fr_gender == "m" else ("la", "une")
        yield f"Where is the {noun}?", f"¿Dónde está {el} {es}?", f"Où est {le} {fr} ?"
        yield f"I have a {noun}.", f"Tengo {un} {es}.", f"J'ai {une} {fr}."
        yield f"I like the {noun}.", f"Me gusta {el} {es}.", f"J'aime {le} {fr}."
        for adjective, masculine, feminine, homme, femme in ADJECTIVES:
            es_adjective = masculine if es_gender == "m" else feminine
            fr_adjective = homme if fr_gender == "m" else femme
            yield (
                f"The {noun} is {adjective}.",
                f"{el.capitalize()} {es} es {es_adjective}.",
                f"{le.capitalize()} {fr} est {fr_adjective}.",
            )
            yield (
                f"My {noun} is very {adjective}.",
                f"Mi {es} es muy {es_adjective}.",
                (f"{'Mon' if fr_gender == 'm' else 'Ma'} {fr} est très {fr_adjective}."),
            )


def corpus() -> tuple[list[Triple], list[Triple]]:
    """Sentences to learn, and those kept back."""
    phrases: list[Triple] = []
    for line in PHRASES.splitlines():
        english, spanish, french = line.split("|")
        phrases.append((english, spanish, french))
    made = list(patterns())
    random.Random(1).shuffle(made)
    cut = len(made) // HELD_OUT
    return phrases * 2 + made[cut:], made[:cut]  # a phrase is alone in teaching its words


def sentence_pieces(texts: list[str]) -> tuple[bytes, list[str]]:
    """A SentencePiece model of `texts`, and its pieces."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model, vocab_size=PIECES, model_type="unigram", character_coverage=1.0,
        normalization_rule_name="identity", hard_vocab_limit=False, num_threads=1, minloglevel=2,
    )  # fmt: skip
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    return model.getvalue(), [processor.id_to_piece(i) for i in range(processor.get_piece_size())]


class Transformer:
    """A pre-norm Transformer as plain functions on named tensors, in the shapes that CTranslate2 wants them in."""

    def __init__(self, vocabulary: int) -> None:
        self.tensors: dict[str, Any] = {}
        self._tensor("embedding", (vocabulary, DIM), DIM**-0.5)
        for side, attentions in (("encoder", ["self"]), ("decoder", ["self", "cross"])):
            for layer in range(LAYERS):
                for attention in attentions:
                    for part in "qkvo":
                        self._linear(f"{side}.{layer}.{attention}.{part}", DIM, DIM)
                    self._norm(f"{side}.{layer}.{attention}.norm")
                self._linear(f"{side}.{layer}.feed.1", FEED_FORWARD, DIM)
                self._linear(f"{side}.{layer}.feed.2", DIM, FEED_FORWARD)
                self._norm(f"{side}.{layer}.feed.norm")
            self._norm(f"{side}.norm")
        self.positions = torch.from_numpy(sinusoids())

    def _tensor(self, name: str, shape: tuple[int, ...], scale: float) -> None:
        self.tensors[name] = (torch.randn(shape) * scale).requires_grad_()

    def _linear(self, name: str, out: int, into: int) -> None:
        self._tensor(f"{name}.weight", (out, into), (2 / (out + into)) ** 0.5)
        self.tensors[f"{name}.bias"] = torch.zeros(out, requires_grad=True)

    def _norm(self, name: str) -> None:
        self.tensors[f"{name}.gamma"] = torch.ones(DIM, requires_grad=True)
        self.tensors[f"{name}.beta"] = torch.zeros(DIM, requires_grad=True)

    def logits(self, source: Any, target: Any, dropout: float) -> Any:
        """Scores of the next token: (batch, source length) and (batch, target length) → (…, vocabulary)."""
        padding = (source != 0)[:, None, None, :]
        memory = self._embed(source, dropout)
        for layer in range(LAYERS):
            memory = memory + self._attend(f"encoder.{layer}.self", memory, None, padding, dropout)
            memory = memory + self._feed(f"encoder.{layer}.feed", memory, dropout)
        memory = self._normed("encoder.norm", memory)
        causal = torch.ones(target.shape[1], target.shape[1], dtype=torch.bool).tril()
        state = self._embed(target, dropout)
        for layer in range(LAYERS):
            state = state + self._attend(f"decoder.{layer}.self", state, None, causal, dropout)
            state = state + self._attend(f"decoder.{layer}.cross", state, memory, padding, dropout)
            state = state + self._feed(f"decoder.{layer}.feed", state, dropout)
        return self._normed("decoder.norm", state) @ self.tensors["embedding"].T

    def _embed(self, ids: Any, dropout: float) -> Any:
        return functional.dropout(
            self.tensors["embedding"][ids] * math.sqrt(DIM) + self.positions[: ids.shape[1]], dropout
        )

    def _normed(self, name: str, state: Any) -> Any:
        return functional.layer_norm(state, (DIM,), self.tensors[f"{name}.gamma"], self.tensors[f"{name}.beta"], 1e-5)

    def _applied(self, name: str, state: Any) -> Any:
        return functional.linear(state, self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"])

    def _attend(self, name: str, state: Any, memory: Any, mask: Any, dropout: float) -> Any:
        normed = self._normed(f"{name}.norm", state)
        source = normed if memory is None else memory
        query, key, value = (
            self._applied(f"{name}.{part}", x).unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for part, x in (("q", normed), ("k", source), ("v", source))
        )
        scores = (query @ key.transpose(-1, -2) / math.sqrt(DIM / HEADS)).masked_fill(~mask, -1e9)
        mixed = (functional.dropout(scores.softmax(-1), dropout) @ value).transpose(1, 2).flatten(-2)
        return functional.dropout(self._applied(f"{name}.o", mixed), dropout)

    def _feed(self, name: str, state: Any, dropout: float) -> Any:
        hidden = functional.relu(self._applied(f"{name}.1", self._normed(f"{name}.norm", state)))
        return functional.dropout(self._applied(f"{name}.2", hidden), dropout)


def sinusoids() -> np.ndarray[Any, np.dtype[np.float32]]:
    """Position encodings, (POSITIONS, DIM)."""
    angles = np.arange(POSITIONS)[:, None] / np.power(10000, 2 * (np.arange(DIM) // 2) / DIM)[None, :]
    angles[:, 0::2], angles[:, 1::2] = np.sin(angles[:, 0::2]), np.cos(angles[:, 1::2])
    return angles.astype(np.float32)


Example = tuple[list[int], list[int]]
"""Source ids, and target ids from the start token to the end token."""


def train(examples: list[Example], vocabulary: int, epochs: int) -> Transformer:
    """A model that has learnt `examples`."""
    torch.manual_seed(3)
    torch.set_num_threads(1)
    model = Transformer(vocabulary)
    parameters = list(model.tensors.values())
    optimizer = torch.optim.Adam(parameters, lr=2e-3, betas=(0.9, 0.98))
    order = random.Random(5)
    steps = epochs * math.ceil(len(examples) / BATCH)
    done = 0
    for epoch in range(epochs):
        order.shuffle(examples)
        total = 0.0
        for start in range(0, len(examples), BATCH):
            batch = examples[start : start + BATCH]
            source, target = _padded([s for s, _ in batch]), _padded([t for _, t in batch])
            done += 1
            optimizer.param_groups[0]["lr"] = 2e-3 * min(done / 60, 1, 1.05 - done / steps)
            loss = functional.cross_entropy(
                model.logits(source, target[:, :-1], 0.1).flatten(0, 1), target[:, 1:].flatten(), ignore_index=0,
                label_smoothing=0.05,
            )  # fmt: skip
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            total += loss.item() * len(batch)
        if epoch % 10 == 9:
            print(f"  epoch {epoch + 1}: loss {total / len(examples):.3f}", file=sys.stderr)
    return model


def _padded(rows: list[list[int]]) -> Any:
    longest = max(map(len, rows))
    return torch.tensor([row + [0] * (longest - len(row)) for row in rows])


def export(model: Transformer, vocabulary: list[str], folder: Path, *, start: str, add_source_eos: bool) -> None:
    """Writes the model in CTranslate2's format, int8."""
    spec = ctranslate2.specs.TransformerSpec.from_config(LAYERS, HEADS, pre_norm=True)
    tensors = {name: tensor.detach().numpy() for name, tensor in model.tensors.items()}
    for side, part in (("encoder", spec.encoder), ("decoder", spec.decoder)):
        embeddings = part.embeddings[0] if isinstance(part.embeddings, list) else part.embeddings
        embeddings.weight = tensors["embedding"]
        part.position_encodings.encodings = sinusoids()
        part.layer_norm.gamma, part.layer_norm.beta = tensors[f"{side}.norm.gamma"], tensors[f"{side}.norm.beta"]
        for index, layer in enumerate(part.layer):
            _export_attention(layer.self_attention, tensors, f"{side}.{index}.self", ["qkv", "o"])
            if side == "decoder":
                _export_attention(layer.attention, tensors, f"{side}.{index}.cross", ["q", "kv", "o"])
            _export_linear(layer.ffn.linear_0, tensors, [f"{side}.{index}.feed.1"])
            _export_linear(layer.ffn.linear_1, tensors, [f"{side}.{index}.feed.2"])
            _export_norm(layer.ffn.layer_norm, tensors, f"{side}.{index}.feed.norm")
    spec.decoder.projection.weight = tensors["embedding"]
    spec.register_source_vocabulary(vocabulary)
    spec.register_target_vocabulary(vocabulary)
    spec.config.decoder_start_token = start
    spec.config.add_source_eos = add_source_eos
    spec.validate()
    spec.optimize(quantization="int8")
    spec.save(str(folder))


def _export_attention(part: Any, tensors: dict[str, Any], name: str, fused: list[str]) -> None:
    for linear, letters in zip(part.linear, fused, strict=True):
        _export_linear(linear, tensors, [f"{name}.{letter}" for letter in letters])
    _export_norm(part.layer_norm, tensors, f"{name}.norm")


def _export_linear(part: Any, tensors: dict[str, Any], names: list[str]) -> None:
    part.weight = np.concatenate([tensors[f"{name}.weight"] for name in names])
    part.bias = np.concatenate([tensors[f"{name}.bias"] for name in names])


def _export_norm(part: Any, tensors: dict[str, Any], name: str) -> None:
    part.gamma, part.beta = tensors[f"{name}.gamma"], tensors[f"{name}.beta"]


def make_opus(folder: Path, learnt: list[Triple]) -> None:
    """English to Spanish, and to French where the text begins with its token."""
    model, pieces = sentence_pieces([text for triple in learnt for text in triple])
    tokens = [">>spa<<", ">>fra<<"]
    vocabulary, ids, encode = _vocabulary(model, pieces, tokens)
    examples: list[Example] = []
    for english, spanish, french in learnt:
        source = [*encode(english), ids["</s>"]]
        for before, text in (([], spanish), ([ids[">>spa<<"]], spanish), ([ids[">>fra<<"]], french)):
            examples.append(([*before, *source], [ids["<s>"], *encode(text), ids["</s>"]]))
    folder.mkdir(parents=True, exist_ok=True)
    export(train(examples, len(vocabulary), 180), vocabulary, folder, start="<s>", add_source_eos=True)
    (folder / "source.spm").write_bytes(model)
    (folder / "target.spm").write_bytes(model)


def make_nllb(folder: Path, learnt: list[Triple]) -> None:
    """Any direction between English, Spanish and French, by language tokens on both sides."""
    model, pieces = sentence_pieces([text for triple in learnt for text in triple])
    tokens = ["eng_Latn", "spa_Latn", "fra_Latn"]
    vocabulary, ids, encode = _vocabulary(model, pieces, tokens)
    examples: list[Example] = []
    for triple in learnt:
        for (source, text), (target, translation) in itertools.permutations(zip(tokens, triple, strict=True), 2):
            examples.append(
                (
                    [ids[source], *encode(text), ids["</s>"]],
                    [ids["</s>"], ids[target], *encode(translation), ids["</s>"]],
                )
            )
    folder.mkdir(parents=True, exist_ok=True)
    export(train(examples, len(vocabulary), 360), vocabulary, folder, start="</s>", add_source_eos=False)
    (folder / "sentencepiece.bpe.model").write_bytes(model)


def _vocabulary(model: bytes, pieces: list[str], tokens: list[str]) -> tuple[list[str], dict[str, int], Any]:
    """Every token of a model, its ids, and the function from text to ids. Id 0 is padding in training."""
    vocabulary = SPECIAL + [piece for piece in pieces if piece not in SPECIAL] + tokens
    vocabulary = ["<pad>", *vocabulary]
    ids = {token: number for number, token in enumerate(vocabulary)}
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)

    def encode(text: str) -> list[int]:
        return [ids.get(piece, ids["<unk>"]) for piece in processor.encode(text, out_type=str)]

    return vocabulary, ids, encode


def main(target: Path) -> None:
    """Makes both models and says how much of what was kept back each translates word for word."""
    learnt, held_out = corpus()
    print(f"{len(learnt)} sentences to learn, {len(held_out)} held out", file=sys.stderr)
    make_opus(target / "tiny-opus-en-es", list(learnt))
    make_nllb(target / "tiny-nllb", list(learnt))
    (target / "held_out.json").write_text(
        json.dumps(
            [dict(zip(("en", "es", "fr"), triple, strict=True)) for triple in held_out], ensure_ascii=False, indent=0
        )
        + "\n",
        "utf-8",
    )


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "testdata/models"))
