"""Whether a student still keeps its contract: audited requests in, a verdict valid at every moment.

A random share of the requests is forwarded although the student would have answered, and compared.
Over `all`, what would have been forwarded anyway is drawn and observed too, as agreement; over
`answered`, only what the student would have answered is drawn. Looking after every observation
costs nothing: a student that keeps its contract is called broken with probability `alpha` at most,
however long it is audited.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

FORMAT = 1
TIMES = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 40.0)
"""The rates that are bet on, as multiples of the contract."""


class AuditError(ValueError):
    """A state is none of an audit, or a setting is out of range."""


@dataclass(slots=True)
class Audit:
    """A test of H0: each audited request is a disagreement with probability `contract` at most,
    whatever happened before.

    For a rate p above the contract c, `p/c` after a disagreement and `(1-p)/(1-c)` after an
    agreement are factors whose mean under H0 is 1 at most. Their product from observation s on is
    what a gambler owns who put 1 on p at s, and under H0 can expect no gain. Here the first money,
    1, is spread over all rates and all s: an amount of `1/log2(s+1) - 1/log2(s+2)`, which sum to 1,
    is put down at s, so that a long good time costs only the logarithm of its length when the
    student breaks later. By Ville's inequality what is owned altogether reaches `1 / alpha` with
    probability `alpha` at most.

    Source: Waudby-Smith & Ramdas 2020 (arXiv:2010.09686), section 4, for betting against a bounded
        mean; the mixture over times is the Shiryaev-Roberts sum with weights that sum to 1, as in
        Shin, Ramdas, Rinaldo 2022 (arXiv:2203.03532), section 4, which keeps Ville's inequality
        for all time where their sum bounds only the time to a false alarm.

    Example:
        >>> audit = Audit(contract=0.02, alpha=0.01)
        >>> for _ in range(6):
        ...     audit.observe(True)
        >>> audit.broken
        True
    """

    contract: float
    """The largest share of disagreements that was promised, above 0 and below 1."""
    alpha: float = 0.01
    """The probability, over all time, of calling broken what is not."""
    observed: int = 0
    """Audited requests so far."""
    disagreed: int = 0
    """Of these, disagreements."""
    broken: bool = False
    """Whether the contract was found broken; stays so."""
    largest: float = 1.0
    """The highest e-value so far."""
    _owned: list[float] = field(default_factory=list)
    """What is owned on each rate; with what was not put down yet it sums to the e-value."""

    def __post_init__(self) -> None:
        """Refuse what is out of range."""
        if not (0 < self.contract < 1 and 0 < self.alpha < 1):
            raise AuditError(
                f"contract {self.contract} and alpha {self.alpha} were given, and both must be "
                "above 0 and below 1"
            )
        self._owned = self._owned or [0.0] * len(self.rates)

    @property
    def rates(self) -> list[float]:
        """The disagreement rates that are bet on."""
        return [rate for times in TIMES if (rate := times * self.contract) < 1] or [
            (1 + self.contract) / 2
        ]

    @property
    def e_value(self) -> float:
        """Evidence against the contract: its mean is 1 at most, at any time, while it is kept."""
        return self._left(self.observed) + sum(self._owned)

    def observe(self, disagreed: bool) -> None:
        """Take one audited request into account.

        Args:
            disagreed: Whether the student would have answered, and otherwise than the teacher did.
        """
        put_down = self._left(self.observed) - self._left(self.observed + 1)
        self.observed += 1
        self.disagreed += bool(disagreed)
        rates = self.rates
        for place, rate in enumerate(rates):
            factor = rate / self.contract if disagreed else (1 - rate) / (1 - self.contract)
            grown = (self._owned[place] + put_down / len(rates)) * factor
            self._owned[place] = min(grown, 1e300)
        self.largest = max(self.largest, self.e_value)
        self.broken = self.broken or self.e_value >= 1 / self.alpha

    def state(self) -> dict[str, Any]:
        """All of it as JSON, for `restore`."""
        return {
            "format": FORMAT,
            "contract": self.contract,
            "alpha": self.alpha,
            "observed": self.observed,
            "disagreed": self.disagreed,
            "broken": self.broken,
            "largest": self.largest,
            "owned": list(self._owned),
        }

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> Audit:
        """The audit that `state` came from.

        Raises:
            AuditError: It came from none.
        """
        try:
            if state["format"] != FORMAT:
                raise ValueError(f"format {state['format']!r}, expected {FORMAT}")
            found = cls(
                contract=float(state["contract"]),
                alpha=float(state["alpha"]),
                observed=int(state["observed"]),
                disagreed=int(state["disagreed"]),
                broken=bool(state["broken"]),
                largest=float(state["largest"]),
                _owned=[float(one) for one in state["owned"]],
            )
            sound = all(math.isfinite(one) and one >= 0 for one in (*found._owned, found.largest))
            if not sound or not 0 <= found.disagreed <= found.observed:
                raise ValueError("numbers that no audit has")
            if len(found._owned) != len(found.rates):
                raise ValueError(f"{len(found._owned)} bets, expected {len(found.rates)}")
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise AuditError(
                f"this is no state of an audit ({type(error).__name__}: {error}): begin a new one "
                "with a new certificate"
            ) from None
        return found

    @staticmethod
    def _left(observed: int) -> float:
        """What was not put down after so many observations."""
        return 1 / math.log2(observed + 2)
