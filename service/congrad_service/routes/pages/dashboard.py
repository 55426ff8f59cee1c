"""`/dashboard`: a page and the files that it is made of. They hold no data and need no token; the page asks for one."""

import re
from typing import Annotated

from fastapi import APIRouter, Header
from starlette.responses import RedirectResponse, Response

from congrad_service.dashboard.assets import PAGE, Asset, load_assets
from congrad_service.http.errors import NotFound

router = APIRouter(include_in_schema=False)

ASSETS = load_assets()

SECURITY = {
    # What a script smuggled in by a name or a text could do: nothing, as it is not run, and could reach nobody.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}

NOT_WANTED = re.compile(r"\s*q=0(\.0{0,3})?\s*", re.IGNORECASE)
"""The weight of a coding that a client does not take (RFC 9110, 12.4.2)."""

IfNoneMatch = Annotated[str | None, Header()]
AcceptEncoding = Annotated[str | None, Header()]


@router.get("/dashboard")
async def page(if_none_match: IfNoneMatch = None, accept_encoding: AcceptEncoding = None) -> Response:
    """The page."""
    return _answer(ASSETS[PAGE], if_none_match, accept_encoding)


@router.get("/dashboard/{path:path}")
async def file(path: str, if_none_match: IfNoneMatch = None, accept_encoding: AcceptEncoding = None) -> Response:
    """One of its files."""
    if not path:
        return RedirectResponse("../dashboard")  # what the page names is relative to where it stands
    asset = ASSETS.get(path)
    if asset is None:
        raise NotFound(f"the dashboard has no file {path[:100]!r}")
    return _answer(asset, if_none_match, accept_encoding)


def _answer(asset: Asset, if_none_match: str | None, accept_encoding: str | None) -> Response:
    """The file, or that it has not changed. Browsers ask each time: a new version of the service is a new page."""
    headers = {**SECURITY, "ETag": asset.etag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    if asset.etag in (if_none_match or ""):
        return Response(status_code=304, headers=headers)
    content = asset.content
    if asset.compressed is not None and _takes_gzip(accept_encoding or ""):
        content, headers["Content-Encoding"] = asset.compressed, "gzip"
    return Response(content, media_type=asset.media_type, headers=headers)


def _takes_gzip(accept_encoding: str) -> bool:
    for coding in accept_encoding.split(","):
        name, _, weight = coding.partition(";")
        if name.strip().lower() == "gzip":
            return NOT_WANTED.fullmatch(weight) is None
    return False
