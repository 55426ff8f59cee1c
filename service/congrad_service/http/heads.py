"""`HEAD` of whatever can be had with `GET`: proxies, monitors and download tools ask so before they ask for more."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

ROUTED = ("route", "path_params")
"""What the router says of a request, for those further out who count it."""


class Heads:
    """ASGI middleware that has such a request answered as `GET` would be, and leaves out the body. An answer without an
    end, as a stream of events, ends with its head."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def head_of(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                # To the server it is over with this: whoever streams hears that his peer has gone.
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        routed = {**scope, "method": "GET"}
        try:
            await self._app(routed, receive, head_of)
        finally:
            scope.update({name: routed[name] for name in ROUTED if name in routed})
