"""Common English words that stand for everything that is not to be recognised, said by synthetic voices."""

from collections.abc import Sequence

from edgedigit.labels import DIGITS

_WORDS = """
about after again air apple baby back ball because before better black blue book bottle box bread bring brother
butter camera city clock close coffee colour could different door dinner early engine enough evening family father
finger flower friend garden green hand heart help kitchen letter light listen little market middle minute money
morning mother music name never night office open orange other paper people picture please question radio ready
really river school sister small something station stone story street summer table teacher thank think time today
together tomorrow train travel under voice walk water weather window winter without woman work world yellow
"""

OTHER_WORDS = tuple(_WORDS.split())

# Words that share sounds with a digit, and numbers that are none; no homophones ("to", "for", "won", "ate"), which only
# their context tells from a digit.
_NEAR_DIGITS = """
hero zebra zone row arrow euro sierra serial series narrow borrow cereal zorro hear seer near low go so show
wonder once want wand wander win when wine sun run fun gun done none van warn what was wash watch
tool tune tomb tooth tour do due shoe chew you new through true zoo who food moon room soup group tube
tree free thread threat throw thirty she see sea tea key bee me he we degree agree thing theory thick
fall fork form force fort forty floor full foot more store sure war tore roar fault follow fair fear
fine fire fly fight file life live drive hive dive wife alive arrive knife fifty find pipe buy my hi why
sick sit sticks fix mix sixth sixty sacks socks seeks sink silk sing still tricks kicks picks bricks system text next
even heaven several eleven seventy seventh second sever saving sudden southern oven given driven salmon lesson lemon
late date gate wait paint great state plate eighty eighth aid age ace eat it that hate rate straight day they say
line mine sign design ninety ninth nice nun noon known name vine shine mind kind rhyme
ten twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty hundred thousand million first third
fourth fifth double triple point dash plus minus
"""

NEAR_DIGITS = tuple(_NEAR_DIGITS.split())


def words_beside(labels: Sequence[str]) -> list[str]:
    """The other words, and the digits, that are none of `labels`; beside all digits also what sounds like one."""
    wanted = {label.lower() for label in labels}
    near = NEAR_DIGITS if wanted.issuperset(DIGITS) else ()
    return [word for word in dict.fromkeys((*DIGITS, *OTHER_WORDS, *near)) if word not in wanted]
