"""What the flow asks of a kind of teacher before, while and after it is made, whatever the kind;
and the options that all teachers share whose weights are loaded here.

A kind of teacher is a frozen spec with its options (the recipe's `teacher` section is read from
them) that answers these questions about itself. Nothing here or in a spec's module imports torch:
specs import what they need when they are asked. In: an assignment, which is what the teacher shall
answer and what it may learn from. Out: problems, names, sizes, effort, and the teacher itself.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Literal,
    Protocol,
    TypeVar,
    runtime_checkable,
)

from annotated_types import Ge

from tutelage.errors import ModelError, Problem
from tutelage.types import Example, Progress, Seed

if TYPE_CHECKING:
    from tutelage.models import ModelFacts


CHARACTERS_PER_TOKEN = 4.0
"""Rule of thumb for byte-pair vocabularies on English; estimates say that they are rough."""
SCORING_SHARE = 0.7
"""The share of the machine's matrix-product rate that a model reaches that only reads."""

Assignment = TypeVar("Assignment", contravariant=True)
Made = TypeVar("Made", covariant=True)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a teacher may keep of the texts that it reads while a run is at work."""

    folder: Path
    """Where; removed when the students are trained."""
    contexts: Sequence[str] = ()
    """Texts whose words students will ask for."""
    layers: tuple[int, ...] = ()
    """Layers whose states of words they will ask for."""
    is_shared: bool = False
    """Whether other processes write there at the same time."""


@dataclass(frozen=True, slots=True)
class ClassAssignment:
    """What a teacher of a classification shall tell apart, and the rows it may learn from."""

    labels: tuple[str, ...]
    """Class names in the order of the soft targets."""
    train: Sequence[Example] | None = None
    """Training rows, labelled or not; None: they could not be read, or nobody knows them yet."""
    groups: Sequence[Hashable] | None = None
    """One per training row: rows of a group stay together; None: there are no groups."""
    reading: Reading | None = None
    """Where it may keep what it reads; its answers do not depend on it."""
    descriptions: Mapping[str, str] = field(default_factory=dict)
    """What labels mean, of those for which somebody said it."""
    answers: Path | None = None
    """A folder beside the runs for answers that cost something, kept the moment they come and
    shared by all runs there; None: nowhere, such as for `check`."""
    validation: Sequence[Example] | None = None
    """Rows, labelled or not, that no teacher is fitted to, by which teachers are weighed; None:
    there are none."""

    besides: Sequence[Example] = ()
    """Other rows that it will be asked about: unlabeled, validation and test; none: nobody knows
    them yet. It learns nothing from them."""

    @property
    def rows(self) -> Sequence[Example]:
        """The training rows, for what cannot be answered without them."""
        assert self.train is not None
        return self.train


@dataclass(frozen=True, slots=True)
class TokenAssignment:
    """What a teacher of a language model shall read."""

    sequence_length: int
    """The longest document, in tokens."""


@dataclass(frozen=True, slots=True)
class Effort:
    """What making a teacher and hearing all its answers takes, roughly."""

    tokens: float
    """Tokens that it reads to answer; fitting it is not counted."""
    seconds: float
    """Time of all of it on this machine."""
    disk_bytes: int = 0
    """What is written for it: weights that are fitted or copied, a converted model."""
    memory_bytes: int = 0
    """Memory that it holds while it answers."""
    parameters: int = 0
    """Weights that answer; 0 where they lie elsewhere."""
    dollars: float = 0.0
    """Price of its answers."""
    requests: int = 0
    """Calls of a server."""


class TeacherSpec(Protocol[Assignment, Made]):
    """A kind of teacher with its options; the kinds of a task are listed in `tasks`."""

    @property
    def kind(self) -> str:
        """The word that chooses it in a recipe."""
        ...

    @property
    def needs_labels(self) -> bool:
        """Whether training rows of every class must be labelled."""
        ...

    @property
    def leaves(self) -> tuple[str, ...]:
        """Files without which the folder that `make` wrote is not whole; none: nothing is made."""
        ...

    @property
    def has_weights(self) -> bool:
        """Whether a language model lies here that a student can be made from: its vocabulary, its
        embeddings, its layers. `facts` and `tokenizer` give None where there is none.
        """
        ...

    def facts(self, assignment: Assignment) -> ModelFacts | None:
        """Size and shape of its language model, from the headers of files.

        Raises:
            ModelError: It is not there, cannot be read, or was made for another assignment.
        """
        ...

    def tokenizer(self, assignment: Assignment, *, convert: bool = True) -> Any:
        """The tokenizer of its language model, without weights.

        Args:
            assignment: What the teacher is made for.
            convert: Make it ready to use, which converts a GGUF file once; False: only look at it.

        Raises:
            ModelError: As for `facts`.
        """
        ...

    def problems(self, assignment: Assignment) -> list[Problem]:
        """Everything that keeps it from answering, without a forward pass. `where` is the option,
        empty for all of them.
        """
        ...

    def sources(self, assignment: Assignment) -> str:
        """Names what its answers depend on besides its options and the assignment: weights, a file
        of answers, a served model. Told without torch.

        Raises:
            ModelError: As for `facts`.
        """
        ...

    def fingerprint(self, assignment: Assignment) -> str:
        """Names everything that its answers depend on, before it is made.

        Raises:
            ModelError: As for `facts`.
        """
        ...

    def estimate(self, assignment: Assignment, *, texts: int, tokens: float, rate: float) -> Effort:
        """What it takes to make it and to hear its answers.

        Args:
            assignment: What it is made for.
            texts: How many texts it answers.
            tokens: How many tokens these have.
            rate: Floating-point operations a second of this machine.
        """
        ...

    def make(self, assignment: Assignment, *, out: Path, progress: Progress) -> dict[str, Any]:
        """Make the teacher and write it to an empty folder.

        Returns:
            Facts for provenance and report: kind, model, teacher_fingerprint, parameters,
            description.
        """
        ...

    def load(self, folder: Path, assignment: Assignment) -> Made:
        """The teacher that `make` wrote to a folder.

        Raises:
            ModelError: The folder or the weights below it are not what they were.
        """
        ...


@runtime_checkable
class Limited(Protocol):
    """A kind of teacher that may end before every text is answered."""

    @property
    def limit(self) -> object:
        """What bounds the texts that it answers, where a run goes on with fewer; None: nothing.
        Targets under another limit are other targets.
        """
        ...


def placed(section: str, problems: Iterable[Problem]) -> list[Problem]:
    """Problems of a spec at their place in a recipe.

    Args:
        section: The key under which the spec's options stand, such as `teacher`.
        problems: What `TeacherSpec.problems` gave.
    """
    return [
        replace(problem, where=f"{section}.{problem.where}".rstrip(".")) for problem in problems
    ]


def rough_tokens(examples: Sequence[Example]) -> float:
    """How many tokens the texts of examples have, by a rule of thumb."""
    return sum(len(example.text) for example in examples) / CHARACTERS_PER_TOKEN + len(examples)


def scoring_seconds(parameters: int, tokens: float, *, rate: float) -> float:
    """Time in which a model reads tokens: two operations for each weight and token.

    Args:
        parameters: Weights multiplied at every token.
        tokens: How many are read.
        rate: Floating-point operations a second of this machine.
    """
    return 2.0 * parameters * tokens / (SCORING_SHARE * rate)


@dataclass(frozen=True, kw_only=True)
class LocalModel:
    """What a teacher says about the model that it stands on; options only."""

    has_weights: ClassVar[bool] = True

    model: str
    """A folder, a .gguf file, a hub id, or package:NAME for weights inside an installed Python
    package."""

    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """The number format of the weights; auto: bfloat16 where the machine is fast at it."""

    trust_remote_code: bool = False
    """Run Python code that comes with the model; only for models whose code you have read."""

    batch_tokens: Annotated[int, Ge(1)] = 4096
    """The most tokens in one batch; a single longer text is a batch of its own."""


@dataclass(frozen=True, kw_only=True)
class LocalReader(LocalModel):
    """What a teacher says that reads single texts with it."""

    max_length: Annotated[int, Ge(1)] = 512
    """The most tokens of one text; longer texts are cut."""

    seed: Seed = 0
    """Of folds, shots and fitting. Apart from `train.seed`, so that students of several seeds share
    targets."""


FEWEST_TOKENS = 4
"""That a model must read: the ends of a text, and something between them."""


def require_reads(facts: ModelFacts, *, name: str) -> None:
    """Refuse a model that reads hardly a token.

    Args:
        facts: Of the model.
        name: The model, for the message.

    Raises:
        ModelError: It does.
    """
    if facts.context is not None and facts.context < FEWEST_TOKENS:
        raise ModelError(
            f"{name} reads at most {facts.context} tokens (max_position_embeddings in its "
            "configuration), too few for a text: take a model that reads more"
        )


def local_tokenizer(model: str, *, trust_remote_code: bool, convert: bool) -> Any:
    """The tokenizer of a model, see `TeacherSpec.tokenizer`."""
    from tutelage.models import load_tokenizer
    from tutelage.models.reading import read_tokenizer

    read = load_tokenizer if convert else read_tokenizer
    return read(model, trust_remote_code=trust_remote_code)
