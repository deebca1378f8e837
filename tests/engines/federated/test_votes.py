"""What sites say yes or no to under masks: who posts last cannot take another site's answer out of the total."""

from __future__ import annotations

import numpy as np
import pytest

from securegen.engines.federated import cohort
from securegen.engines.federated.rounds import not_below_own
from securegen.errors import PolicyError

from .conftest import secure_sum


@pytest.mark.parametrize("protected", [False, True])
def test_sets_that_differ_are_not_taken_for_equal(monkeypatch, protected):
    """A total of zero says that two phenotypes have the same people everywhere: here one person differs."""
    masks = [np.ones(30, bool), np.arange(30) > 0]

    def set_to_zero(values):
        return [0] * len(values)

    if not protected:
        monkeypatch.setattr(cohort, "not_below_own", lambda own, total: None)
        assert cohort._group(masks, set_to_zero, bytes(32)) == [[0, 1]]
        return
    with pytest.raises(PolicyError, match="not what the people of these sites can give"):
        cohort._group(masks, set_to_zero, bytes(32))


@pytest.mark.parametrize("protected", [False, True])
def test_a_no_stays_in_the_total(trio, protected):
    """Two sites say that few of their people stand on X; the third takes both out, under the masks of a real sum."""
    check = not_below_own if protected else None

    def act(session):
        return secure_sum(session).total([-2 if session.site == "cora" else 1], check=check)

    if not protected:
        assert set(map(tuple, trio.drive(act).values())) == {(0,)}
        return
    with pytest.raises(PolicyError, match="not what the people of these sites can give"):
        trio.drive(act)
