"""The probability, two hours before scheduled departure, that a flight will be disrupted.

Used to decide which connections to protect and whom to rebook early: an 80% must come true 8 times in 10.
"""

from datetime import date, timedelta

from ml_assets.catalog.calendars import FLIGHTS
from ml_assets.domain.specs import DriftLimits, GateLimits, GradientBoosting, Maturity, MetricTrigger, ModelSpec

MODEL = ModelSpec(
    name="disruption",
    calendar=FLIGHTS,
    description=__doc__,
    outcome="disrupted",
    spine="schedule",
    prediction_lead=timedelta(hours=2),
    features=(
        "schedule.carrier",
        "schedule.origin",
        "schedule.dest",
        "schedule.distance",
        "schedule.clock_hour",
        "schedule.weekday",
        "schedule.block_minutes",
        "weather.temp",
        "weather.dewp",
        "weather.humid",
        "weather.wind_speed",
        "weather.wind_gust",
        "weather.precip",
        "weather.pressure",
        "weather.visib",
        "carrier_delays.landed",
        "carrier_delays.mean_arr_delay",
        "carrier_delays.late_share",
        "carrier_delays.mean_dep_delay",
        "origin_delays.landed",
        "origin_delays.mean_arr_delay",
        "origin_delays.late_share",
        "origin_delays.mean_dep_delay",
        "route_delays.mean_arr_delay",
        "route_delays.late_share",
        "inbound_aircraft.last_delay",
        "inbound_aircraft.landed",
    ),
    categorical=("schedule.carrier", "schedule.origin", "schedule.dest"),
    estimator=GradientBoosting(
        learning_rate=0.08, max_iter=100, max_leaf_nodes=15, min_samples_leaf=60, l2_regularization=1.0
    ),
    first_training_day=date(2013, 2, 1),
    train_days=None,
    min_training_rows=5_000,
    plausible_roc_auc=0.9,
    # At midnight 11% of the day's labels are not known yet, mostly late flights; leaving the day out costs more.
    maturity=Maturity(age_days=1),
    gate=GateLimits(
        min_rows=2_000,
        min_roc_auc=0.60,
        max_ece=0.12,
        max_brier_rise=0.001,
        max_segment_brier_rise=0.02,
        min_segment_rows=300,
        segments=("schedule__origin", "schedule__carrier"),
    ),
    drift=DriftLimits(alpha=0.01, practical_psi=0.1, block_quantile=0.95, max_weighted_drift=0.35),
    metric_triggers=(
        MetricTrigger(name="discrimination", metric="roc_auc", target=0.60, violations=3, cohorts=5),
        MetricTrigger(name="calibration", metric="ece", target=0.12, violations=3, cohorts=5),
    ),
    max_age_days=21,
    business_days=(date(2013, 5, 24), date(2013, 11, 22)),
)
