"""Settings of Airflow's login pages (Flask AppBuilder reads this file)."""

# Airflow and MLflow share one host name behind the proxy, and cookies do not know about ports.
SESSION_COOKIE_NAME = "airflow_session"
SESSION_COOKIE_SECURE = True
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
WTF_CSRF_ENABLED = True
AUTH_RATE_LIMITED = True
AUTH_RATE_LIMIT = "10 per 40 second"
RATELIMIT_STORAGE_URI = "memory://"
