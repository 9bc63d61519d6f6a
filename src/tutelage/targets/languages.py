"""Which language a text is written in, as far as that can be told from the text alone.

In: a text, and the languages that are wanted. Out: whether it is surely in another one. The work is
py3langid's (139 languages, 5 MB, no network), which comes with `tutelage[languages]`.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import Any

_SURE, _HARDLY = 0.5, 0.1
"""A text is in another language if that has at least the first probability, and those that are
wanted less than the second together. A word or a number alone has no probability above the first,
and languages that are near to each other share theirs."""
_NO_LANGUAGE = "zxx"
"""Code, tables, numbers."""


def in_another_language(text: str, languages: Collection[str]) -> bool:
    """Whether a text is surely written in a language that is not among some.

    Args:
        text: Any text; short ones and such without words are in no other language.
        languages: ISO 639 codes that `language_problem` found to be known.

    Example:
        >>> in_another_language("Ich weiß es leider nicht.", ("en", "fr"))
        True
        >>> in_another_language("Paris", ("de",))
        False
    """
    found = dict(_identifier().rank(text))
    likeliest = max(found, key=found.__getitem__)
    wanted = sum(found[language] for language in set(languages))
    return likeliest != _NO_LANGUAGE and found[likeliest] >= _SURE and wanted < _HARDLY


def language_problem(languages: Collection[str]) -> str | None:
    """What keeps texts from being held against some languages, in words; None: nothing."""
    try:
        known = set(_identifier().labels) - {_NO_LANGUAGE}
    except ImportError:
        return (
            "languages are told by py3langid, which is not installed: pip install "
            "'tutelage[languages]', or remove languages"
        )
    for language in languages:
        if language not in known:
            return (
                f"{language!r} is none of the {len(known)} languages that py3langid knows; "
                "expected an ISO 639 code such as en, de or zh"
            )
    return None


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
