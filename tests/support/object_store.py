"""An object store with the interface of S3: moto's server, in a thread of this process."""

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

SECRET = "a-secret-of-the-tests"


@dataclass(frozen=True)
class ObjectStore:
    """Where it is, and what its users have to have in their environment."""

    url: str
    secret: str = SECRET

    @property
    def environment(self) -> dict[str, str]:
        """As libraries for S3 read it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def new_bucket(self) -> str:
        """The URL of a folder in a bucket that nobody else has."""
        import s3fs

        name = f"tests-{uuid.uuid4().hex}"
        s3fs.S3FileSystem(endpoint_url=self.url, key="tests", secret=self.secret).mkdir(name)
        return f"s3://{name}/gradients"


@contextmanager
def object_store() -> Iterator[ObjectStore]:
    """One that is empty. Skips where the packages for it are missing."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server")
    from werkzeug.serving import make_server

    application = server.DomainDispatcherApplication(server.create_backend_app)
    served = make_server("127.0.0.1", 0, application, threaded=True)
    thread = threading.Thread(target=served.serve_forever, name="moto")
    thread.start()
    try:
        yield ObjectStore(f"http://127.0.0.1:{served.server_port}")
    finally:
        served.shutdown()
        thread.join()
