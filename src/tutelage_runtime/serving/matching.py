"""Which student answers a question: found by what the question says, not by what it is called.

- A **choice** or score is answered by the student whose labels are its options, in any order.
- A **predicate** is answered where it is certain what a yes means: its instructions stand in the
  explicit mapping; or they end in "The right label for the text is: LABEL", which is how `tutelage`
  asks its teachers (brackets behind the label do not count), or are a label or its description; or
  what it says about a yes is a label or its description. A label that merely occurs in a sentence
  decides nothing: "is this not spam?" would be answered with its opposite.
- Students whose question has **instructions** answer only these; others answer any.

Names are compared in Unicode's composed form (NFC), instructions also with white space as one
space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from unicodedata import normalize

from tutelage_runtime.serving.answering import AskedQuestion, Option, Refusal, ServedQuestion
from tutelage_runtime.serving.errors import ServeError

STATEMENT = "The right label for the text is: "
_REMEMBERED = 512
_REMEMBERED_CHARACTERS = 20_000
_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Match:
    """Who answers a question, and where its options stand in that one's answers."""

    student: int
    """Its place among those that are served."""
    columns: tuple[int, ...]
    """Of each option; of a predicate the one whose probability is that of a yes."""
    options: tuple[Option, ...]
    """As `Answered` has them."""


@dataclass(frozen=True, slots=True)
class Predicate:
    """What a yes to certain instructions means, as somebody said it."""

    label: str
    student: str | None = None
    """None: the only one that has this label."""


def same_name(name: str) -> str:
    """A label as it is compared with others."""
    return name if name.isascii() else normalize("NFC", name)


def same_words(text: str | None) -> str:
    """Instructions as they are compared with others."""
    return " ".join(same_name(text or "").split())


class Questions:
    """The questions that are answered.

    Args:
        served: Of each student.
        predicates: What a yes to certain instructions means.

    Raises:
        ServeError: Two students answer the same question or have the same name, or a predicate
            names a label that no student has.
    """

    def __init__(
        self, served: Sequence[ServedQuestion], predicates: Mapping[str, Predicate] | None = None
    ) -> None:
        self._served = tuple(served)
        self._by_name: dict[str, int] = {}
        self._by_labels: dict[frozenset[str], dict[str, int]] = {}
        self._places: list[dict[str, int]] = []
        self._meanings: list[dict[str, int]] = []
        for number, one in enumerate(self._served):
            self._add(number, one)
        self._predicates = {
            same_words(said): self._explicit(said, meant)
            for said, meant in (predicates or {}).items()
        }
        self._found: dict[tuple[object, ...], Match] = {}

    def _add(self, number: int, one: ServedQuestion) -> None:
        if one.name in self._by_name:
            raise ServeError(
                f"two students are called {one.name!r}: give one another name, as NEWNAME=FOLDER"
            )
        self._by_name[one.name] = number
        places = {same_name(label): place for place, label in enumerate(one.labels)}
        if len(places) < len(one.labels):
            raise ServeError(f"{one.name} has a label twice: {', '.join(one.labels)}")
        others = self._by_labels.setdefault(frozenset(places), {})
        words = same_words(one.instructions)
        if words in others:
            other = self._served[others[words]].name
            asked = f" with the instructions {words[:80]!r}" if words else ""
            raise ServeError(
                f"{other} and {one.name} answer the same question (labels "
                f"{_listed(one.labels)}{asked}): serve one of them"
            )
        others[words] = number
        meanings = {same_words(label): place for label, place in places.items()}
        for label, meaning in one.descriptions.items():
            if (place := places.get(same_name(label))) is not None:
                meanings.setdefault(same_words(meaning), place)
                meanings.setdefault(same_words(f"{label} ({meaning})"), place)
        self._places.append(places)
        self._meanings.append(meanings)

    def _explicit(self, said: str, meant: Predicate) -> Match:
        if meant.student is not None and meant.student not in self._by_name:
            raise ServeError(
                f"the predicate {said[:80]!r} names the student {meant.student!r}; served are "
                f"{_listed(self._by_name)}"
            )
        found = [
            Match(number, (places[same_name(meant.label)],), ())
            for number, places in enumerate(self._places)
            if same_name(meant.label) in places
            and meant.student in (None, self._served[number].name)
        ]
        if len(found) != 1:
            raise ServeError(
                f"the predicate {said[:80]!r} means the label {meant.label!r}, which "
                f"{len(found) or 'no'} students have: name a label, and the student if several "
                "have it"
            )
        return found[0]

    def find(self, asked: AskedQuestion, model: str | None = None) -> Match:
        """Who answers a question.

        Args:
            asked: What a client asks.
            model: The one that it named; read only where the question says nothing (`classes`).

        Raises:
            Refusal: 404, nobody does; the message names the questions that are answered.
        """
        if asked.kind == "classes":
            return self._of_model(asked, model)
        key = (asked.kind, asked.options, asked.instructions, asked.yes, asked.no)
        match = self._found.get(key)
        if match is None:
            match = self._predicate(asked) if asked.kind == "predicate" else self._choice(asked)
            words = (asked.instructions, asked.yes, asked.no, *map(str, asked.options))
            said = sum(map(len, filter(None, words)))
            if said <= _REMEMBERED_CHARACTERS:
                if len(self._found) >= _REMEMBERED:
                    self._found.clear()
                self._found[key] = match
        return match

    def _of_model(self, asked: AskedQuestion, model: str | None) -> Match:
        number = 0
        if len(self._served) > 1:
            name, _, _ = (model or "").removeprefix("tutelage/").partition("@")
            if name not in self._by_name:
                raise Refusal(
                    404,
                    "model_not_found",
                    f"the model {(model or '')[:80]!r} is not served here; name one of "
                    f"{_listed(self._by_name)}",
                    place=asked.place,
                )
            number = self._by_name[name]
        labels = self._served[number].labels
        return Match(number, tuple(range(len(labels))), labels)

    def _choice(self, asked: AskedQuestion) -> Match:
        # A boolean is told apart from its name by the protocol, but labels are words.
        named = [str(one).lower() if isinstance(one, bool) else one for one in asked.options]
        keys = [same_name(one) for one in named]
        others = self._by_labels.get(frozenset(keys), {})
        words = same_words(asked.instructions)
        number = others.get(words, others.get(""))
        if number is not None and len(set(keys)) == len(keys):
            places = self._places[number]
            return Match(number, tuple(places[key] for key in keys), asked.options)
        if asked.kind == "score" and (found := self._described(asked, words)):
            return found
        raise self._nobody(asked, others)

    def _described(self, asked: AskedQuestion, words: str) -> Match | None:
        """A score whose levels are what labels mean; System One has no names for levels."""
        keys = [same_words(str(one)) for one in asked.options]
        found = []
        for number, meanings in enumerate(self._meanings):
            columns = tuple(meanings.get(key, -1) for key in keys)
            if sorted(columns) == list(range(len(self._served[number].labels))) and self._told(
                number, words
            ):
                found.append(Match(number, columns, asked.options))
        return found[0] if len(found) == 1 else None

    def _told(self, number: int, words: str) -> bool:
        """Whether a student answers under these instructions."""
        wanted = same_words(self._served[number].instructions)
        return wanted in ("", words)

    def _predicate(self, asked: AskedQuestion) -> Match:
        words = same_words(asked.instructions)
        if (explicit := self._predicates.get(words)) is not None:
            return explicit
        lead, marker, rest = words.rpartition(STATEMENT)
        found: list[Match] = []
        for number, meanings in enumerate(self._meanings):
            place = meanings.get(rest if marker else words)
            if place is None and marker and rest.endswith(")"):
                place = meanings.get(rest.partition(" (")[0])  # LABEL (what the client says of it)
            if place is not None and self._told(number, lead.strip()):
                found.append(Match(number, (place,), ()))
        if not found and asked.yes is not None:
            found = self._by_sides(asked, words)
        if len(found) == 1:
            return found[0]
        raise self._nobody(asked, {})

    def _by_sides(self, asked: AskedQuestion, words: str) -> list[Match]:
        """Students of which a label is what a yes means, and another what a no means."""
        found = []
        for number, meanings in enumerate(self._meanings):
            yes = meanings.get(same_words(asked.yes))
            no = None if asked.no is None else meanings.get(same_words(asked.no))
            two = len(self._served[number].labels) == 2
            fits = asked.no is None or (two and no is not None and no != yes)
            if yes is not None and fits and self._told(number, words):
                found.append(Match(number, (yes,), ()))
        return found

    def _nobody(self, asked: AskedQuestion, others: Mapping[str, int]) -> Refusal:
        place = asked.place
        if asked.kind == "predicate":
            given = "what a yes to this question means is not known"
            place = (*place, "instructions")
        elif others:
            names = [self._served[number].name for number in others.values()]
            given = f"these options are those of {_listed(names)}, asked with other instructions"
            place = (*place, "instructions")
        else:
            given = f"nobody here answers a choice among {_listed(map(str, asked.options))}"
        served = "; ".join(map(_said, self._served[:_SHOWN]))
        more = len(self._served) - _SHOWN
        and_more = f"; and {more} more at /students" if more > 0 else ""
        return Refusal(
            404, "question_not_found", f"{given}. Served: {served}{and_more}", place=place
        )


def _said(one: ServedQuestion) -> str:
    asked = f" asked {same_words(one.instructions)[:120]!r}" if one.instructions else ""
    return f"{one.name}: {_listed(one.labels)}{asked}"


def _listed(names) -> str:
    shown = [str(name)[:60] for name in names]
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return ", ".join(shown[:_SHOWN]) + more
