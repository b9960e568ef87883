from datetime import date

from hypothesis import given
from hypothesis import strategies as st
from weeks import mondays


def test_leap_year():
    assert mondays(date(2024, 2, 26), date(2024, 3, 10)) == [date(2024, 2, 26), date(2024, 3, 4)]


def test_none_between_tuesday_and_sunday():
    assert mondays(date(2024, 2, 27), date(2024, 3, 3)) == []


@given(st.dates(date(1970, 1, 1), date(2100, 1, 1)), st.integers(0, 400))
def test_each_is_a_monday_within(first, days):
    last = date.fromordinal(first.toordinal() + days)
    found = mondays(first, last)
    assert all(day.weekday() == 0 and first <= day <= last for day in found)
    assert len(found) in (days // 7, days // 7 + 1)
