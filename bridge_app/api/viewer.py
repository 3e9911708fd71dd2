"""`/schema`: the OpenAPI document for programs, and for people a viewer of it whose files all come from here.

`GET /schema` answers a browser (its `Accept` names `text/html`) with the page and anything else with the document.
The page refers to no other host, and its Content-Security-Policy lets the browser ask none. The files under
`viewer_files/swagger-ui/` are those of the npm package `swagger-ui-dist`, unchanged. To renew them:

    cd bridge_app/api/viewer_files/swagger-ui
    npm pack swagger-ui-dist@VERSION --pack-destination /tmp
    tar -xzf /tmp/swagger-ui-dist-VERSION.tgz --strip-components=1 $(ls | sed s,^,package/,)

and set `SWAGGER_UI_VERSION`; tests/acceptance/test_openapi.py compares the two.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from litestar import Request, Response, Router, route
from litestar.datastructures import CacheControlHeader, State
from litestar.openapi.plugins import JsonRenderPlugin, YamlRenderPlugin
from litestar.static_files import create_static_files_router

from bridge_app.problem_handlers import path_of
from bridge_app.problems import NotFoundError

PATH: Final = "/schema"
SWAGGER_UI_VERSION: Final = "5.35.0"  # released every few weeks, Apache-2.0, shows OpenAPI 3.1 and calls it; 1.9 MB
FILES: Final = Path(__file__).with_name("viewer_files")
_PAGE: Final = (FILES / "index.html").read_bytes()
_HEADERS: Final = {
    # The viewer styles its elements inline; everything else has to come from this host.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept",
}


def router() -> Router:
    """What Litestar puts its own handlers of the document into."""
    files = create_static_files_router(
        "/viewer",
        directories=[FILES],
        name="schema-viewer",
        cache_control=CacheControlHeader(private=True, max_age=3600),
    )
    return Router(PATH, route_handlers=[document_head, files], include_in_schema=False, before_request=page_or_document)


async def page_or_document(request: Request[Any, Any, State]) -> Response[bytes] | None:
    """The page for a browser at `/schema`; None goes on to the document."""
    if "path" in request.path_params:  # Litestar's catch-all below the document answers in HTML
        raise NotFoundError(f"There is no page {path_of(request)[:200]!r}. GET {PATH} shows the REST interface.")
    if path_of(request).rstrip("/") == PATH and "text/html" in request.headers.get("accept", ""):
        return Response(_PAGE, media_type="text/html", headers=_HEADERS)
    return None


@route(["/", "/openapi.json", "/openapi.yaml", "/openapi.yml"], http_method=["HEAD"])
async def document_head(request: Request[Any, Any, State]) -> Response[bytes]:
    """HEAD of what Litestar serves for GET only."""
    plugin = YamlRenderPlugin() if path_of(request).endswith(("yaml", "yml")) else JsonRenderPlugin()
    document = plugin.render(request, request.app.openapi_schema.to_schema())
    return Response(document, media_type=plugin.media_type)
