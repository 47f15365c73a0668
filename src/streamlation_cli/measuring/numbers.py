"""Numbers in words, so that "20" and "twenty" compare as equal.

English, Portuguese, Spanish, French and German; numbers of other languages stay digits. Below a thousand million.
"""

from __future__ import annotations

LANGUAGES = ("en", "pt", "es", "fr", "de")

_SMALL = {
    "en": "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen",
    "pt": "zero um dois três quatro cinco seis sete oito nove dez onze doze treze catorze quinze dezesseis dezessete "
    "dezoito dezenove",
    "es": "cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince dieciséis diecisiete "
    "dieciocho diecinueve veinte veintiuno veintidós veintitrés veinticuatro veinticinco veintiséis veintisiete "
    "veintiocho veintinueve",
    "fr": "zéro un deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize dix-sept dix-huit "
    "dix-neuf",
    "de": "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn siebzehn "
    "achtzehn neunzehn",
}
_TENS = {
    "en": "twenty thirty forty fifty sixty seventy eighty ninety",
    "pt": "vinte trinta quarenta cinquenta sessenta setenta oitenta noventa",
    "es": "veinte treinta cuarenta cincuenta sesenta setenta ochenta noventa",
    "fr": "vingt trente quarante cinquante soixante soixante quatre-vingt quatre-vingt",
    "de": "zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig",
}
_HUNDREDS = {
    "pt": "cento duzentos trezentos quatrocentos quinhentos seiscentos setecentos oitocentos novecentos",
    "es": "ciento doscientos trescientos cuatrocientos quinientos seiscientos setecientos ochocientos novecientos",
}
SMALL = {language: words.split() for language, words in _SMALL.items()}
TENS = {language: words.split() for language, words in _TENS.items()}
HUNDREDS = {language: words.split() for language, words in _HUNDREDS.items()}

DECIMAL_MARK = {
    "en": ("point", "."),
    "pt": ("vírgula", ","),
    "es": ("coma", ","),
    "fr": ("virgule", ","),
    "de": ("komma", ","),
}
"""How the mark before decimals is said and written."""

_ORDINAL = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth",
    "twelve": "twelfth",
}  # fmt: skip


def cardinal(value: int, language: str) -> str:
    """The number in words; raises ValueError outside 0 to 999,999,999 and KeyError for a language without words here.

    >>> cardinal(21, "en"), cardinal(345, "en"), cardinal(2_000_017, "en")
    ('twenty-one', 'three hundred forty-five', 'two million seventeen')
    >>> cardinal(100, "pt"), cardinal(121, "pt"), cardinal(1995, "pt"), cardinal(1100, "pt")
    ('cem', 'cento e vinte e um', 'mil novecentos e noventa e cinco', 'mil e cem')
    >>> cardinal(31, "es"), cardinal(21_000, "es"), cardinal(80, "fr"), cardinal(271, "fr"), cardinal(1021, "de")
    ('treinta y uno', 'veintiún mil', 'quatre-vingts', 'deux cent soixante et onze', 'tausendeinundzwanzig')
    """
    if not 0 <= value < 10**9:
        raise ValueError(f"{value}: no words for it here")
    if value == 0:
        return SMALL[language][0]
    millions, rest = divmod(value, 1_000_000)
    thousands, units = divmod(rest, 1000)
    parts = [_millions(millions, language)] if millions else []
    if thousands:
        parts.append(_thousands(thousands, language))
    if units:
        said = _below_thousand(units, language)
        # Portuguese joins the last group with `e` where it is one word: mil e vinte, mil e cem.
        joined = language == "pt" and bool(parts) and (units < 100 or units % 100 == 0)
        parts.append(f"e {said}" if joined else said)
    if language == "de" and thousands:
        head, tail = parts[: 1 if millions else 0], parts[1 if millions else 0 :]
        parts = [*head, "".join(tail)]
    return " ".join(parts)


def year(value: int, language: str) -> str:
    """A number of four digits as a year is said: in hundreds, where the language does that.

    >>> year(1995, "en"), year(1905, "en"), year(1900, "en"), year(2024, "en")
    ('nineteen ninety-five', 'nineteen oh five', 'nineteen hundred', 'twenty twenty-four')
    >>> year(2005, "en"), year(1995, "de")
    ('two thousand five', 'neunzehnhundertfünfundneunzig')
    """
    high, low = divmod(value, 100)
    if language == "en" and (11 <= high <= 19 or (high == 20 and low >= 10)):
        said = cardinal(high, "en")
        if low == 0:
            return f"{said} hundred"
        return f"{said} oh {cardinal(low, 'en')}" if low < 10 else f"{said} {cardinal(low, 'en')}"
    if language == "de" and 11 <= high <= 19:
        return f"{cardinal(high, 'de')}hundert{cardinal(low, 'de') if low else ''}"
    return cardinal(value, language)


def english_ordinal(value: int) -> str:
    """The English ordinal in words.

    >>> english_ordinal(1), english_ordinal(22), english_ordinal(30), english_ordinal(104)
    ('first', 'twenty-second', 'thirtieth', 'one hundred fourth')
    """
    said = cardinal(value, "en")
    cut = max(said.rfind(" "), said.rfind("-")) + 1
    head, last = said[:cut], said[cut:]
    if last in _ORDINAL:
        return head + _ORDINAL[last]
    return head + (last[:-1] + "ieth" if last.endswith("y") else last + "th")


def _millions(count: int, language: str) -> str:
    one = {"en": "one million", "pt": "um milhão", "es": "un millón", "fr": "un million", "de": "eine million"}
    many = {"en": "million", "pt": "milhões", "es": "millones", "fr": "millions", "de": "millionen"}
    if count == 1:
        return one[language]
    return f"{_shortened(_below_thousand(count, language), language)} {many[language]}"


def _thousands(count: int, language: str) -> str:
    thousand = {"en": "thousand", "pt": "mil", "es": "mil", "fr": "mille", "de": "tausend"}[language]
    if count == 1:
        return "one thousand" if language == "en" else thousand
    said = _shortened(_below_thousand(count, language), language)
    if language == "fr":  # cent and vingt lose their s before mille
        said = said.removesuffix("s") if count % 100 in (0, 80) else said
    if language == "de":
        return (said.removesuffix("s") if count % 100 == 1 else said) + thousand
    return f"{said} {thousand}"


def _shortened(said: str, language: str) -> str:
    """Spanish `uno` before mil and millones."""
    if language != "es" or not said.endswith("uno"):
        return said
    return said[:-3] + ("ún" if said.endswith("veintiuno") else "un")


def _below_thousand(value: int, language: str) -> str:
    hundreds, rest = divmod(value, 100)
    if not hundreds:
        return _below_hundred(rest, language)
    small = SMALL[language]
    if language in HUNDREDS:
        alone = {"pt": "cem", "es": "cien"}[language]
        said = alone if value == 100 else HUNDREDS[language][hundreds - 1]
    elif language == "en":
        said = f"{small[hundreds]} hundred"
    elif language == "fr":
        said = "cent" if hundreds == 1 else f"{small[hundreds]} cent{'' if rest else 's'}"
    else:
        said = f"{small[hundreds] if hundreds > 1 else ''}hundert"
    if not rest:
        return said
    return said + {"pt": " e ", "de": ""}.get(language, " ") + _below_hundred(rest, language)


def _below_hundred(value: int, language: str) -> str:
    small, tens = SMALL[language], TENS[language]
    if value < len(small):
        return small[value]
    ten, one = divmod(value, 10)
    said = tens[ten - 2]
    if language == "fr":
        return _french(said, ten, one)
    if not one:
        return said
    if language == "de":
        return f"{'ein' if one == 1 else small[one]}und{said}"
    return said + {"en": "-", "pt": " e ", "es": " y "}[language] + small[one]


def _french(said: str, ten: int, one: int) -> str:
    if ten in (7, 9):
        one += 10
    if ten == 8 and one == 0:
        return "quatre-vingts"
    if one == 0:
        return said
    if one in (1, 11) and ten < 8:
        return f"{said} et {SMALL['fr'][one]}"
    return f"{said}-{SMALL['fr'][one]}"
