"""Between a client in a test's process and a real service: what becomes of each request is the test's to say."""

from collections.abc import Callable

import httpx

Send = Callable[[], httpx.Response]
Rule = Callable[[int, httpx.Request, Send], httpx.Response]
"""Is given the number of a request, the request, and what sends it on."""


class FaultyTransport(httpx.BaseTransport):
    """Does with each request what ``rule`` says. ``asked`` has them: method and path."""

    def __init__(self, rule: Rule):
        self.asked: list[tuple[str, str]] = []
        self._rule = rule
        self._network = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.asked.append((request.method, request.url.path))

        def send() -> httpx.Response:
            response = self._network.handle_request(request)
            response.read()
            return response

        return self._rule(len(self.asked) - 1, request, send)

    def close(self) -> None:
        self._network.close()


def away(request: httpx.Request) -> httpx.Response:
    """Nobody listens."""
    raise httpx.ConnectError("refused", request=request)


def lost(request: httpx.Request) -> httpx.Response:
    """The connection is cut before the answer comes."""
    raise httpx.ReadError("cut", request=request)
