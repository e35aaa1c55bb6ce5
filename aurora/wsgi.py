"""Django's WSGI handler: every HTTP request of the product runs in it."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aurora.settings")
application = get_wsgi_application()
