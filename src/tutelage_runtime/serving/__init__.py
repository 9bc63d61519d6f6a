"""A server of exported students that speaks the protocols of decision APIs.

    bytes -> protocols.read -> Asked -> Answerer -> Reply -> protocol.word -> bytes

`protocols/` knows shapes and nothing else, `answering.py` has the types between it and what
answers, `students.py` answers from students of this machine, `app.py` is the HTTP around it and
`server.py` the process. Heavy parts are imported where they are used.
"""
