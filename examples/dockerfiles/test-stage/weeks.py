"""``python weeks.py 2024-02-26 2024-03-10``: the Mondays between two days."""

import sys
from datetime import date, timedelta

from dateutil.parser import isoparse


def mondays(first: date, last: date) -> list[date]:
    """Return the Mondays from ``first`` to ``last``, both of them counted."""
    day = first + timedelta(days=-first.weekday() % 7)
    return [day + timedelta(weeks=n) for n in range((last - day).days // 7 + 1)]


if __name__ == "__main__":
    first, last = (isoparse(word).date() for word in sys.argv[1:3])
    print("\n".join(map(str, mondays(first, last))))
