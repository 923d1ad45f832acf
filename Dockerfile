FROM python:3.12-slim AS build
WORKDIR /build
COPY requirements/base.txt requirements/base.txt
RUN python -m venv /app && /app/bin/pip install --no-cache-dir --require-hashes -r requirements/base.txt
COPY pyproject.toml README.md LICENSE ./
COPY multitenant multitenant
RUN /app/bin/pip install --no-cache-dir --no-deps .

FROM python:3.12-slim
# Nothing that the application does needs to write to the image.
RUN useradd --system --uid 10001 --home-dir /srv --no-create-home multitenant
COPY --from=build /app /app
COPY wsgi.py gunicorn.conf.py /srv/
ENV PATH=/app/bin:$PATH HOST=0.0.0.0 PORT=5000 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /srv
USER multitenant
EXPOSE 5000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/readyz', timeout=2)"]
CMD ["multitenant", "run"]
