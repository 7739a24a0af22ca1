"""The probability, at each purchase, that the customer will buy again within 30 days.

Used to decide whom to write to: a letter to somebody who would have come anyway is wasted.
"""

from datetime import date, timedelta

from ml_assets.catalog.calendars import PURCHASES
from ml_assets.domain.specs import (
    Calibration,
    DriftLimits,
    GateLimits,
    GradientBoosting,
    Maturity,
    MetricTrigger,
    ModelSpec,
)

MODEL = ModelSpec(
    name="repurchase",
    calendar=PURCHASES,
    description=__doc__,
    outcome="buys_again",
    spine="purchase",
    prediction_lead=timedelta(0),
    features=(
        "purchase.items",
        "purchase.dollars",
        "purchase.dollars_an_item",
        "purchase.weekday",
        "customer_history.visit",
        "customer_history.visits",
        "customer_history.items",
        "customer_history.dollars",
        "customer_history.days_since_first",
        "customer_history.days_since_last",
    ),
    categorical=("customer_history.visit",),
    estimator=GradientBoosting(
        learning_rate=0.08, max_iter=60, max_leaf_nodes=12, min_samples_leaf=60, l2_regularization=1.0
    ),
    first_training_day=date(1997, 4, 1),
    train_days=None,
    min_training_rows=2_000,
    plausible_roc_auc=0.85,
    # A yes comes early, a no after 30 days: of a cohort that is younger only those who came back are known.
    maturity=Maturity(age_days=PURCHASES.label_lag_days + 1),
    gate=GateLimits(
        min_rows=500,
        min_roc_auc=0.60,
        max_ece=0.15,
        max_brier_rise=0.002,
        max_segment_brier_rise=0.03,
        min_segment_rows=200,
        segments=("customer_history__visit",),
    ),
    drift=DriftLimits(alpha=0.01, practical_psi=0.25, block_quantile=0.95, max_weighted_drift=0.5),
    # A day has some 80 purchases: the ROC-AUC of one day alone is good to 0.06.
    metric_triggers=(MetricTrigger(name="discrimination", metric="roc_auc", target=0.60, violations=4, cohorts=5),),
    held_out_days=14,
    gate_days=14,
    cool_down_days=35,
    max_age_days=56,
    calibration=Calibration(half_life_days=14.0, window_days=56),
)
