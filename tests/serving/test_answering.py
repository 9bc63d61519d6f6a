"""What answers can be something around the students: it sees every byte, and its responses pass."""

import pytest
from tests.serving.fakes import Fake, choice, decision, running

from tutelage_runtime.serving.answering import RawReply, Refusal, Reply

UPSTREAM = RawReply(
    418,
    [
        (b"content-type", b"application/problem+json"),
        (b"x-request-id", b"theirs"),
        (b"x-ratelimit-left", b"3"),
        (b"connection", b"close"),
        (b"transfer-encoding", b"chunked"),
        (b"content-length", b"9999"),
    ],
    b'{"as":  "it is"}\n',
)


class Forwarding:
    """Answers happy texts itself, passes on the rest."""

    def __init__(self, students):
        self.students, self.seen = students, []

    @property
    def served(self):
        return self.students.served

    async def answer(self, asked, request):
        self.seen.append(request)
        if "busy" in asked.texts[0]:
            raise Refusal(429, "rate_limit", "too many", headers={"Retry-After": "7"})
        roster = self.students.roster
        matches = roster.matches(asked)
        found = await roster.answers(matches, asked.texts)
        if found[0].probs[0].max() > 0.8:
            return roster.reply(matches, found)
        return UPSTREAM

    async def unread(self, refusal, request):
        self.seen.append((refusal.code, request))
        return UPSTREAM if refusal.code == "unsupported_input" else None


@pytest.fixture(scope="module")
def made():
    return []


@pytest.fixture(scope="module")
def server(made):
    def around(students, metrics, log):
        made.append(Forwarding(students))
        return made[0]

    with running({"mood": Fake("sad", "happy")}, around=around) as found:
        yield found


def test_what_is_passed_on_is_as_it_was(server, made):
    body = b'{"model": "m",  "input": "hm", "questions": [%s]}' % (
        b'{"type": "choice", "instructions": "?", "choices": [{"value":"sad"},{"value":"happy"}]}'
    )
    headers = {"Authorization": "Bearer theirs", "X-Odd": "1"}
    status, _, answered = server.ask("/v1/decisions?a=b", body, headers=headers)
    seen = made[0].seen[-1]
    assert (seen.body, seen.path, seen.query, seen.method) == (
        body,
        "/v1/decisions",
        b"a=b",
        "POST",
    )
    assert (b"authorization", b"Bearer theirs") in seen.headers
    assert status == 418
    assert answered["content-type"] == "application/problem+json"
    assert answered.get_all("x-request-id") == ["theirs"]
    assert answered["x-ratelimit-left"] == "3"
    assert answered["x-answered-by"] == "upstream"
    assert answered["content-length"] == str(len(UPSTREAM.body))
    assert answered["connection"] is None


def test_the_body_passes_byte_for_byte(server):
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request("POST", "/classify", '{"input": "hm"}', {"Content-Type": "application/json"})
    assert connection.getresponse().read() == UPSTREAM.body
    connection.close()


def test_the_rest_is_worded_by_the_protocol(server):
    status, reply, answered = server.ask("/v1/decisions", decision("happy", choice("sad", "happy")))
    assert (status, reply["answers"][0]["choice"]) == (200, "happy")
    assert answered["x-answered-by"] == "student"
    status, said, answered = server.ask("/v1/decisions", decision("busy", choice("sad", "happy")))
    assert (status, said["error"]["type"], answered["retry-after"]) == (
        429,
        "rate_limit_error",
        "7",
    )


def test_what_no_student_reads_can_still_be_passed_on(server, made):
    image = [{"role": "system", "content": "Look!"}]
    body = decision("", choice("sad", "happy")) | {"input": image}
    assert server.ask("/v1/decisions", body)[0] == 418
    assert made[0].seen[-1][0] == "unsupported_input"
    assert server.ask("/v1/decisions", body | {"questions": 3, "input": "x"})[0] == 400


def test_metrics_and_log_say_who_answered(server):
    text = server.ask("/metrics")[1].decode()
    assert 'tutelage_answers_total{by="upstream"}' in text
    assert 'tutelage_answers_total{by="student"}' in text
    assert {line["by"] for line in server.requests_logged()} >= {"upstream", "student"}


def test_a_reply_is_by_the_student_unless_it_says_otherwise():
    assert Reply((), "m").by == "student"
