"""The small words of some languages, which decide where a line of text may be broken."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, kw_only=True)
class SmallWords:
    """The small words of one language, in lower case."""

    conjunctions: frozenset[str]
    """Words that begin a clause."""
    coordinators: frozenset[str]
    """`and` and `or`, which join nouns as often as clauses."""
    prepositions: frozenset[str]
    subjects: frozenset[str]
    """Pronouns that are the subject of a clause, often its first word."""
    leaning: frozenset[str]
    """Words that are not to end a line: articles, possessives, auxiliaries, and the sets above."""
    names_are_capitalised: bool
    """Two capitalised words in a row are a name (German capitalises every noun)."""


@lru_cache(maxsize=64)
def small_words(language: str) -> SmallWords:
    """The words of a language tag's primary language; a language without a list here has none.

    >>> "the" in small_words("en-GB").leaning, small_words("tlh").prepositions
    (True, frozenset())
    """
    primary = re.split("[-_]", language.lower())[0]
    conjunctions, coordinators, prepositions, subjects, others = (
        frozenset(part.split()) for part in _LISTS.get(primary, ("", "", "", "", ""))
    )
    return SmallWords(
        conjunctions=conjunctions,
        coordinators=coordinators,
        prepositions=prepositions,
        subjects=subjects,
        leaning=conjunctions | coordinators | prepositions | subjects | others,
        names_are_capitalised=primary != "de",
    )


def likely_language(words: Iterable[str]) -> str:
    """The language whose small words are the most among `words` (lower case), empty where there are none.

    >>> likely_language("a casa da minha avó".split()), likely_language(["hm"])
    ('pt', '')
    """
    counts = Counter(language for word in words for language in _LISTS if word in small_words(language).leaning)
    return max(counts, key=lambda language: (counts[language], language)) if counts else ""


ABBREVIATIONS = frozenset(
    "mr mrs ms dr prof st sr sra srta dra vs etc e.g i.e u.s no vol fig jr gen col sgt mme mlle m bzw z.b d.h nr p.ej "
    "ex".split()
)
"""Words whose full stop ends no sentence, in all languages, without that stop."""

_LISTS = {
    "en": (
        "but nor so yet because although though while whereas if unless until since when whenever where that which who whom "
        "whose than whether as what how why",
        "and or",
        "in on at by for from with without to of about into onto over under between among through during before after "
        "against toward towards across behind beyond near within upon per via like including depending according regarding",
        "i you he she it we they i'm you're he's she's it's we're they're i've you've we've they've i'll you'll we'll they'll "
        "i'd there there's",
        "a an the my your his her its our their this these those every each some any no not is are was were be been being "
        "am has have had do does did will would shall should can could may might must isn't aren't wasn't don't doesn't "
        "didn't won't can't couldn't wouldn't shouldn't very more most too such even mr mrs ms dr",
    ),
    "pt": (
        "mas nem porém porque pois embora enquanto se quando onde que qual quais quem cujo cuja como portanto logo",
        "e ou",
        "em no na nos nas num numa de do da dos das dum duma por pelo pela pelos pelas para pra com sem sobre sob entre até "
        "desde contra após ante perante durante ao à aos às a neste nesta nestes nestas nesse nessa nesses nessas naquele "
        "naquela deste desta destes destas desse dessa desses dessas daquele daquela disso disto nisso nisto àquele àquela",
        "eu ele ela nós eles elas você vocês",
        "o os as um uma uns umas meu minha meus minhas teu tua seu sua seus suas nosso nossa nossos nossas este esta estes "
        "estas esse essa esses essas aquele aquela cada todo toda todos todas algum alguma não é são era eram foi foram ser "
        "está estão estava estavam tem têm tinha há vai vão pode podem deve devem muito muitos muitas mais tão me te lhe nos "
        "vos lhes sr sra dr dra",
    ),
    "es": (
        "pero ni sino porque pues aunque mientras si cuando donde que cual cuales quien quienes como qué cómo",
        "y e o u",
        "en de del a al por para con sin sobre bajo entre hasta desde contra hacia según durante ante tras",
        "yo él ella nosotros ellos ellas usted ustedes",
        "el la los las un una unos unas lo mi mis tu tus su sus nuestro nuestra nuestros nuestras este esta estos estas ese "
        "esa esos esas aquel aquella cada todo toda todos todas algún alguna no es son era eran fue fueron ser está están "
        "estaba ha han había he hemos hay va van puede pueden debe muy más tan dado me te se le nos les sr sra dr dra",
    ),
    "fr": (
        "mais ni car donc or parce puisque quoique tandis si quand lorsque où que qui dont comme",
        "et ou",
        "en dans de du des à au aux par pour avec sans sur sous entre vers chez jusque depuis contre pendant avant après",
        "je tu il elle on nous vous ils elles j'ai c'est",
        "le la les un une mon ma mes ton ta tes son sa ses notre nos votre vos leur leurs ce cet cette ces chaque tout toute "
        "tous toutes quelque ne n'est est sont était étaient a ont avait avaient ai avons sera être avoir va vont peut "
        "peuvent doit très plus ainsi me te se m mme mlle dr",
    ),
    "de": (
        "aber denn sondern weil obwohl während wenn falls als dass ob bevor nachdem damit wie wo warum",
        "und oder",
        "in im an am auf aus bei beim mit nach von vom zu zum zur für durch gegen ohne um über unter vor zwischen seit bis "
        "wegen trotz",
        "ich du er sie es wir ihr man",
        "der die das den dem des ein eine einen einem einer eines mein meine dein deine sein seine ihre unser unsere "
        "dieser diese dieses diesen jeder jede jedes kein keine nicht ist sind war waren hat haben hatte hatten wird werden "
        "wurde kann können könnte könnten muss müssen soll sollte sollten sehr mehr herr frau dr",
    ),
    "it": (
        "ma né però perché poiché sebbene mentre se quando dove che cui chi come quindi",
        "e ed o oppure",
        "in di a da con su per tra fra nel nella nello nei negli nelle del della dello dei degli delle al alla allo ai agli "
        "alle dal dalla dallo dai dagli dalle sul sulla sullo sui sugli sulle senza verso fino contro durante dopo prima",
        "io lui lei noi voi loro",
        "il lo la i gli le un uno una mio mia miei mie tuo tua suo sua suoi sue nostro nostra vostro questo questa questi "
        "queste quel quella quelli quelle ogni tutto tutta tutti tutte non è sono era erano ha hanno aveva ho abbiamo può "
        "possono deve molto più mi ti si ci vi sig dott",
    ),
}
"""Language → conjunctions, coordinators, prepositions, subject pronouns, and other words that lean on the one after them."""
