"""What a web server imports. Refuses to serve without a secret."""

import os

from django.core.exceptions import ImproperlyConfigured
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "compliance.settings")
application = get_wsgi_application()

from django.conf import settings  # noqa: E402  (settings are read by get_wsgi_application)

if not settings.SECRET_KEY_IS_SET:
    raise ImproperlyConfigured("Set SECRET_KEY to a long random value, the same on every web machine, before serving.")
if not settings.VAULT_KEYS:
    raise ImproperlyConfigured("Set ASSAY_VAULT_KEYS, which encrypts credentials and second factors, before serving.")
