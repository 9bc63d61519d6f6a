"""What `/openapi.json` says is what the server does, whatever is sent to it."""

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings

from tutelage_runtime.serving.limits import Limits
from tutelage_runtime.serving.openapi import document

EXAMPLES = 12
"""Of each operation; more were tried by hand."""


@pytest.fixture
def described(server):
    return schemathesis.openapi.from_url(f"{server.url}/openapi.json")


schema = schemathesis.pytest.from_fixture("described")


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_the_server_is_as_it_is_described(case):
    case.call_and_validate()


def test_every_limit_that_is_described_is_that_of_the_server():
    limits = Limits(text_characters=7, texts=3, questions=5, options=9)
    said = str(document(limits, secured=False))
    for number in ("'maxLength': 7", "'maxItems': 3", "'maxItems': 5", "'maxItems': 9"):
        assert number in said
