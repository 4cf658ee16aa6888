# The prediction API. It holds no training library: models arrive as ONNX graphs.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS builder
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
RUN --mount=type=cache,target=/root/.cache pip install uv==0.13.8
WORKDIR /build
RUN --mount=type=cache,target=/root/.cache \
    --mount=type=bind,source=requirements/serving.txt,target=requirements.txt \
    uv venv /opt/aforo && uv pip install --python /opt/aforo --requirements requirements.txt && \
    # What these libraries carry for their own developers, and no server ever imports.
    find /opt/aforo -type d -name tests -prune -exec rm -r {} + && \
    rm -r /opt/aforo/lib/python3.11/site-packages/onnxruntime/transformers
RUN --mount=type=cache,target=/root/.cache \
    --mount=type=bind,source=requirements/compiler.txt,target=requirements.txt \
    uv venv /opt/compiler && uv pip install --python /opt/compiler --requirements requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY scripts scripts
COPY services services
RUN --mount=type=cache,target=/root/.cache /opt/compiler/bin/python scripts/compile_kernels.py && \
    uv build --wheel --out-dir /dist && uv pip install --python /opt/aforo --no-deps /dist/*.whl

FROM ${PYTHON_IMAGE}
ENV PYTHONSAFEPATH=1 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp USER=aforo GIT_PYTHON_REFRESH=quiet PATH=/opt/aforo/bin:$PATH
COPY --link --from=builder /opt/aforo /opt/aforo
COPY --link deploy/health /opt/deploy/health
USER 10001:10001
WORKDIR /tmp
CMD ["python", "-m", "prediction_api"]
