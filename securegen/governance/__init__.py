"""What may be opened and released, who may ask, and what these people were in before."""

from securegen.governance.decision import Decision, Reason
from securegen.governance.door import Request, release

__all__ = ["Decision", "Reason", "Request", "release"]
