"""An object store for tests: the part of S3 that reading and committing tables needs, in a process of its own.

What belongs here: objects by key, listing, ranges, and puts that fail where an object is there.
What does not: signatures, buckets.

deltalake holds Python's lock while it asks for a file, so a server in the same process could not answer.
"""

import re
import subprocess
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import ClassVar
from urllib.parse import parse_qs, quote, unquote, urlsplit
from uuid import uuid4
from xml.sax.saxutils import escape


class Objects(MutableMapping[str, bytes]):
    """Objects by `bucket/key`, each a file of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _file(self, key: str) -> Path:
        return self._folder / quote(key, safe="")

    def __getitem__(self, key: str) -> bytes:
        try:
            return self._file(key).read_bytes()
        except FileNotFoundError:
            raise KeyError(key) from None

    def __setitem__(self, key: str, content: bytes) -> None:
        self._file(key).write_bytes(content)

    def __delitem__(self, key: str) -> None:
        try:
            self._file(key).unlink()
        except FileNotFoundError:
            raise KeyError(key) from None

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(unquote(path.name) for path in self._folder.iterdir()))

    def __len__(self) -> int:
        return len(list(self._folder.iterdir()))


class SmallS3(BaseHTTPRequestHandler):
    """Answers for the objects of its class, `bucket/key` by name."""

    protocol_version = "HTTP/1.1"
    objects: Objects
    parts: ClassVar[dict[str, dict[int, bytes]]] = {}
    lock: ClassVar[Lock] = Lock()

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        if "list-type" in query:
            return self._list(url.path.strip("/"), query)
        return self._object(body=True)

    def do_HEAD(self) -> None:
        self._object(body=False)

    def do_PUT(self) -> None:
        body = self._body()
        query = parse_qs(urlsplit(self.path).query)
        with self.lock:
            if "uploadId" in query:
                self.parts[query["uploadId"][0]][int(query["partNumber"][0])] = body
            elif self.headers.get("If-None-Match") == "*" and self._key() in self.objects:
                return self._answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
            else:
                self.objects[self._key()] = body
        return self._answer(200, b"", ETag=f'"{md5(body).hexdigest()}"')

    def do_POST(self) -> None:
        body = self._body()
        query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        if "uploads" in query:
            upload = uuid4().hex
            self.parts[upload] = {}
            return self._answer(200, f"<R><UploadId>{upload}</UploadId></R>".encode())
        if "uploadId" in query:
            parts = self.parts.pop(query["uploadId"][0])
            self.objects[self._key()] = b"".join(parts[number] for number in sorted(parts))
            return self._answer(200, b"<R><ETag>done</ETag></R>")
        named = re.findall(r"<Key>(.*?)</Key>", body.decode())
        for key in named:
            self.objects.pop(f"{self._key()}/{key}", None)
        deleted = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in named)
        return self._answer(200, f"<DeleteResult>{deleted}</DeleteResult>".encode())

    def do_DELETE(self) -> None:
        self.objects.pop(self._key(), None)
        self._answer(204, b"")

    def log_message(self, *args: object) -> None:
        pass

    def _key(self) -> str:
        return unquote(urlsplit(self.path).path).strip("/")

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "chunked" in self.headers.get("x-amz-content-sha256", "").lower():
            raise NotImplementedError
        return body

    def _object(self, *, body: bool) -> None:
        content = self.objects.get(self._key())
        if content is None:
            return self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>" if body else b"")
        told = {"ETag": f'"{md5(content).hexdigest()}"', "Last-Modified": "Fri, 08 Feb 2013 00:00:00 GMT"}
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if not asked or not body:
            return self._answer(200, content, body=body, **told)
        first, last = asked.groups()
        start = int(first) if first else max(0, len(content) - int(last))
        end = min(int(last), len(content) - 1) if first and last else len(content) - 1
        told["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
        return self._answer(206, content[start : end + 1], **told)

    def _list(self, bucket: str, query: dict[str, list[str]]) -> None:
        prefix, after = query.get("prefix", [""])[0], query.get("start-after", [""])[0]
        names = sorted(key.removeprefix(f"{bucket}/") for key in self.objects)
        names = [name for name in names if name.startswith(prefix) and name > after]
        folders: set[str] = set()
        if "delimiter" in query:
            folders = {prefix + name[len(prefix) :].split("/")[0] + "/" for name in names if "/" in name[len(prefix) :]}
            names = [name for name in names if "/" not in name[len(prefix) :]]
        listed = "".join(
            f"<Contents><Key>{escape(name)}</Key><Size>{len(self.objects[f'{bucket}/{name}'])}</Size>"
            "<LastModified>2013-02-08T00:00:00.000Z</LastModified><ETag>e</ETag></Contents>"
            for name in names
        ) + "".join(f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" for name in sorted(folders))
        text = f"<ListBucketResult><IsTruncated>false</IsTruncated>{listed}</ListBucketResult>"
        self._answer(200, text.encode())

    def _answer(self, status: int, content: bytes, *, body: bool = True, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)


@contextmanager
def small_s3(folder: Path) -> Iterator[tuple[Objects, dict[str, str]]]:
    """The objects of a store that keeps them in an empty folder, and the storage options that lead to it."""
    folder.mkdir()
    with subprocess.Popen([sys.executable, __file__, str(folder)], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        try:
            yield (
                Objects(folder),
                {
                    "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
                    "AWS_ALLOW_HTTP": "true",
                    "AWS_REGION": "eu-central-1",
                    "AWS_ACCESS_KEY_ID": "nobody",
                    "AWS_SECRET_ACCESS_KEY": "nothing",
                },
            )
        finally:
            # A parent may have told its children to ignore gentler signals.
            server.kill()


if __name__ == "__main__":
    SmallS3.objects = Objects(Path(sys.argv[1]))
    listening = ThreadingHTTPServer(("127.0.0.1", 0), SmallS3)
    print(listening.server_port, flush=True)
    listening.serve_forever()
