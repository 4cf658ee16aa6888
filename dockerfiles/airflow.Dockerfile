# Airflow and our library in one image, in two environments that never meet:
#   /opt/airflow   the scheduler's interpreter: Airflow, and our package without its dependencies
#   /opt/aforo     the tasks' interpreter: our package with every machine-learning library
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS builder
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
RUN --mount=type=cache,target=/root/.cache pip install uv==0.13.8
WORKDIR /build

FROM builder AS airflow
RUN --mount=type=cache,target=/root/.cache \
    --mount=type=bind,source=requirements/airflow.txt,target=requirements.txt \
    uv venv /opt/airflow && uv pip install --python /opt/airflow --requirements requirements.txt

FROM builder AS learning
RUN --mount=type=cache,target=/root/.cache \
    --mount=type=bind,source=requirements/learning.txt,target=requirements.txt \
    uv venv /opt/aforo && uv pip install --python /opt/aforo --requirements requirements.txt

FROM builder AS wheel
RUN --mount=type=cache,target=/root/.cache \
    --mount=type=bind,source=requirements/compiler.txt,target=requirements.txt \
    uv venv /opt/compiler && uv pip install --python /opt/compiler --requirements requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY scripts scripts
COPY services services
RUN --mount=type=cache,target=/root/.cache /opt/compiler/bin/python scripts/compile_kernels.py && \
    uv build --wheel --out-dir /dist

FROM airflow AS airflow-with-us
RUN --mount=type=cache,target=/root/.cache --mount=type=bind,from=wheel,source=/dist,target=/dist \
    uv pip install --python /opt/airflow --no-deps /dist/*.whl

# Some of the shipped use cases read a file that a script of theirs exports from a library.
FROM learning AS learning-with-us
RUN --mount=type=cache,target=/root/.cache --mount=type=bind,from=wheel,source=/dist,target=/dist \
    uv pip install --python /opt/aforo --no-deps /dist/*.whl && \
    for script in /opt/aforo/lib/python3.11/site-packages/use_cases/*/export.py; do \
        /opt/aforo/bin/python "$script" || exit 1; \
    done

FROM ${PYTHON_IMAGE}
ENV PYTHONSAFEPATH=1 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp USER=aforo MPLCONFIGDIR=/tmp/matplotlib \
    AIRFLOW_HOME=/var/lib/airflow PATH=/opt/airflow/bin:$PATH
COPY --link --from=airflow-with-us /opt/airflow /opt/airflow
COPY --link --from=learning-with-us /opt/aforo /opt/aforo
COPY --link airflow/dags /opt/dags
COPY --link requirements/learning.txt /opt/aforo/requirements.txt
COPY --link deploy/prepare /opt/deploy/prepare
COPY --link deploy/health /opt/deploy/health
RUN mkdir -p /var/lib/airflow /var/log/airflow && chmod 1777 /var/lib/airflow /var/log/airflow
USER 10001:10001
WORKDIR /var/lib/airflow
# What runs and versions say they were made by. Last, because it changes with every commit.
ARG AFORO_CODE_COMMIT=""
ENV AFORO_CODE_COMMIT=$AFORO_CODE_COMMIT
LABEL org.opencontainers.image.revision=$AFORO_CODE_COMMIT
