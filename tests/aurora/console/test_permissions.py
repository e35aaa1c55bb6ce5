"""Django's permission names, answered from the table of roles."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser, Permission, User

from aurora.rest.permissions import RoleBackend, django_permissions_of
from aurora.roles import ROLES
from tests.cast import make_user

pytestmark = pytest.mark.django_db


def test_a_viewer_reads_alerts_and_changes_none():
    viewer = make_user("viewer")
    assert viewer.has_perm("cases.view_alert")
    assert not viewer.has_perm("cases.change_alert")


def test_an_analyst_changes_alerts_and_manages_no_agents():
    analyst = make_user("analyst")
    assert analyst.has_perm("cases.change_alert")
    assert not analyst.has_perm("agents.change_agent")


def test_an_operator_manages_agents_and_reads_no_iocs():
    operator = make_user("operator")
    assert operator.has_perm("agents.change_agent")
    assert not operator.has_perm("cases.view_ioc")


def test_the_audit_trail_is_the_admins_alone():
    allowed = [role for role in ROLES if "aurora.view_auditentry" in django_permissions_of(role)]
    assert allowed == ["admin"]


def test_a_model_that_is_not_in_the_table_is_granted_to_no_role():
    assert not make_user("admin").has_perm("aurora.view_refreshtoken")


def test_a_permission_row_of_django_grants_nothing():
    viewer = make_user("viewer")
    viewer.user_permissions.add(Permission.objects.get(codename="change_alert", content_type__app_label="cases"))
    assert not User.objects.get(pk=viewer.pk).has_perm("cases.change_alert")


def test_an_account_without_a_role_may_do_nothing():
    assert not User.objects.create_user("nobody", is_staff=True).get_all_permissions()


def test_an_account_that_is_switched_off_may_do_nothing():
    former = make_user("admin")
    former.is_active = False
    assert not former.has_perm("cases.view_alert")


def test_nothing_is_granted_on_a_single_object():
    analyst = make_user("analyst")
    assert not RoleBackend().has_perm(analyst, "cases.view_alert", obj=analyst)


def test_nobody_may_do_nothing():
    assert RoleBackend().get_all_permissions(AnonymousUser()) == set()


def test_a_page_full_of_questions_costs_one_query(django_assert_num_queries):
    analyst = User.objects.get(pk=make_user("analyst").pk)
    with django_assert_num_queries(1):
        for name in ("alert", "case", "ioc"):
            analyst.has_perm(f"cases.view_{name}")
