"""What is measured beside peers is the package's own products, and they are right."""

from __future__ import annotations

import numpy as np
import peers

from securegen.rlwe.ring import Ring


def test_the_packages_products_are_exact():
    rng = np.random.default_rng(1)
    g, c = rng.integers(0, 3, (1024, 16), dtype=np.int8), rng.integers(-(1 << 13), 1 << 13, (16, 2))
    task = peers.Securegen(g, c, Ring.standard(4096, 3), 8)
    task.run()
    np.testing.assert_array_equal(task.result(), g.astype(np.int64) @ c)
