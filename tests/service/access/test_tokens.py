"""Where tokens come from: a file that is right, or a service that says what is wrong with it and does not start."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from congrad.contract.tokens import Role, TokenEntry, new_token
from congrad.local.redis_server import free_port
from congrad_service.__main__ import main
from congrad_service.access.tokens import Caller, Tokens, TokensError
from congrad_service.settings import ServiceSettings
from pydantic import ValidationError

DIGEST = hashlib.sha256(b"secret").hexdigest()


def tokens(path: Path, text: str, **options: str) -> Tokens:
    """What the service makes of a file."""
    path.write_text(text)
    return Tokens(ServiceSettings.model_validate({"api_keys_file": path, **options}))


def table(**changes: str) -> str:
    """A table that is right but for some of its fields."""
    fields = {"name": "ci", "role": "read", "sha256": DIGEST} | changes
    return "[[token]]\n" + "".join(f'{field} = "{value}"\n' for field, value in fields.items() if value != "-")


def test_a_token_is_known_by_its_sha256(tmp_path: Path) -> None:
    example = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # of FIPS 180-2, appendix B.1
    found = tokens(tmp_path / "tokens.toml", table(role="filter", team="nlp", sha256=example))
    assert found.caller(b"abc") == Caller("ci", Role.FILTER, "nlp")
    assert found.caller(b"ab") is None
    assert found.caller(b"") is None


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o444])
def test_a_file_that_its_owner_alone_may_write_to_is_taken_whoever_may_read_it(mode: int, tmp_path: Path) -> None:
    """It holds digests of random tokens: who reads it is not let in."""
    path = tmp_path / "tokens.toml"
    path.touch()
    path.chmod(mode)
    assert tokens(path, table())


@pytest.mark.parametrize("mode", [0o666, 0o660, 0o622, 0o777])
def test_a_file_that_others_may_write_to_is_refused(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    path.touch()
    path.chmod(mode)
    with pytest.raises(TokensError, match=rf"may write to it \(mode {mode:o}\): chmod go-w"):
        tokens(path, table())


def test_but_not_where_it_is_mounted_for_reading_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container sees its host's bits there, on some hosts made up ones."""
    path = tmp_path / "tokens.toml"
    path.touch()
    path.chmod(0o777)
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result((0,) * 8 + (os.ST_RDONLY, 255)))
    assert tokens(path, table())


def test_the_two_tokens_of_the_environment_have_their_roles(tmp_path: Path) -> None:
    found = tokens(tmp_path / "tokens.toml", table(), api_key="all", read_key=" looks\n")
    assert found.caller(b"all") == Caller("CONGRAD_API_KEY", Role.ADMIN)
    assert found.caller(b"looks") == Caller("CONGRAD_READ_KEY", Role.READ)
    assert found.caller(b"secret") == Caller("ci", Role.READ)


def test_one_token_cannot_be_both() -> None:
    with pytest.raises(ValidationError, match="should be another token than CONGRAD_API_KEY"):
        ServiceSettings.model_validate({"api_key": "same", "read_key": "same "})


def test_a_token_that_only_looks_is_one_that_is_asked_for() -> None:
    assert ServiceSettings.model_validate({"read_key": "looks", "host": "0.0.0.0"}).asks_for_tokens  # noqa: S104


def test_what_the_command_writes_is_what_the_service_reads(tmp_path: Path) -> None:
    secrets = [new_token() for _ in range(2)]
    assert len(set(secrets)) == 2
    entries = [
        TokenEntry(name="a", role=Role.ADMIN, team="x.y-z_1", sha256=hashlib.sha256(secrets[0].encode()).hexdigest()),
        TokenEntry(name="b", role=Role.READ, sha256=hashlib.sha256(secrets[1].encode()).hexdigest()),
    ]
    found = tokens(tmp_path / "tokens.toml", "\n\n".join(entry.toml() for entry in entries))
    assert found.caller(secrets[0].encode()) == Caller("a", Role.ADMIN, "x.y-z_1")
    assert found.caller(secrets[1].encode()) == Caller("b", Role.READ, None)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "has no [[token]] table"),
        ("token = 1", "token: should be written as [[token]] tables"),
        ("[token]\nname = 'a'", "token: should be written as [[token]] tables"),
        ("[[tokens]]", "tokens: is none of this file"),
        ("[[token]", "is not TOML: "),
        (table(role="root"), "[[token]] 1: role: Input should be 'read', 'filter' or 'admin'"),
        (table(role="-"), "[[token]] 1: role: Field required"),
        (table(name=""), "[[token]] 1: name: String should match"),
        (table(team="a/b"), "[[token]] 1: team: String should match"),
        (table(team=" "), "[[token]] 1: team: String should match"),
        (table(colour="red"), "[[token]] 1: colour: Extra inputs are not permitted"),
        (table() + table(name="b", sha256="the-token-itself"), "[[token]] 2: sha256: String should match"),
        (table() + table(name="b"), "[[token]] 2: sha256: token 'ci' has the same"),
        (table() + table(sha256="0" * 64), "[[token]] 2: name: another token is called 'ci'"),
        (table(sha256=hashlib.sha256(b"").hexdigest()), "[[token]] 1: sha256: is the digest of nothing at all"),
    ],
)
def test_a_broken_file_is_named_with_its_table_and_field(text: str, fault: str, tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    with pytest.raises(TokensError) as caught:
        tokens(path, text)
    assert str(caught.value).startswith(f"{path}: {fault}")
    assert "the-token-itself" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    with pytest.raises(TokensError, match="cannot be read: No such file or directory"):
        Tokens(ServiceSettings.model_validate({"api_keys_file": path}))
    path.write_bytes(b"\xff")
    with pytest.raises(TokensError, match="is not text in UTF-8"):
        Tokens(ServiceSettings.model_validate({"api_keys_file": path}))


def test_the_api_key_is_not_in_the_file_as_well(tmp_path: Path) -> None:
    with pytest.raises(TokensError, match="token 'CONGRAD_API_KEY' has the same"):
        tokens(tmp_path / "tokens.toml", table(), api_key="secret")


@pytest.mark.parametrize("key", ["", " ", "\n", "sécret", "a\x00b"])
def test_an_api_key_that_no_header_can_hold_is_refused(key: str) -> None:
    with pytest.raises(ValidationError, match="should be a token") as caught:
        ServiceSettings.model_validate({"api_key": key})
    assert "input_value" not in str(caught.value)


def test_the_line_break_of_a_file_of_secrets_is_no_part_of_the_api_key() -> None:
    found = Tokens(ServiceSettings.model_validate({"api_key": "secret\n"}))
    assert found.caller(b"secret") == Caller("CONGRAD_API_KEY", Role.ADMIN, None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "filter.example", "127.0.0.1.example"])  # noqa: S104 # refused
def test_only_loopback_is_served_without_a_token(host: str, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"can be reached from other machines.*set CONGRAD_API_KEY or"):
        ServiceSettings.model_validate({"host": host})
    assert ServiceSettings.model_validate({"host": host, "api_key": "secret"}).host == host
    assert ServiceSettings.model_validate({"host": host, "api_keys_file": tmp_path / "t.toml"}).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_needs_no_token(host: str) -> None:
    assert ServiceSettings.model_validate({"host": host}).host == host


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"CONGRAD_HOST": "0.0.0.0"}, "CONGRAD_HOST: Value error, 0.0.0.0 can be reached from other machines"),  # noqa: S104
        ({"CONGRAD_API_KEY": " "}, "CONGRAD_API_KEY: Value error, should be a token"),
        ({"CONGRAD_API_KEYS_FILE": "/nowhere/t"}, "CONGRAD_API_KEYS_FILE: /nowhere/t: cannot be read: No such file"),
        ({"CONGRAD_REDIS_URL": "redis://u:hun#ter@h"}, "CONGRAD_REDIS_URL: Value error, should be a URL, in which"),
        ({"CONGRAD_REDIS_URL": "redis://u:12/hunter@h"}, "CONGRAD_REDIS_URL: Value error, should be a URL, in which"),
        ({"CONGRAD_BROKER_URL": "redis://u:hun?ter@h"}, "CONGRAD_BROKER_URL: Value error, should be a URL, in which"),
        ({"CONGRAD_API_KEY": "hun", "CONGRAD_HOST": "[::1]"}, "CONGRAD_HOST: [::1] is no address, nor a name"),
        ({"CONGRAD_API_KEY": "hun", "CONGRAD_HOST": "a..b"}, "CONGRAD_HOST: a..b is no address, nor a name"),
    ],
)
def test_the_service_does_not_start_and_says_why_in_one_line(
    environment: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert main() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"congrad service: {message}")
    assert "hun" not in line


def test_a_service_that_does_not_start_says_nothing_else_and_has_a_status() -> None:
    command = [sys.executable, "-m", "congrad_service"]
    environment = os.environ | {"CONGRAD_PORT": str(free_port()), "CONGRAD_API_KEY": " "}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("congrad service: CONGRAD_API_KEY: Value error, should be a token")


def test_settings_that_are_printed_show_no_secret() -> None:
    secrets = {"redis_url": "redis://u:hunter@h", "broker_url": "redis://u:hunter@h", "api_key": "hunter"}
    settings = ServiceSettings.model_validate(secrets)
    assert "hunter" not in f"{settings} {settings!r}"
    with pytest.raises(ValidationError) as caught:
        ServiceSettings.model_validate({**secrets, "redis_url": "redis://u:hun#ter@h"})
    assert "hun" not in str(caught.value)
