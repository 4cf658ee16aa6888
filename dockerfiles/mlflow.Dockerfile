# The MLflow server; also runs the one-shots that prepare databases, buckets and accounts, and the metrics exporter.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS builder
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
RUN --mount=type=cache,target=/root/.cache pip install uv==0.13.8
RUN --mount=type=cache,target=/root/.cache \
    --mount=type=bind,source=requirements/mlflow.txt,target=requirements.txt \
    uv venv /opt/mlflow && uv pip install --python /opt/mlflow --requirements requirements.txt

FROM ${PYTHON_IMAGE}
ENV PYTHONSAFEPATH=1 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp USER=aforo GIT_PYTHON_REFRESH=quiet PATH=/opt/mlflow/bin:$PATH
COPY --link --from=builder /opt/mlflow /opt/mlflow
COPY --link --chmod=755 mlflow/start_server.sh /opt/start_server.sh
COPY --link deploy/prepare /opt/deploy/prepare
COPY --link deploy/health /opt/deploy/health
COPY --link deploy/metrics /opt/deploy/metrics
USER 10001:10001
WORKDIR /tmp
CMD ["/opt/start_server.sh"]
