"""`python -m congrad_service`: the front end under uvicorn."""

import asyncio
import signal
import socket
import sys
from types import FrameType

try:
    from asgi_correlation_id import correlation_id
    from fastapi import FastAPI
    from pydantic import ValidationError

    from congrad_service.access.tokens import TokensError
    from congrad_service.app import create_app
    from congrad_service.edge.server import BoundedServer, allow_files
    from congrad_service.observability import tracing
    from congrad_service.observability.logs import logging_config
    from congrad_service.queue.addresses import AddressError, check_addresses
    from congrad_service.settings import ServiceSettings
except ModuleNotFoundError as error:
    # The base install is the client. A part of the project itself that is missing is another fault.
    absent = str(error.name).partition(".")[0]
    if __name__ != "__main__" or absent.startswith("congrad"):
        raise
    needed = f"{absent} is not installed; a service needs: pip install 'congrad-filter[service]'"
    print(f"congrad service: {needed}", file=sys.stderr)
    sys.exit(2)

DRAIN_S = 10


class DrainingServer(BoundedServer):
    """A server that answers whoever waits before it stops; uvicorn alone would wait for them as long as they do."""

    def __init__(self, app: FastAPI, settings: ServiceSettings):
        super().__init__(
            app,
            allow_files(settings.max_connections),
            host=settings.host,
            port=settings.port,
            log_config=logging_config(settings.log_format, correlation_id),
            access_log=False,  # `observed.py` has a line for each request
            timeout_graceful_shutdown=DRAIN_S,
        )
        self._app = app
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, *args: object, **kwargs: object) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(*args, **kwargs)  # type: ignore[arg-type] # whatever uvicorn passes

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        state = getattr(self._app.state, "congrad", None)
        if state is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(state.drain)
        super().handle_exit(sig, frame)


def main() -> int:
    """Runs the front end until a signal; 2 for settings that are wrong, and for Ctrl-C what shells have for it."""
    try:
        settings = ServiceSettings()
        check_addresses(settings)
        app = create_app(settings)
    except ValidationError as error:
        for fault in error.errors():
            name = "CONGRAD_" + "_".join(map(str, fault["loc"])).upper()
            print(f"congrad service: {name}: {fault['msg']}", file=sys.stderr)
        return 2
    except AddressError as error:
        print(f"congrad service: {error}", file=sys.stderr)
        return 2
    except TokensError as error:
        print(f"congrad service: CONGRAD_API_KEYS_FILE: {error}", file=sys.stderr)
        return 2
    if not _is_known(settings.host):
        print(f"congrad service: CONGRAD_HOST: {settings.host} is no address, nor a name that has one", file=sys.stderr)
        return 2
    try:
        server = DrainingServer(app, settings)
    except OSError as error:
        print(f"congrad service: {error.strerror}", file=sys.stderr)
        return 2
    tracing.begin("congrad-service")
    try:
        server.run()
    except KeyboardInterrupt:  # uvicorn raises the signal again when it has ended, in good order
        return 128 + signal.SIGINT
    return 0


def _is_known(host: str) -> bool:
    """Whether it has an address; uvicorn would say that a name is not known, and not which. Where nobody can be asked
    for names just now, that is no fault of the setting."""
    try:
        socket.getaddrinfo(host, None)
    except UnicodeError:  # of what can be no name
        return False
    except socket.gaierror as error:
        return error.errno != socket.EAI_NONAME
    return True


if __name__ == "__main__":
    sys.exit(main())
