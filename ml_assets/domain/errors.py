"""Every error this platform raises on purpose, as one tree.

What belongs here: error types. A message says where, what came, what was wanted, what to do about it.
What does not: handling, logging.
"""


class MlAssetsError(Exception):
    """The root: catch this to catch every error the platform raises on purpose."""


class CatalogError(MlAssetsError):
    """A declaration in the catalogue cannot be built: an unknown or a doubled name, a bad limit."""


class CalendarError(MlAssetsError):
    """A day or a range lies outside the workload's calendar."""


class DayError(CalendarError, ValueError):
    """What came is no day, or no range of days: misspelt, ending before it starts, with holes."""


class PointInTimeError(MlAssetsError, ValueError):
    """Rows that cannot be joined as of an instant: a time is missing, or too many entities over too long a time."""


class ScoringError(MlAssetsError, ValueError):
    """Rows that cannot be scored as they were given."""


class InterventionError(MlAssetsError, ValueError):
    """A person's decision that cannot be carried out as it was given."""


class RehearsalError(MlAssetsError):
    """A declaration's function fails on events that it must be able to take."""


class RecordsError(MlAssetsError, ValueError):
    """Records of days that do not fit together: out of order, of other lengths, content where none is."""


class ContentError(MlAssetsError, TypeError):
    """Values of which nobody can say whether two of them are the same."""


class ToolError(MlAssetsError):
    """Dagster or MLflow does not take what the platform relies on; their versions are pinned for that reason."""


class SettingsError(MlAssetsError):
    """What the environment or a project's pyproject.toml says of the platform is misspelt, missing or of no use."""


class HomeError(MlAssetsError):
    """The home directory cannot be used: unwritable, half-written, of another layout, in use."""


class SourceError(MlAssetsError):
    """A source's extract is missing, truncated or not what was pinned."""


class ExtractError(SourceError):
    """One day's extract cannot be read or made into events; that day is refused, and no other."""


class NotDeliveredError(ExtractError):
    """Nothing, or not all of it, has been delivered for a day yet; that day is late, and no other."""


class RowsLostError(SourceError):
    """A day's good, refused and doubled rows do not add up to the rows delivered; nothing is written."""


class StorageError(MlAssetsError):
    """The lake refused or failed: the subclasses say why."""


class TableUnreadableError(StorageError):
    """A table is there but cannot be opened; it is never taken for an absent one."""


class LogLostError(TableUnreadableError):
    """A table lost commits, or is gone altogether, though they were made: what is left is not what was written."""


class SchemaChangeRefusedError(StorageError):
    """A write would drop, retype or add a column that nobody asked for by name."""


class RowsOutsideDaysError(StorageError):
    """A frame holds rows of days that the write does not cover, or rows without a day."""


class EmptyDayError(StorageError):
    """A day to be written has no rows, and nobody said that it may be empty."""


class CommitConflictError(StorageError):
    """Concurrent writers kept winning until the bounded retries ran out; nothing was written."""


class MissingPartitionError(MlAssetsError):
    """A partition that must exist before this one does not."""


class DaysRefusedError(MlAssetsError):
    """Days of a run were refused or blocked; the others are done."""


class RunFailedError(MlAssetsError):
    """A run failed for a reason that is no error of the platform's own."""


class NothingToDoError(MlAssetsError):
    """A run that would have ended green without doing anything."""


class ArtefactError(MlAssetsError):
    """A stored model or calibrator cannot be trusted or does not match what its row says."""


class StatusError(MlAssetsError):
    """Facts for a status do not fit its tables, days or states."""
