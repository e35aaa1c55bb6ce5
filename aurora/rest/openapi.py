"""The OpenAPI schema, made of what the views declare: permissions, limits and calls (`aurora.rest.calls`)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any
from uuid import UUID

import orjson
from django.http import HttpRequest, HttpResponse
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ComponentRegistry, ResolvedComponent
from pydantic import BaseModel, TypeAdapter

from aurora.rest import openapi_shared as shared
from aurora.rest.calls import JSON, Answer, Call
from aurora.rest.openapi_examples import example_of
from aurora.rest.permissions import PUBLIC, SIGNED_IN
from aurora.rest.schemas import Id

_REF = "#/components/schemas/{model}"
_SECURITY: list[dict[str, list[str]]] = [{"bearer": []}, {"api_key": []}, {"session": []}]
_UNDECLARED = Call(answers={200: None})

Json = dict[str, Any]


def schema(request: HttpRequest) -> HttpResponse:
    """`GET /api/schema`: the document, as JSON."""
    return HttpResponse(_document(), content_type=JSON)


@cache
def _document() -> bytes:
    return orjson.dumps(SchemaGenerator().get_schema(public=True))  # type: ignore[no-untyped-call]


class ContractSchema(AutoSchema):
    """One operation of a view, from its declarations."""

    view: Any  # an ApiView; its module imports rest_framework.views, which is being made when this one is imported

    def get_operation(
        self, path: str, path_regex: str, path_prefix: str, method: str, registry: ComponentRegistry
    ) -> Json | None:
        if self.is_excluded():
            return None
        self.path, self.method, self.registry = path, method.upper(), registry
        call: Call = self.view.calls.get(self.method, _UNDECLARED)
        operation: Json = {
            "operationId": self.get_operation_id(),
            "summary": (self.view.__doc__ or "").strip().partition("\n")[0],
            "tags": [path.removeprefix("/api/v1/").split("/", 1)[0]],
            "security": [] if self._needs == PUBLIC else _SECURITY,
            "parameters": [*self._path_parameters(), *self._query_parameters(call), *_headers_of(call)],
            "responses": {
                **{str(status): self._answer(status, call.answers[status]) for status in call.answers},
                **{str(status): shared.refusal(status) for status in sorted(self._errors(call))},
            },
        }
        if content := self._content(call):
            operation["requestBody"] = {"required": not call.is_body_optional, "content": content}
        return operation

    def get_operation_id(self) -> str:
        """`get_alerts`, `post_alerts_by_alert_id_promote`: method and route, so no two collide."""
        route = re.sub(r"\{(\w+)\}", r"by_\1", self.path.removeprefix("/api/v1/"))
        return f"{self.method.lower()}_{re.sub(r'[^a-z0-9_]+', '_', route.lower())}"

    @property
    def _needs(self) -> object:
        return self.view.permissions.get(self.method)

    def _path_parameters(self) -> Iterable[Json]:
        for name in re.findall(r"\{(\w+)\}", self.path):
            kind = self.view.path_types.get(name, Id if name.endswith("_id") else str)
            described = TypeAdapter(Id if kind is UUID else kind).json_schema()
            yield _parameter("path", name, described, is_required=True)

    def _query_parameters(self, call: Call) -> Iterable[Json]:
        if call.query is None:
            return
        model = self._component(call.query, "validation", is_shown=False)
        for name, described in model.get("properties", {}).items():
            yield _parameter("query", name, _given(described), is_required=name in model.get("required", ()))

    def _content(self, call: Call) -> Json:
        if call.body is None:
            return {}
        if isinstance(call.body, Mapping):
            return {media_type: dict(described) for media_type, described in call.body.items()}
        return {JSON: self._body(call.body, "validation")}

    def _answer(self, status: int, answer: Answer) -> Json:
        response: Json = {"description": shared.sentence_of(status), "headers": shared.headers_of(status)}
        if isinstance(answer, str):
            response["content"] = {answer: {"schema": {"type": "string"}}}
        elif isinstance(answer, tuple):
            response["content"] = {media_type: {} for media_type in answer}
        elif answer is not None:
            response["content"] = {JSON: self._body(answer, "serialization")}
        return response

    def _body(self, model: type[BaseModel], mode: str) -> Json:
        described = self._component(model, mode)
        known = {component.name: component.schema for component in self.registry._components.values()}
        return {"schema": {"$ref": _REF.format(model=_name(model))}, "example": example_of(described, known)}

    def _errors(self, call: Call) -> set[int]:
        """What this call may end in: by its declarations, and by what every request passes."""
        found = {400, 405, 408, 413, 415, 500, 503, *call.errors}
        if self.view.limits.get(self.method, ("general",)) != ("ingest",):
            found.add(429)
        if self._needs != PUBLIC:
            found |= {401} if self._needs == SIGNED_IN and self.method == "GET" else {401, 403}
        if "{" in self.path:
            found.add(404)
        return found

    def _component(self, model: type[BaseModel], mode: str, *, is_shown: bool = True) -> Json:
        """The model's schema; it and what it is made of become components."""
        described: Json = model.model_json_schema(ref_template=_REF, mode=mode)  # type: ignore[arg-type]
        _reword(described)
        for name, part in described.pop("$defs", {}).items():
            self._register(name, part)
        if is_shown:
            self._register(_name(model), described)
        return described

    def _register(self, name: str, described: Json) -> None:
        component = ResolvedComponent(name, ResolvedComponent.SCHEMA, described, name)  # type: ignore[no-untyped-call]
        if component in self.registry and self.registry[component].schema != described:
            raise ValueError(f"Two schemas are called {name}: rename one of the models")
        self.registry.register_on_missing(component)


def with_shared_parts(result: Json, **_context: Any) -> Json:
    """drf-spectacular's last hook: the parts that operations refer to, and the routes that are none of DRF's."""
    components = result.setdefault("components", {})
    for kind, parts in shared.components().items():
        components[kind] = {**components.get(kind, {}), **parts}
    result["paths"] = dict(sorted({**result["paths"], **shared.plain_paths()}.items()))
    return result


_WORDS = {"ge": "minimum", "le": "maximum", "gt": "exclusiveMinimum", "lt": "exclusiveMaximum"}


def _reword(part: Any) -> None:
    """Bounds in JSON Schema's words. pydantic leaves its own where something of ours runs before its check; of moments, JSON Schema knows no bounds."""
    if isinstance(part, list):
        for each in part:
            _reword(each)
    elif isinstance(part, dict):
        for ours in [name for name in _WORDS if isinstance(part.get(name), int | float | str)]:
            bound = part.pop(ours)
            if not isinstance(bound, str):
                part[_WORDS[ours]] = bound
        for each in part.values():
            _reword(each)


def _parameter(place: str, name: str, described: Json, *, is_required: bool) -> Json:
    described.pop("title", None)
    return {"in": place, "name": name, "required": is_required, "schema": described}


def _given(described: Json) -> Json:
    """A parameter that is absent is not null: the schema of what it is when it is there."""
    variants = [variant for variant in described.get("anyOf", ()) if variant != {"type": "null"}]
    if len(variants) == 1:
        described = variants[0] | {key: value for key, value in described.items() if key not in ("anyOf", "default")}
    return described


def _headers_of(call: Call) -> Iterable[Json]:
    for name, meaning in call.headers.items():
        described = {"type": "string", "maxLength": 200, "pattern": "^[ -~]*$"}
        yield _parameter("header", name, described, is_required=False) | {"description": meaning}


def _name(model: type[BaseModel]) -> str:
    return re.sub(r"\W+", "_", model.__name__).strip("_")
