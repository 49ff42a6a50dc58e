"""The API's description: OpenAPI 3.1, and Swagger UI from this machine, so that no other host's script sees a token."""

from importlib import resources
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from starlette.responses import HTMLResponse

from api.access import SECURITY_SCHEME
from api.problems import MEDIA_TYPE, FieldError, Problem, documented
from database.errors import NotFound
from database.identity import SCOPES

DESCRIPTION = "\n".join(
    (
        "Generated images and their sales in; an artist's statements, lines, files, balances and payouts out.",
        "",
        '- **Money** is `{"amount": "12.340000", "currency": "EUR"}`: a decimal string, never a number.'
        " `null` is unknown, `0` is measured zero.",
        "- **Shares** are decimal strings with nine decimals; an image's add up to 1 exactly.",
        "- **Sending again is safe**: rows are known by their external id. The same row again is `known`;"
        " the same id with another content is `refused`.",
        "- **Pages** are cut by an opaque cursor: follow `next`, or the `Link` header, until there is none.",
        "- **Errors** are `application/problem+json` (RFC 9457); `GET` a problem's `type` to read what it means.",
        "- **An issued statement never changes**: its strong `ETag` is the SHA-256 of its body.",
    )
)

_SCOPE_TEXTS = {
    "images:write": "Log generated images.",
    "sales:write": "Record sales and refunds.",
    "catalogue:write": "Record artists, payees, contracts and rate cards.",
    "runs:write": "Prepare and close periods (maker).",
    "runs:approve": "Approve periods (checker).",
    "payouts:write": "Prepare and submit payout batches (maker).",
    "payouts:approve": "Approve payout batches (checker).",
    "statements:read": "Read one's own statements, lines, balances, payouts and disputes.",
    "disputes:write": "Dispute one's own statements.",
    "privacy:write": "Erase a person's data, or hand them out (command line).",
}

_ASSETS = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}

router = APIRouter(include_in_schema=False)


@router.get("/docs")
def read_documentation(request: Request) -> HTMLResponse:
    """Swagger UI."""
    page = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title=request.app.title,
        swagger_js_url="/docs/swagger-ui-bundle.js",
        swagger_css_url="/docs/swagger-ui.css",
        swagger_favicon_url="/docs/favicon-32x32.png",
        swagger_ui_parameters={"persistAuthorization": False, "displayRequestDuration": True},
    )
    page.headers["Content-Security-Policy"] = (
        "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline';"
        " img-src 'self' data:; frame-ancestors 'none'"
    )
    return page


@router.get("/docs/{asset}")
def read_asset(asset: str) -> Response:
    """One of Swagger UI's files."""
    media_type = _ASSETS.get(asset)
    if media_type is None:
        raise NotFound(f"no such file; there are {', '.join(_ASSETS)}")
    content = (resources.files("fastapi_swagger") / "resources" / asset).read_bytes()
    return Response(content, media_type=media_type, headers={"Cache-Control": "public, max-age=86400"})


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, made once."""
    if app.openapi_schema:
        return app.openapi_schema
    document = get_openapi(
        title=app.title,
        version=app.version,
        openapi_version=app.openapi_version,
        description=DESCRIPTION,
        routes=app.routes,
        tags=app.openapi_tags,
    )
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):  # ours are problems
        schemas.pop(name, None)
    for model in (FieldError, Problem):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schema.pop("$defs", None)
        schemas[model.__name__] = schema
    components["securitySchemes"] = {
        SECURITY_SCHEME: {
            "type": "oauth2",
            "description": "A bearer token of POST /v1/token.",
            "flows": {
                "password": {
                    "tokenUrl": "/v1/token",
                    "scopes": {scope: _SCOPE_TEXTS[scope] for scope in SCOPES},
                }
            },
        }
    }
    for operations in document["paths"].values():
        for operation in operations.values():
            _complete(operation)
    app.openapi_schema = document
    return document


def _complete(operation: dict[str, Any]) -> None:
    """What every operation has in common, said once."""
    responses = operation["responses"]
    if "422" in responses and MEDIA_TYPE not in responses["422"].get("content", {}):
        del responses["422"]  # FastAPI's own, for any operation with a parameter
        responses.update({str(status): text for status, text in documented(422).items()})
    common = {"500", "503"} | ({"400", "413"} if "requestBody" in operation else set())
    for status in sorted(common - responses.keys()):
        responses[status] = documented(int(status))[int(status)]
    operation["responses"] = dict(sorted(responses.items()))
    for response in operation["responses"].values():
        response.setdefault("headers", {})["X-Request-ID"] = {
            "description": "This request's id, as in the log.",
            "schema": {"type": "string"},
        }
