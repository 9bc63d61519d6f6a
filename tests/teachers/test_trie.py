from __future__ import annotations

import pytest

from tutelage.errors import ModelError
from tutelage.teachers.prompted.questions import build_trie


def spelled(trie, spelling: int) -> list[int]:
    return [trie.edges[edge][1] for edge in trie.paths[spelling]]


def test_shared_beginnings_become_one_node():
    trie = build_trie([[[1, 2]], [[1, 3]], [[4]]])
    assert trie.parents == (-1, 0)
    assert trie.tokens == (-1, 1)
    assert trie.depths == (0, 1)
    assert trie.edges == ((0, 1), (1, 2), (1, 3), (0, 4))
    assert trie.classes == (0, 1, 2)
    assert not trie.terminated
    assert trie.chains == [[1]]


def test_single_tokens_need_no_node():
    trie = build_trie([[[5]], [[6], [7]]])
    assert trie.parents == (-1,)
    assert trie.chains == []
    assert trie.classes == (0, 1, 1)


def test_a_label_that_begins_another_makes_every_label_end():
    trie = build_trie([[[1]], [[1, 2]], [[3]]], endings=[[9], [9], [8]])
    assert trie.terminated
    assert [spelled(trie, index) for index in range(3)] == [[1, 9], [1, 2, 9], [3, 8]]


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        ([[[1, 2]], [[1, 2]]], r"labels \[0, 1\] are spelled by the same tokens \[1, 2\]"),
        ([[[1]], [[]]], "spelled by no token"),
        ([[[1]], [[1, 2]]], "no token ends an answer"),
    ],
)
def test_what_cannot_be_told_apart_is_refused(sequences, message):
    with pytest.raises(ModelError, match=message):
        build_trie(sequences)
