"""Rows as integers modulo 2^W: exact for every width and sign, no bit more than planned, nothing that does not fit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securegen.engines.federated.fields import Layout, field_bits
from securegen.errors import PlanError

WIDTHS = st.lists(st.sampled_from([4, 8, 17, 30, 33, 62, 63, 64, 65, 100, 128, 200, 256]), min_size=1, max_size=7)


@settings(max_examples=60, deadline=None)
@given(widths=WIDTHS, data=st.data())
def test_sums_of_three_sites_are_exact_and_a_row_is_one_integer(widths, data):
    layout, rows = Layout(2, tuple(widths)), []
    for _ in range(3):
        part = [[data.draw(st.integers(-((1 << (w - 1)) // 4), (1 << (w - 1)) // 4)) for w in widths] for _ in range(2)]
        rows.append(np.array(part, object if max(widths) > 63 else np.int64))
    total = layout.add(layout.add(*map(layout.encode, rows[:2])), layout.encode(rows[2]))
    raw = layout.pack(total)
    assert len(raw) == 2 * -(-sum(widths) // 8)
    found = layout.decode(layout.unpack(raw))
    assert found.dtype == rows[0].dtype and (found == rows[0] + rows[1] + rows[2]).all()
    for i, row in enumerate((rows[0] + rows[1] + rows[2]).tolist()):
        integer, offset = 0, 0
        for value, width in zip(row, widths, strict=True):
            integer, offset = integer + (value << offset), offset + width
        opened = int.from_bytes(raw[i * layout.row_bytes : (i + 1) * layout.row_bytes], "little")
        assert opened == integer % (1 << offset), "more than a function of the totals is opened"
    assert not layout.subtract(total, total).any()
    back = layout.subtract(layout.subtract(total, layout.encode(rows[2])), layout.encode(rows[1]))
    assert np.array_equal(back, layout.encode(rows[0]))


@pytest.mark.parametrize("width", [8, 63, 64, 256])
def test_a_value_that_does_not_fit_its_field_is_refused(width):
    most = (1 << (width - 1)) - 1
    layout = Layout(1, (width, 8))
    for value in (most, -most):
        assert layout.decode(layout.encode(np.array([[value, -1]], object)))[0].tolist() == [value, -1]
    for value in (most + 1, -most - 1):
        with pytest.raises(PlanError, match=f"does not fit its field of {width} bits"):
            layout.encode(np.array([[value, 0]], object))


def test_widths_and_shapes_that_are_not_planned_are_refused():
    for widths in ((), (1,), (257,)):
        with pytest.raises(PlanError, match="a field holds 2 to 256"):
            Layout(1, widths)
    with pytest.raises(PlanError, match="where \\(2, 1\\) is planned"):
        Layout(2, (8,)).encode(np.zeros((1, 1), np.int64))
    assert [field_bits(b) for b in (0, 1, 2, 3, 4, 2**40)] == [1, 2, 3, 3, 4, 42]
