"""Languages: tags of any standard to one short code, and names for people.

The codes are ISO 639-1 where there is one, else ISO 639-3. Whisper's hundred languages are here and the others that
translation models and voices often have; an unknown tag is left as it is.
"""

from __future__ import annotations

AUTO = "auto"
"""What `--from` is when the language is to be detected."""

# code, ISO 639-2/T or 639-3, English name, further codes (639-2/B, macrolanguage members, retired codes)
_TABLE = """
af afr Afrikaans
am amh Amharic
ar ara Arabic arb arz ary apc
as asm Assamese
az aze Azerbaijani azj azb
ba bak Bashkir
be bel Belarusian
bg bul Bulgarian
bn ben Bengali
bo bod Tibetan tib
br bre Breton
bs bos Bosnian
ca cat Catalan
cs ces Czech cze
cy cym Welsh wel
da dan Danish
de deu German ger
el ell Greek gre
en eng English
eo epo Esperanto
es spa Spanish
et est Estonian ekk
eu eus Basque baq
fa fas Persian per pes prs
fi fin Finnish
fo fao Faroese
fr fra French fre
ga gle Irish
gd gla Gaelic
gl glg Galician
gu guj Gujarati
ha hau Hausa
haw haw Hawaiian
he heb Hebrew iw
hi hin Hindi
hr hrv Croatian scr
ht hat Haitian
hu hun Hungarian
hy hye Armenian arm
ia ina Interlingua
id ind Indonesian in
is isl Icelandic ice
it ita Italian
ja jpn Japanese
jv jav Javanese jw
ka kat Georgian geo
kk kaz Kazakh
km khm Khmer
kn kan Kannada
ko kor Korean
ku kur Kurdish kmr
ky kir Kyrgyz
la lat Latin
lb ltz Luxembourgish
ln lin Lingala
lo lao Lao
lt lit Lithuanian
lv lav Latvian lvs
mg mlg Malagasy plt
mi mri Maori mao
mk mkd Macedonian mac
ml mal Malayalam
mn mon Mongolian khk
mr mar Marathi
ms msa Malay may zsm
mt mlt Maltese
my mya Burmese bur
nb nob Norwegian_Bokmål
ne nep Nepali npi
nl nld Dutch dut
nn nno Norwegian_Nynorsk
no nor Norwegian
oc oci Occitan
or ori Odia ory
pa pan Punjabi
pl pol Polish
ps pus Pashto pbt
pt por Portuguese
ro ron Romanian rum mo mol
ru rus Russian
rw kin Kinyarwanda
sa san Sanskrit
sd snd Sindhi
si sin Sinhala
sk slk Slovak slo
sl slv Slovenian
sm smo Samoan
sn sna Shona
so som Somali
sq sqi Albanian alb
sr srp Serbian scc
st sot Sesotho
su sun Sundanese
sv swe Swedish
sw swa Swahili swh
ta tam Tamil
te tel Telugu
tg tgk Tajik
th tha Thai
ti tir Tigrinya
tk tuk Turkmen
tl tgl Tagalog fil
tr tur Turkish
tt tat Tatar
ug uig Uyghur
uk ukr Ukrainian
ur urd Urdu
uz uzb Uzbek uzn
vi vie Vietnamese
xh xho Xhosa
yi yid Yiddish ydd
yo yor Yoruba
yue yue Cantonese
zh zho Chinese chi cmn
zu zul Zulu
"""

_NAMES: dict[str, str] = {}
_CODES: dict[str, str] = {}
_LONG: dict[str, str] = {}
for _line in _TABLE.split("\n"):
    if _line:
        _code, _long, _name, *_others = _line.split()
        _NAMES[_code] = _name.replace("_", " ")
        _LONG[_code] = _long
        _CODES.update(dict.fromkeys((_code, _long, *_others), _code))
_BY_NAME = {name.lower(): code for code, name in _NAMES.items()}


def primary(tag: str) -> str:
    """The short code of a language tag or English name; an unknown tag's first part in lower case.

    >>> primary("pt-BR"), primary("por"), primary("ENG"), primary("zh_Hant"), primary("Portuguese")
    ('pt', 'pt', 'en', 'zh', 'pt')
    >>> primary("haw"), primary("por_Latn"), primary("tlh-x-a"), primary(""), primary("und")
    ('haw', 'pt', 'tlh', '', '')
    """
    first = tag.strip().lower().replace("_", "-").partition("-")[0]
    if first in ("und", "mis", "zxx", "mul"):
        return ""
    return _CODES.get(first) or _BY_NAME.get(tag.strip().lower()) or first


def tag(text: str) -> str:
    """The language tag (BCP 47) of a language in whatever notation; the region or script stays.

    >>> tag("eng"), tag("pt-BR"), tag("por_BR"), tag("Portuguese"), tag("und")
    ('en', 'pt-BR', 'pt-BR', 'pt', '')
    """
    short = primary(text)
    _, _, rest = text.strip().replace("_", "-").partition("-")
    return f"{short}-{rest}" if short and rest else short


def iso639_2(tag: str) -> str:
    """The code of three letters (ISO 639-2/T) that containers want; `und` for an unknown language.

    >>> iso639_2("pt-BR"), iso639_2("German"), iso639_2("haw"), iso639_2(""), iso639_2("tlh"), iso639_2("x1")
    ('por', 'deu', 'haw', 'und', 'tlh', 'und')
    """
    short = primary(tag)
    code = _LONG.get(short, short)
    return code if len(code) == 3 and code.isascii() and code.isalpha() else "und"


def same(one: str, other: str) -> bool:
    """Whether two tags name the same language, whatever the region or script.

    >>> same("pt-BR", "por"), same("pt", "es"), same("", "")
    (True, False, False)
    """
    return bool(primary(one)) and primary(one) == primary(other)


def name(tag: str) -> str:
    """The language's name in English; an unknown tag as it is.

    >>> name("pt-BR"), name("jw"), name("tlh")
    ('Portuguese', 'Javanese', 'tlh')
    """
    return _NAMES.get(primary(tag), tag)


def known() -> tuple[str, ...]:
    """Every code of the table, in order.

    >>> len(known()) > 100
    True
    """
    return tuple(_NAMES)
