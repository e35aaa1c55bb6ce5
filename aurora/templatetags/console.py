"""The console's widgets for templates: `{% load console %}`."""

from __future__ import annotations

from django import template

from aurora.console import markdown, pretty, widgets

register = template.Library()

for _tag in (widgets.badge, widgets.when, widgets.ago, widgets.chips, widgets.percent, widgets.icon):
    register.simple_tag(_tag)
register.filter(widgets.words)
register.filter(pretty.record)
register.filter("markdown", markdown.rendered)
