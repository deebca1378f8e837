"""Roles as threads of this process, where what they find is wanted as objects and not as files."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from securegen.errors import PeerError


def run_in_threads(roles: Mapping[str, Callable[[], object]]) -> None:
    """Run every role until all have ended. Raises the error of the role that failed of itself, not of those it left."""
    errors: list[BaseException] = []

    def run(role: Callable[[], object]) -> None:
        try:
            role()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(role,), name=name, daemon=True) for name, role in roles.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    own = [e for e in errors if not isinstance(e, PeerError)]
    if errors:
        raise (own or errors)[0]
