FROM python:3.12-slim AS build
WORKDIR /build
COPY requirements/base.txt requirements/build.txt requirements/
RUN python -m venv /app && /app/bin/pip install --no-cache-dir --require-hashes -r requirements/base.txt
# What builds the package comes with hashes, too, and stays out of the image.
RUN python -m venv /builder && /builder/bin/pip install --no-cache-dir --require-hashes -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY multitenant multitenant
RUN /builder/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /app/bin/pip install --no-cache-dir --no-deps --no-index /wheels/*.whl

FROM python:3.12-slim
# The application writes to nothing but INSTANCE_PATH, and backups where an operator says.
RUN useradd --system --uid 10001 --user-group --home-dir /srv --no-create-home multitenant \
    && install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/multitenant /backups
COPY --from=build /app /app
COPY wsgi.py gunicorn.conf.py deploy/healthcheck.py /srv/
ENV PATH=/app/bin:$PATH HOST=0.0.0.0 PORT=5000 INSTANCE_PATH=/var/lib/multitenant \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /srv
# By number, so that Kubernetes can see that it is not root (runAsNonRoot).
USER 10001:10001
VOLUME ["/var/lib/multitenant"]
EXPOSE 5000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD ["python", "/srv/healthcheck.py"]
CMD ["multitenant", "run"]
