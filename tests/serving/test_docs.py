"""The clients of docs/serve.md do what is written there."""

import re
from pathlib import Path

import pytest
from tests.serving.fakes import Fake, running

DOCS = Path(__file__).parents[2] / "docs" / "serve.md"
BLOCKS = re.findall(r"```python\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)


@pytest.mark.parametrize("place", range(len(BLOCKS)))
def test_examples_run(place, capsys):
    with running({"mood": Fake("positive", "neutral", "negative")}) as server:
        code = BLOCKS[place].replace("http://127.0.0.1:8000", server.url)
        names = {}
        exec(compile(code, "docs/serve.md", "exec"), names)
        names["client"].close()
    assert "0.33" in capsys.readouterr().out


def test_there_are_examples():
    assert len(BLOCKS) == 2
