"""Make the bucket of a farm's store if it isn't there: bucket.py s3://BUCKET/FOLDER

Waits up to a minute for the server. For trying things out; a real bucket gets its rules from who looks after it.
"""

import os
import sys
import time

from minio import Minio
from minio.error import MinioException
from urllib3.exceptions import HTTPError

from storage.settings import S3Settings


def main(place: str) -> None:
    """Raises what the last try raised."""
    settings = S3Settings.from_env(os.environ)
    client = Minio(
        settings.endpoint,
        access_key=settings.access_key,
        secret_key=settings.secret_key,
        secure=settings.secure,
        region=settings.region,
    )
    bucket = place.removeprefix("s3://").partition("/")[0]
    until = time.monotonic() + 60
    while True:
        try:
            if not client.bucket_exists(bucket_name=bucket):
                client.make_bucket(bucket_name=bucket)
            return
        except (HTTPError, MinioException, OSError):
            if time.monotonic() > until:
                raise
            time.sleep(2)


if __name__ == "__main__":
    main(sys.argv[1])
