"""What two processes say to each other; run under a launcher by test_crew.py."""

import os
import signal
import sys

from tutelage.errors import ProcessLost
from tutelage.processes import crew

# As the command does: the launcher ends all others as soon as one has, and they may say why.
signal.signal(signal.SIGTERM, lambda *_: signal.alarm(5))
mine = crew()
print(f"{mine.rank} told {mine.told({'from': mine.rank})}", flush=True)
print(f"{mine.rank} gathered {mine.gathered(mine.rank * 10)}", flush=True)
print(f"{mine.rank} share {list(mine.share(range(5)))}", flush=True)
if "die" in sys.argv:
    if mine.rank == 1:
        os._exit(7)
    try:
        mine.wait()
    except ProcessLost as error:
        print(f"{mine.rank} lost: {error}", flush=True)
        sys.exit(1)
