# Prometheus with our rules, checked when the image is built. Started by `docker compose --profile observability up`.
FROM python:3.11-slim-bookworm
RUN apt-get update && apt-get install --yes --no-install-recommends prometheus && rm -rf /var/lib/apt/lists/*
COPY deploy/prometheus /etc/aforo
# The secret that the configuration names is not here.
RUN cd /etc/aforo && promtool check config --syntax-only prometheus.yml && promtool check rules alerts.yml && \
    promtool test rules alerts_test.yml
USER 10001:10001
WORKDIR /tmp
ENTRYPOINT ["prometheus", "--config.file=/etc/aforo/prometheus.yml", "--storage.tsdb.path=/data"]
