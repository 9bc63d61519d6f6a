"""For all tests: none of them asks the model hub, which may be far away or not there at all."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
