"""Numba kernels, compiled at their first use and kept beside their files, or where `NUMBA_CACHE_DIR` says.

That they are being compiled is said through the logger `securegen.kernels`.
"""

from __future__ import annotations

from securegen.kernels import compiling

compiling.find_place()
compiling.keep_apart()
compiling.listen()
