"""For all tests: none of them asks the model hub, which may be far away or not there at all, and each
process computes with one thread, for what is compared bit by bit must be summed in one order."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
