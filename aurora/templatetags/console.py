"""The console's widgets for templates: `{% load console %}`."""

from __future__ import annotations

from typing import Any

from django import template

from aurora.console import markdown, navigation, pretty, standing, widgets

register = template.Library()

for _tag in (widgets.badge, widgets.when, widgets.ago, widgets.chips, widgets.percent, widgets.icon):
    register.simple_tag(_tag)
register.simple_tag(standing.now, name="standing")


@register.simple_tag(takes_context=True)
def crumbs(context: template.Context) -> list[tuple[str, str]]:
    """Where a page hangs in the sidebar: label and address, from the group down to the list that a row's page belongs to."""
    opts: Any = context.get("opts")
    if not opts:
        return []
    group, title, url = navigation.place_of(opts.model)
    steps = [(group, "")] if group else []
    return steps if context.get("cl") else [*steps, (title, url)]


register.filter(widgets.words)
register.filter(pretty.record)
register.filter("markdown", markdown.rendered)
