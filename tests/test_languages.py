"""Language tags: one short code for every way of writing one."""

from __future__ import annotations

import pytest

from streamlation_cli import languages

# The languages of Whisper's tokenizer.
WHISPER = (
    "af am ar as az ba be bg bn bo br bs ca cs cy da de el en es et eu fa fi fo fr gl gu ha haw he hi hr ht hu hy id is it ja jw ka kk "
    "km kn ko la lb ln lo lt lv mg mi mk ml mn mr ms mt my ne nl nn no oc pa pl ps pt ro ru sa sd si sk sl sn so sq sr su sv sw ta te "
    "tg th tk tl tr tt uk ur uz vi yi yo zh yue"
).split()


@pytest.mark.parametrize("code", WHISPER)
def test_whispers_languages_have_names(code: str) -> None:
    assert languages.name(code) != code
    assert languages.primary(code) == ("jv" if code == "jw" else code)
    assert languages.primary(languages.name(code)) == languages.primary(code)


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        ("pt-BR", "pt"), ("por", "pt"), ("PT_br", "pt"), ("por_Latn", "pt"), ("fre", "fr"), ("fra", "fr"), ("ger", "de"), ("deu", "de"),
        ("chi", "zh"), ("zh-Hant-TW", "zh"), ("cmn", "zh"), ("heb", "he"), ("iw", "he"), ("fil", "tl"), ("nb", "nb"), ("nno", "nn"),
        ("English", "en"), (" en ", "en"), ("xx", "xx"), ("tlh-Latn", "tlh"), ("und", ""), ("", ""), ("yue", "yue"), ("haw", "haw"),
    ],
)  # fmt: skip
def test_tags(tag: str, code: str) -> None:
    assert languages.primary(tag) == code


def test_no_code_means_two_languages() -> None:
    codes = languages.known()
    assert len(set(codes)) == len(codes)
    assert len({languages.name(code) for code in codes}) == len(codes)
    assert all(languages.primary(code) == code for code in codes)
