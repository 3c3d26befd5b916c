# The stack's three images. Each holds what its requirements/*.in names, in the versions and hashes of requirements.txt:
#   docker build --target api --tag wine-quality-api .

FROM python:3.11-slim-bookworm AS base
ENV HOME=/tmp \
    LANG=C.UTF-8 \
    PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin wine
WORKDIR /app

FROM base AS builder
ENV UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1 \
    VIRTUAL_ENV=/opt/venv
COPY requirements.txt ./
RUN python -m venv --without-pip /opt/venv \
    && sed -n '/^uv==/,/[^\\]$/p' requirements.txt > uv.txt \
    && pip install --no-cache-dir --require-hashes -r uv.txt
COPY requirements requirements

# --- The prediction service
FROM builder AS api-packages
RUN uv pip install --no-build -r requirements/api.in -c requirements.txt \
    && rm -r /opt/venv/lib/python3.11/site-packages/onnx/backend/test \
    && find /opt/venv -type d -name tests -prune -exec rm -r {} +

# It writes to /var/lib/wine (the last good release) and /tmp
FROM base AS api
COPY --from=api-packages /opt/venv /opt/venv
COPY src src
RUN install --directory --owner=wine --group=wine /var/lib/wine
ENV API_CACHE=/var/lib/wine
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/liveness', timeout=4)"]
CMD ["python", "-m", "src.api", "--host", "0.0.0.0", "--port", "8000"]

# --- The page
FROM builder AS front-packages
RUN uv pip install --no-build -r requirements/front.in -c requirements.txt \
    && find /opt/venv -type d -name tests -prune -exec rm -r {} +

# It writes to /tmp alone
FROM base AS front
COPY --from=front-packages /opt/venv /opt/venv
COPY .streamlit .streamlit
COPY front front
USER 10001:10001
EXPOSE 8501
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8501/_stcore/health', timeout=4)"]
CMD ["streamlit", "run", "./front/front.py", "--server.address", "0.0.0.0", "--server.port", "8501", \
     "--server.fileWatcherType", "none"]

# --- Airflow's parts, and the code that its tasks call
FROM builder AS pipeline-packages
# antlr4-python3-runtime has no wheel; it is plain Python
RUN uv pip install --only-binary :all: --no-binary antlr4-python3-runtime -r requirements/pipeline.in -c requirements.txt

# They write to /opt/airflow and /tmp; without a command of its own, a container is a Celery worker
FROM base AS pipeline
COPY --from=pipeline-packages /opt/venv /opt/venv
COPY assets/bootstrap assets/bootstrap
COPY workers workers
COPY dags dags
COPY src src
COPY airflow_local_settings.py data.dvc ./
RUN install --directory --owner=wine --group=wine /opt/airflow
ARG GIT_COMMIT=unknown
ENV AIRFLOW_HOME=/opt/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/app/dags \
    AIRFLOW__CORE__LOAD_EXAMPLES=False \
    GIT_COMMIT=$GIT_COMMIT
USER 10001:10001
HEALTHCHECK --interval=30s --timeout=20s --start-period=60s \
    CMD ["sh", "-c", "BROKER_URL=$AIRFLOW__CELERY__BROKER_URL celery inspect ping -d celery@$(hostname) -t 10"]
CMD ["airflow", "celery", "worker"]
