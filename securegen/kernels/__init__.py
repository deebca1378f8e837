"""Numba kernels, compiled at their first use and kept beside their files.

That they are being compiled is said through the logger `securegen.kernels`.
"""

from __future__ import annotations

from securegen.kernels import compiling

compiling.listen()
