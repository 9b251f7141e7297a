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


def words_beside(labels: Sequence[str]) -> list[str]:
    """The other words, and the digits, that are none of `labels`."""
    wanted = {label.lower() for label in labels}
    return [word for word in (*DIGITS, *OTHER_WORDS) if word not in wanted]
