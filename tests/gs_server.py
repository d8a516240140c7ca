"""A server on loopback that speaks the JSON API of Google Cloud Storage, as far as pyarrow asks for it.

It is a process of its own: pyarrow waits for some answers without letting other threads of Python run. An ETag is
another after each upload, and folders are there only as beginnings of names.
"""

import base64
import contextlib
import hashlib
import itertools
import json
import os
import re
import subprocess
import sys
import urllib.request
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

OBJECT = re.compile(r"(?:/upload)?/storage/v1/b/([^/]+)(?:/o(?:/(.+))?)?")
"""(bucket, name of an object)."""
DENIED = "denied"
"""A bucket that nobody may read."""
REQUESTS = "/requests"
"""Answers what was asked for, (method, path and query) of each."""
ENDPOINT = "CLOUD_STORAGE_EMULATOR_ENDPOINT"


@contextlib.contextmanager
def gs_server(bucket):
    """A server with one bucket, reached by the variable of the environment; yields what gives its requests."""
    server = subprocess.Popen([sys.executable, __file__, bucket], stdout=subprocess.PIPE, text=True)
    before = os.environ.get(ENDPOINT)
    os.environ[ENDPOINT] = endpoint = f"http://127.0.0.1:{int(server.stdout.readline())}"

    def requests():
        with urllib.request.urlopen(endpoint + REQUESTS) as answer:
            return json.load(answer)

    try:
        yield requests
    finally:
        os.environ.pop(ENDPOINT)
        os.environ.update({} if before is None else {ENDPOINT: before})
        server.kill()  # it inherits what its parent ignores, which may be SIGTERM
        server.wait()


class Server(ThreadingHTTPServer):
    """Of each bucket the objects by name, each with its bytes and what is told of it; of each upload what has come."""

    daemon_threads = True

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.buckets, self.uploads, self.requests = {}, {}, []
        self.generations = itertools.count(1)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer is one packet, if it fits

    def log_message(self, *arguments):
        """Nothing is printed."""

    def do_GET(self):
        if self.path == REQUESTS:
            self.answer(self.server.requests)
            return
        bucket, name, query = self.asked()
        if self.refused(bucket):
            return
        objects = self.server.buckets[bucket]
        if name is None and urlsplit(self.path).path.endswith("/o"):
            self.answer(listing(objects, query.get("prefix", ""), query.get("delimiter", "")))
        elif name is None:
            self.answer({"name": bucket, "kind": "storage#bucket"})
        elif name not in objects:
            self.answer({"error": {"code": 404, "message": f"no object {name}"}}, 404)
        elif query.get("alt") == "media":
            self.media(objects[name][0])
        else:
            self.answer(objects[name][1])

    def do_POST(self):
        bucket, _, query = self.asked()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if bucket is None:
            self.server.buckets[json.loads(body)["name"]] = {}
            self.answer(json.loads(body))
        elif self.refused(bucket):
            return
        elif query["uploadType"] == "resumable":
            session = f"{bucket}-{next(self.server.generations)}"
            self.server.uploads[session] = (bucket, query["name"], bytearray())
            place = f"http://{self.headers['Host']}/upload/storage/v1/b/{bucket}/o?upload_id={session}"
            self.answer({}, headers={"Location": place})
        else:  # in one request of two parts: what is told of the object, and its bytes
            mark = b"--" + re.search('boundary="?([^";]+)', self.headers["Content-Type"])[1].encode()
            data = body.split(mark)[2].partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
            self.answer(self.store(bucket, query["name"], data))

    def do_PUT(self):
        _, _, query = self.asked()
        bucket, name, data = self.server.uploads[query["upload_id"]]
        data += self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers["Content-Range"].endswith("/*"):
            self.answer({}, 308, {"Range": f"bytes=0-{len(data) - 1}"})
        else:
            self.answer(self.store(bucket, name, bytes(data)))

    def do_DELETE(self):
        bucket, name, _ = self.asked()
        if self.refused(bucket):
            return
        found = self.server.buckets[bucket].pop(name, None)
        self.answer({} if found else {"error": {"code": 404, "message": f"no object {name}"}}, 204 if found else 404)

    def asked(self):
        """(bucket, name, query), of which those that are not there are None."""
        url = urlsplit(self.path)
        self.server.requests.append((self.command, self.path))
        found = OBJECT.fullmatch(url.path)
        bucket, name = found.groups() if found else (None, None)
        return bucket, name and unquote(name), {key: each[0] for key, each in parse_qs(url.query).items()}

    def refused(self, bucket):
        """Answers for a bucket that is not there, or may not be read; whether it is so."""
        code = 403 if bucket == DENIED else 404
        refused = bucket not in self.server.buckets
        if refused:
            self.answer({"error": {"code": code, "message": f"not allowed: {bucket}"}}, code)
        return refused

    def store(self, bucket, name, data):
        """Replaces an object as a whole."""
        generation, now = str(next(self.server.generations)), datetime.now(UTC).isoformat().replace("+00:00", "Z")
        about = {
            "kind": "storage#object", "bucket": bucket, "name": name, "size": str(len(data)),
            "generation": generation, "etag": f"of {generation}", "timeCreated": now, "updated": now,
            "md5Hash": base64.b64encode(hashlib.md5(data).digest()).decode(),
        }  # fmt: skip
        self.server.buckets[bucket][name] = (data, about)
        return about

    def media(self, data):
        """The bytes, or the range of them that is asked for."""
        ranged = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if ranged is None:
            self.send(data, 200)
            return
        begin, end = int(ranged[1]), min(int(ranged[2] or len(data)), len(data) - 1)
        if begin > end:
            self.send(b"", 416)
            return
        self.send(data[begin : end + 1], 206, {"Content-Range": f"bytes {begin}-{end}/{len(data)}"})

    def answer(self, value, code=200, headers=None):
        self.send(json.dumps(value).encode() if code != 204 else b"", code, headers)

    def send(self, body, code, headers=None):
        self.send_response(code)
        for name, value in {"Content-Length": len(body), "Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)


def listing(objects, prefix, delimiter):
    """Objects that begin so; with a delimiter, what lies deeper is told by its folder. pyarrow reads only `items`, to
    which objects that stand for folders belong.
    """
    names = sorted(name for name in objects if name.startswith(prefix))
    deep = {name: name[len(prefix) :].partition(delimiter)[0] for name in names} if delimiter else {}
    right = [name for name in names if not delimiter or delimiter not in name[len(prefix) :].removesuffix(delimiter)]
    prefixes = sorted({f"{prefix}{deep[name]}{delimiter}" for name in names if name not in right})
    return {"kind": "storage#objects", "items": [objects[name][1] for name in right], "prefixes": prefixes}


if __name__ == "__main__":
    served = Server(("127.0.0.1", 0), Handler)
    served.buckets[sys.argv[1]] = {}
    print(served.server_port, flush=True)
    served.serve_forever()
