"""Rows that are made in one go behave as Django's."""

from __future__ import annotations

from typing import Any

import pytest
from django.db.models.signals import post_init, pre_init

from aurora.models import QuickRows
from cases.models import Alert
from tests.cast import make_user
from tests.factories import make_alert

pytestmark = pytest.mark.django_db


def test_what_was_left_out_is_read_when_it_is_asked_for(django_assert_num_queries):
    made = make_alert(description="Long")
    row = Alert.objects.defer("description").get(pk=made.pk)
    assert row.get_deferred_fields() == {"description"}
    with django_assert_num_queries(1):
        assert row.description == "Long"


def test_what_it_belongs_to_is_there_with_it(django_assert_num_queries):
    make_alert(assignee=make_user("analyst", "ana"))
    row: Any = Alert.objects.select_related("assignee", "case").get()
    with django_assert_num_queries(0):
        assert (str(row.assignee), row.case) == ("ana", None)


def test_it_is_changed_in_its_place():
    made = make_alert()
    row = Alert.objects.get(pk=made.pk)
    row.title = "Renamed"
    row.save()
    assert [alert.title for alert in Alert.objects.all()] == ["Renamed"]
    assert (row == made, row._state.db, row._state.adding) == (True, "default", False)


def test_nobody_listens_to_the_making_of_such_a_row():
    for model in QuickRows.__subclasses__():
        assert not pre_init.has_listeners(model)
        assert not post_init.has_listeners(model)
