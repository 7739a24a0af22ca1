"""The calendars of the workloads that the catalogue declares.

What belongs here: one Calendar a workload. What does not: windows and offsets (`partitions/`).
"""

from datetime import date

from ml_assets.domain.specs import Calendar

FLIGHTS = Calendar(
    name="flights",
    timezone="America/New_York",
    first_day=date(2013, 1, 1),
    end_day=date(2014, 1, 1),
    label_lag_days=2,
    owners=("team:flight-operations",),
)

PURCHASES = Calendar(
    name="purchases",
    timezone="America/New_York",
    first_day=date(1997, 1, 1),
    end_day=date(1998, 7, 1),
    label_lag_days=30,
    owners=("team:customer-insight",),
)
