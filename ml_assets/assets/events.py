"""`events/<source>`: validated rows whose event date is the day, from the day's own extract.

What belongs here: the stage. What does not: contracts (`ml_assets/catalog/sources`).
"""

import polars as pl

from ml_assets.assets.stage import Body, Ready, Stage
from ml_assets.domain.content import code_fingerprint
from ml_assets.domain.contracts import DayLimits, column_descriptions, judge_days, refused_rows, split_rows
from ml_assets.domain.day_frame import DayBatch
from ml_assets.domain.declared import Nature
from ml_assets.domain.local_days import DAY
from ml_assets.domain.specs import Catalog, SourceSpec
from ml_assets.domain.verdict import Verdict


def _body(source: SourceSpec, _: Catalog) -> Body:
    limits = DayLimits(min_rows=source.min_rows, key=source.keys, max_null_share=source.max_null_share)

    def body(ready: Ready) -> DayBatch:
        read = ready.context.resources.extracts.extracts().read(source, ready.days)
        unreadable = {day: Verdict(passed=False, reasons=(reason,)) for day, reason in read.unreadable.items()}
        if read.rows is None:
            return DayBatch(rows=pl.DataFrame(), verdicts=unreadable)
        split = split_rows(read.rows, source.contract)
        bad = dict(split.bad.group_by(DAY).len().iter_rows())
        readable = [day for day in ready.days if day not in read.unreadable]
        verdicts = judge_days(split.good, readable, limits, bad_rows=bad, max_bad_row_share=source.max_bad_row_share)
        refused = refused_rows(split, verdicts)
        return DayBatch(rows=split.good, verdicts={**verdicts, **unreadable}, quarantined=refused)

    return body


STAGE = Stage(
    name="events",
    of="sources",
    nature=Nature.FACT,
    holds="validated rows whose event date is D, from the extract of D",
    group=lambda _: "sources",
    describe=lambda source: source.description,
    reads=lambda _source, _catalog: {},
    code_version=lambda source, _: code_fingerprint(source.parse),
    body=_body,
    kinds=frozenset({"polars", "deltalake"}),
    columns=lambda source, _: column_descriptions(source.contract),
    resources=frozenset({"extracts"}),
)
