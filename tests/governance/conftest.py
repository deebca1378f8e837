"""A small cohort under a policy of its own."""

from __future__ import annotations

import pytest
from policy_tools import Ruled, make_ruled
from support import Cohort


@pytest.fixture
def ruled(small: Cohort, tmp_path) -> Ruled:
    return make_ruled(tmp_path / "ruled", small)
