"""`/docs`: Swagger UI, from files of our own. A script from elsewhere would have the rights of whoever opens it."""

import hashlib
import re
from base64 import b64encode

from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse

from congrad_service.routes.pages.dashboard import SECURITY

router = APIRouter(include_in_schema=False)

FILES = "dashboard/vendor/swagger-ui"

INLINE = re.compile(rb"<script>(.*?)</script>", re.DOTALL)
"""What begins it, in the page."""


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """The page. What it names is relative to where it stands."""
    page = get_swagger_ui_html(
        openapi_url="openapi.json",
        title=request.app.title,
        swagger_js_url=f"{FILES}.js",
        swagger_css_url=f"{FILES}.css",
        swagger_favicon_url="dashboard/icon.svg",
        swagger_ui_parameters={"validatorUrl": None},  # a service elsewhere
    )
    page.headers.update(SECURITY)
    page.headers["Content-Security-Policy"] = _policy(bytes(page.body))
    return page


def _policy(page: bytes) -> str:
    """That of the dashboard, and what this page needs beside it: its one script, by its digest, and styles that Swagger
    UI sets as it draws."""
    digests = (b64encode(hashlib.sha256(script).digest()).decode() for script in INLINE.findall(page))
    scripts = " ".join(f"'sha256-{digest}'" for digest in digests)
    policy = SECURITY["Content-Security-Policy"]
    return policy.replace("script-src 'self'", f"script-src 'self' {scripts}").replace(
        "style-src 'self'", "style-src 'self' 'unsafe-inline'"
    )
