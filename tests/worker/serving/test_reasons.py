"""What others are told of a checkpoint that cannot be served."""

import pytest
from congrad_worker.serving.reasons import without_folders


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("CONGRAD_MODEL=/home/me/.cache/huggingface/hub/models--o--m/snapshots/0: is", "CONGRAD_MODEL=0: is"),
        ("'/srv/my models/one' and /srv/two/x.json", "'one' and x.json"),
        (
            "the hub says: see https://hub.example/docs/x and/or a/b",
            "the hub says: see https://hub.example/docs/x and/or a/b",
        ),
    ],
)
def test_no_path_is_shown_and_addresses_are(said: str, shown: str) -> None:
    assert without_folders(said, "/srv/my models/one", None) == shown
