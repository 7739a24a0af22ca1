"""What is usual, how far from it is unusual, and how sure that is: from a rule's own past.

What belongs here: the expected value, the scale of deviations, the limit that a budget of false alarms buys.
What does not: what is measured (the rules), which days may be learnt from (`reports.py`).
"""

import numpy as np
import numpy.typing as npt

from ml_assets.domain.alarms.rule import Usual

Floats = npt.NDArray[np.float64]

SAME_WEEKDAYS, LAST_DAYS = 4, 14
MIN_WEEKDAYS, MIN_DAYS = 2, 5
SCALE_QUANTILE, TAIL_QUANTILE = 0.98, 0.85
MIN_DEVIATIONS, MIN_SCORES = 10, 12
LEAST_SCORE = 1.2
MOST_REMEMBERED = 2.0
LEAST_TAIL = 0.02
OUTLYING = 5.0


def expected(values: Floats, same_weekday: "npt.NDArray[np.bool_]", usual: Usual) -> Floats:
    """The usual value of every column: the median of the newest four rows of its weekday, or of the newest 14.

    `values` are days × columns, the oldest first, NaN where there is none; NaN where too few days are known. Columns
    that go by weekday fall back on the last days while fewer than two same weekdays are known.
    """
    recent = _median_of_newest(values, LAST_DAYS, MIN_DAYS)
    if usual is Usual.RECENT:
        return recent
    by_weekday = _median_of_newest(values[same_weekday], SAME_WEEKDAYS, MIN_WEEKDAYS)
    return np.where(np.isnan(by_weekday), recent, by_weekday)


def _median_of_newest(values: Floats, newest: int, fewest: int) -> Floats:
    taken = values[-newest:]
    known = np.count_nonzero(~np.isnan(taken), axis=0)
    ordered = np.sort(taken, axis=0) if len(taken) else np.full((1, values.shape[1]), np.nan)
    columns = np.arange(values.shape[1])
    low = ordered[np.maximum(known - 1, 0) // 2, columns]
    high = ordered[np.minimum(known // 2, len(ordered) - 1), columns]
    return np.where(known >= fewest, (low + high) / 2, np.nan)


def scale(deviations: Floats, floor: float) -> Floats:
    """How far a column usually is from what is expected: the 98% point of its past deviations, and the floor.

    `deviations` are days × columns; NaN where fewer than 10 are known. None counts for more than a few times the middle
    one: before there are limits nobody knows which days were storms.
    """
    known = np.count_nonzero(~np.isnan(deviations), axis=0)
    if not len(deviations):
        return np.full(deviations.shape[1], np.nan)
    ordered = np.sort(deviations, axis=0)
    rank = np.maximum(np.ceil(SCALE_QUANTILE * known).astype(np.int64) - 1, 0)
    columns = np.arange(deviations.shape[1])
    middle = ordered[np.maximum(known - 1, 0) // 2, columns]
    point = np.minimum(ordered[rank, columns], OUTLYING * (middle + floor))
    return np.where(known >= MIN_DEVIATIONS, point + floor, np.nan)


def score_limit(scores: Floats, false_alarms: float) -> float:
    """The score that a healthy day exceeds with probability `false_alarms`; NaN for fewer than 12 past scores.

    No past score counts for more than 2: what was let pass once must not widen the limit for weeks.
    An exponential tail of log(1 + score) is fitted above the 85% point of the past. Never below 1.2, for what is no
    further from usual than past days were is no alarm.
    """
    known = scores[~np.isnan(scores)]
    if len(known) < MIN_SCORES:
        return float("nan")
    logs = np.log1p(np.minimum(known, MOST_REMEMBERED))
    start = float(np.quantile(logs, TAIL_QUANTILE))
    beyond = logs[logs > start] - start
    mean = max(float(beyond.mean()) if len(beyond) else 0.0, LEAST_TAIL)
    return max(LEAST_SCORE, float(np.expm1(start + mean * np.log((1 - TAIL_QUANTILE) / false_alarms))))
