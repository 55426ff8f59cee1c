"""`congrad token`: a token that nobody has had before, and the table that lets it in."""

import hashlib
import json
import tomllib

import pytest
from congrad.commands.app import app
from typer.testing import CliRunner, Result


def congrad(*arguments: str) -> Result:
    """Runs the command in this process."""
    return CliRunner().invoke(app, ["token", *arguments])


def test_the_table_goes_into_a_file_and_the_token_beside_it() -> None:
    first, second = (congrad("ci", "--role", "filter", "--team", "nlp") for _ in range(2))
    assert first.exit_code == 0
    (table,) = tomllib.loads(first.stdout)["token"]
    secret = first.stderr.splitlines()[-1]
    assert table == {
        "name": "ci",
        "role": "filter",
        "team": "nlp",
        "sha256": hashlib.sha256(secret.encode()).hexdigest(),
    }
    assert secret not in first.stdout
    assert len(bytes.fromhex(secret)) == 32
    assert second.stderr.splitlines()[-1] != secret
    both = tomllib.loads(first.stdout + second.stdout)["token"]  # as `>>` puts them
    assert len(both) == 2


def test_without_a_team_there_is_none_in_the_table() -> None:
    (table,) = tomllib.loads(congrad("me", "--role", "admin").stdout)["token"]
    assert table.keys() == {"name", "role", "sha256"}


def test_as_json_all_of_it_is_one_object() -> None:
    done = congrad("ci", "--role", "read", "--json")
    shown = json.loads(done.stdout)
    assert shown["entry"]["sha256"] == hashlib.sha256(shown["token"].encode()).hexdigest()
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a/b", "--role", "read"), "congrad: name: "),
        (("ci", "--role", "read", "--team", ""), "congrad: team: "),
        (("ci", "--role", "root"), "Invalid value for '--role'"),
        (("ci",), "Missing option '--role'"),
    ],
)
def test_what_the_service_would_refuse_is_refused_here(arguments: tuple[str, ...], message: str) -> None:
    done = congrad(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr
