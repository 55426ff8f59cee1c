"""What a client says of the certificates that it is to trust, before it connects."""

import ssl
from pathlib import Path

import httpx
import pytest
from congrad import AsyncClient, Client
from congrad.commands.app import app
from congrad.commands.terminal.probe import Probe
from typer.testing import CliRunner

URL = "https://congrad.example"


@pytest.fixture(params=["missing", "no certificate"])
def broken(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `SSL_CERT_FILE` names."""
    path = tmp_path / "ca.pem"
    if request.param == "no certificate":
        path.write_text("a page that says that one has to sign in\n", encoding="utf-8")
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    return path


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize("url", [URL, "https://127.0.0.1:1"])  # the latter past proxies
def test_a_file_without_certificates_is_named(broken: Path, kind: type[Client] | type[AsyncClient], url: str) -> None:
    with pytest.raises(ValueError, match="SSL_CERT_FILE") as refused:
        kind(url)
    assert str(broken) in str(refused.value)


@pytest.mark.parametrize("command", ["status", "doctor"])
def test_a_command_says_so_in_a_line(broken: Path, command: str) -> None:
    result = CliRunner().invoke(app, [command, "--url", URL])
    assert result.exit_code != 0
    assert isinstance(result.exception, SystemExit)  # no traceback
    assert f"SSL_CERT_FILE is {str(broken)!r}" in result.output.replace("\n", "")


@pytest.mark.usefixtures("broken")
def test_where_no_certificate_is_asked_for_the_file_is_not_read() -> None:
    with Client("http://congrad.example"):
        pass
    Probe("http://congrad.example", None).close()
    with Client(URL, transport=httpx.MockTransport(lambda _: httpx.Response(200))):
        pass


def test_a_file_of_certificates_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ca.pem"
    authorities = ssl.create_default_context().get_ca_certs(binary_form=True)
    path.write_text("".join(map(ssl.DER_cert_to_PEM_cert, authorities[:2])), encoding="ascii")
    if not authorities:
        pytest.skip("this system knows no authorities")
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with Client(URL):
        pass
