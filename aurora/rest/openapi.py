"""The OpenAPI schema of the contract."""

from __future__ import annotations

from drf_spectacular.openapi import AutoSchema


class ContractSchema(AutoSchema):
    """drf-spectacular's schema."""
