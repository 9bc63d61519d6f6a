"""What `/openapi.json` says is what the server does, whatever is sent to it."""

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance
from tests.serving.fakes import running

from tutelage_runtime.serving.limits import Limits
from tutelage_runtime.serving.openapi import document

EXAMPLES = 6
"""Of each operation and mode; more were tried by hand."""

BEYOND_SCHEMAS = (b'"duplicate"', b'"text_too_long"')
"""That no option is given twice, and how long parts are together, no schema can say."""


@pytest.fixture(scope="module")
def small(mood, topic):
    """A server with limits that examples reach."""
    limits = Limits(text_characters=2_000, texts=3, questions=3, options=4)
    with running({"mood": mood, "topic": topic}, limits=limits) as found:
        yield found


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_the_server_is_as_it_is_described(small, mode):
    described = schemathesis.openapi.from_url(f"{small.url}/openapi.json")
    operations = [found.ok() for found in described.get_all_operations()]
    assert len(operations) == 10
    for operation in operations:
        if operation.method == "get":
            if mode is GenerationMode.POSITIVE:
                operation.Case().call_and_validate()
            continue

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def check(case):
            response = case.call()
            beyond = any(code in response.content for code in BEYOND_SCHEMAS)
            case.validate_response(
                response, excluded_checks=[positive_data_acceptance] if beyond else []
            )

        check()


def test_every_limit_that_is_described_is_that_of_the_server():
    limits = Limits(text_characters=7, texts=3, questions=5, options=9)
    said = str(document(limits, secured=False))
    for number in ("'maxLength': 7", "'maxItems': 3", "'maxItems': 5", "'maxItems': 9"):
        assert number in said
