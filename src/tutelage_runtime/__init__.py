"""Students at work without torch: answer texts, serve them, forward what is not sure.

In: folders that `tutelage export` wrote. Out: probabilities, from Python, the command line or a
server that speaks the protocols of decision APIs. This package imports numpy, onnxruntime and
tokenizers, with uvicorn and prometheus-client for the server; nothing of `tutelage`, so
that it is installed by itself (`tutelage-runtime`) where students only answer.
"""

from tutelage_runtime.bundle import Bundle, BundleError, Question, read_bundle
from tutelage_runtime.session import Student, load
from tutelage_runtime.student import Answering, Answers, TextError

__all__ = [
    "Answering",
    "Answers",
    "Bundle",
    "BundleError",
    "Question",
    "Student",
    "TextError",
    "load",
    "read_bundle",
]
