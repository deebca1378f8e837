"""Numba kernels, compiled at their first use and kept beside their files.

That they are being compiled is said through `securegen.first_start`.
"""

from __future__ import annotations

from securegen.kernels import compiling

compiling.listen()
