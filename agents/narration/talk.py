"""One question to the model's server: any with OpenAI's `/chat/completions`. The errors of the way there become ours here, and nowhere else.

The address is the operator's and is all that is connected to: redirects are not followed, the environment's proxies are not read, certificates are
verified. The limit on time is one for all of it, however slowly the answer drips; the limit on size is kept while it is read.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx
import orjson

from agents import loop
from aurora.errors import Conflict, RateLimited, Unavailable
from aurora.texts import storable

MOST_BYTES = 256 * 1024


class ModelFault(Unavailable):
    """The model's server is at fault: refused, reset, silent, garbled, answered with a 5xx, or in another form than was asked for."""


@dataclass(frozen=True, slots=True)
class Model:
    """Where the model is, which one, and the key to it."""

    base_url: str
    name: str
    api_key: str = field(default="", repr=False)


def complete(model: Model, messages: Sequence[dict[str, str]], *, most_tokens: int, timeout: float) -> str:
    """The model's answer as text. `timeout` is in seconds, for all of it.

    Raises ModelFault; Conflict for what is wrong on our side (a key, a model that is not there), RateLimited.
    """
    body = {
        "model": model.name,
        "messages": list(messages),
        "max_tokens": most_tokens,
        "response_format": {"type": "json_object"},
    }
    answer = loop.submit(_post(model, orjson.dumps(body), timeout, _certificates()))
    try:
        content = answer.result()
    except TimeoutError:
        raise ModelFault(f"no answer within {timeout:g} s") from None
    except httpx.HTTPError as error:
        raise ModelFault(f"{type(error).__name__}: {storable(str(error), 200)}") from None
    finally:
        answer.cancel()
    return _answer_in(content)


async def _post(model: Model, body: bytes, seconds: float, certificates: ssl.SSLContext) -> bytes:
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if model.api_key:
        headers["Authorization"] = f"Bearer {model.api_key}"
    async with (
        asyncio.timeout(seconds),
        httpx.AsyncClient(verify=certificates, trust_env=False, follow_redirects=False, timeout=seconds) as client,
        client.stream("POST", f"{model.base_url}/chat/completions", content=body, headers=headers) as answer,
    ):
        _require_success(answer)
        content = bytearray()
        async for part in answer.aiter_bytes():
            content += part
            if len(content) > MOST_BYTES:
                raise ModelFault(f"the answer is larger than {MOST_BYTES} bytes")
        return bytes(content)


@functools.cache
def _certificates() -> ssl.SSLContext:
    """Read once, and not on the loop, where reading them would hold up everybody's conversations."""
    return httpx.create_ssl_context(trust_env=False)


def _require_success(answer: httpx.Response) -> None:
    status = answer.status_code
    if status == httpx.codes.TOO_MANY_REQUESTS:
        raise RateLimited("the model's server limits its callers", retry_after=60)
    if status >= httpx.codes.INTERNAL_SERVER_ERROR or answer.is_redirect:
        raise ModelFault(f"answered {status}")
    if status != httpx.codes.OK:
        raise Conflict(f"answered {status}: check AURORA_LLM_BASE_URL, AURORA_LLM_MODEL and AURORA_LLM_API_KEY")


def _answer_in(content: bytes) -> str:
    try:
        answer = orjson.loads(content)["choices"][0]["message"]["content"]
    except (orjson.JSONDecodeError, KeyError, IndexError, TypeError):
        raise ModelFault("the answer is no chat completion") from None
    if not isinstance(answer, str) or not answer.strip():
        raise ModelFault("the answer holds no text")
    return answer
