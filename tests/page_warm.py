"""What the commands of every page would compile and import again: run once, in the process whose forks they are."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import matplotlib.pyplot  # noqa: F401

from securegen.io import envelope
from securegen.local import example_cohort

sys.path.append(str(Path(__file__).with_name("survival")))

from kill_warm import warm  # noqa: E402

envelope.COST = envelope.DRAWN_COST  # what is shown of key files does not depend on how long a passphrase takes
example_cohort._source = lambda: Path(os.environ["_EXAMPLE_COHORT"])
warm()
