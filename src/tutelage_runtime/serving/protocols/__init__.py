"""The protocols of the server by path: pure functions between JSON and `Asked` or `Reply`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tutelage_runtime.serving.protocols import classify, decisions, systemone
from tutelage_runtime.serving.protocols.shapes import Wire

WIRES: Mapping[str, Wire] = MappingProxyType(
    {
        "/v1/decisions": Wire(decisions.read, decisions.word, decisions.error),
        "/v1/systemone": Wire(systemone.read, systemone.word, systemone.error),
        "/classify": Wire(classify.read, classify.word, classify.error),
    }
)
