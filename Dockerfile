# syntax=docker/dockerfile:1
# One image for every process of a production installation; the command decides which (docs/configuration.md).

FROM python:3.11-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
COPY requirements/base.txt /tmp/base.txt
# Wheels only: the image needs no compiler, and nobody's setup.py runs.
RUN /opt/venv/bin/pip install --require-hashes --no-deps --only-binary=:all: -r /tmp/base.txt \
 && /opt/venv/bin/pip uninstall --yes --quiet pip setuptools
WORKDIR /app
COPY . .
# Production settings refuse to load half-configured; these values and the key end with the command.
RUN AURORA_ENV=production \
    AURORA_SECRET_KEY="$(python -c 'import secrets; print(secrets.token_urlsafe(64))')" \
    AURORA_ALLOWED_HOSTS=build.invalid \
    AURORA_DATA_DIR=/tmp/build \
    DATABASE_URL=postgresql:///build \
    REDIS_URL=redis://build.invalid \
    /opt/venv/bin/python manage.py collectstatic --no-input --verbosity 0 \
 && /opt/venv/bin/python -m compileall -q aurora cases agents realtime

FROM python:3.11-slim
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    AURORA_ENV=production \
    AURORA_HOST=0.0.0.0 \
    AURORA_DATA_DIR=/var/lib/aurora \
    AURORA_EVIDENCE_DIR=/var/lib/evidence
RUN groupadd --gid 10001 aurora \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/aurora --shell /usr/sbin/nologin aurora \
 && install --directory --owner=aurora --group=aurora --mode=0700 /var/lib/aurora /var/lib/evidence
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
WORKDIR /app
USER 10001:10001
VOLUME /var/lib/aurora /var/lib/evidence
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --retries=3 CMD ["python", "-m", "aurora.observability.probe", "web"]
CMD ["python", "manage.py", "serve"]
