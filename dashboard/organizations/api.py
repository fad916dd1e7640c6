"""The organization of the key: a first call, to see that the key works."""

from __future__ import annotations

from uuid import UUID

from ninja import Router, Schema
from pydantic import Field

from compliance.tenancy.models import Scope
from dashboard.api.authentication import ApiRequest, BearerKey

router = Router(tags=["Organization"], auth=BearerKey(Scope.READ))


class KeyOut(Schema):
    """The key of this call."""

    id: UUID
    name: str = Field(examples=["CI"])
    scopes: list[Scope]


class OrganizationOut(Schema):
    """The organization whose key it is."""

    id: str = Field(examples=["org_0199f0c2a7b27d1e9c3b5a6f7e8d9c0b"])
    name: str = Field(examples=["Example"])
    slug: str = Field(examples=["example"])
    key: KeyOut


@router.get("/organization", operation_id="getOrganization", summary="Whose key this is", response=OrganizationOut)
def get_organization(request: ApiRequest) -> OrganizationOut:
    organization, key = request.organization, request.auth
    shown = KeyOut(id=key.key_id, name=key.name, scopes=[scope for scope in Scope if scope in key.scopes])
    return OrganizationOut(id=organization.id, name=organization.name, slug=organization.slug, key=shown)
