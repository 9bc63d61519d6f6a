"""A server of two students for all tests that change nothing."""

import pytest
from tests.serving.fakes import Fake, running


@pytest.fixture(scope="session")
def mood():
    return Fake("sad", "happy", descriptions={"happy": "The writer is glad."})


@pytest.fixture(scope="session")
def topic():
    return Fake("sport", "café", "news", instructions="What is the text about?", version="v2")


@pytest.fixture(scope="session")
def server(mood, topic):
    with running({"mood": mood, "topic": topic}) as found:
        yield found
