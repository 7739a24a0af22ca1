"""The files of one table's folder, on a local disk or in an object store.

What belongs here: where a relative path of a table lies, and its bytes, size and removal.
What does not: what the files mean (`day_files.py`, `table_marks.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from deltalake._internal import DeltaFileSystemHandler

# What Arrow calls a directory.
_FOLDER = 3


@dataclass(frozen=True, slots=True)
class TableFolder:
    """A table's folder by its URI; `storage_options` are the object store's."""

    uri: str
    storage_options: Mapping[str, str]

    @property
    def local(self) -> Path | None:
        """The folder on a local disk; None for an object store."""
        parts = urlsplit(self.uri)
        if parts.scheme == "file":
            return Path(url2pathname(parts.path))
        return None if "://" in self.uri else Path(self.uri)

    def target(self, path: str) -> str:
        """What Polars reads or writes for a path relative to the folder."""
        return f"{self.uri}/{path}"

    def size(self, path: str) -> int:
        """Bytes of a file."""
        if self.local is not None:
            return (self.local / path).stat().st_size
        return int(self._handler().open_input_file(path).size())

    def content(self, path: str) -> bytes | None:
        """A file's bytes; None when there is no such file."""
        try:
            if self.local is not None:
                return (self.local / path).read_bytes()
            return bytes(self._handler().open_input_file(path).read())
        except FileNotFoundError:
            return None

    def folders(self, path: str = "") -> list[str]:
        """The names of the folders in a folder of it, in order; none where there is no such folder."""
        found = self._handler().get_file_info_selector(f"{path}/", allow_not_found=True, recursive=False)
        return sorted(each.path.rstrip("/").rpartition("/")[2] for each in found if each.type == _FOLDER)

    def delete(self, path: str) -> None:
        """Deletes a file; one that is not there is as good as deleted."""
        if self.local is not None:
            (self.local / path).unlink(missing_ok=True)
        else:
            self._handler().delete_file(path)

    def _handler(self) -> DeltaFileSystemHandler:
        # What deltalake.fs wraps for pyarrow, which is slow to import and not needed on a local disk.
        return DeltaFileSystemHandler(self.uri, dict(self.storage_options))
