#!/bin/sh
# Starts the MLflow server of the platform. Addresses come from docker-compose.yaml, secrets from files.
set -eu

# The database password is in the file that `passfile` names, the store's key in AWS_SHARED_CREDENTIALS_FILE.
database="postgresql+psycopg2://mlflow@postgres/mlflow?passfile=/run/secrets/postgres_mlflow"
accounts="postgresql+psycopg2://mlflow_auth@postgres/mlflow_auth?passfile=/run/secrets/postgres_mlflow_auth"

# The accounts themselves are made by deploy/prepare/mlflow_accounts.py, before this server starts.
cat >/tmp/basic_auth.ini <<INI
[mlflow]
default_permission = READ
database_uri = $accounts
admin_username = admin
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 30
INI
export MLFLOW_AUTH_CONFIG_PATH=/tmp/basic_auth.ini

# Signs nothing but the form of /signup, which the proxy does not publish: new at every start, kept nowhere.
MLFLOW_FLASK_SERVER_SECRET_KEY=$(head -c 32 /dev/urandom | od -An -vtx1 | tr -d ' \n')
export MLFLOW_FLASK_SERVER_SECRET_KEY

exec mlflow server \
    --host 0.0.0.0 --port 5000 --workers 1 \
    --app-name basic-auth \
    --allowed-hosts "$AFORO_MLFLOW_ALLOWED_HOSTS" \
    --backend-store-uri "$database" \
    --serve-artifacts --artifacts-destination "s3://models"
