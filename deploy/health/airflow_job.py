"""Exit 0 if this container's Airflow job has a recent heartbeat: ``airflow_job.py JOB_TYPE``.

The same question as ``airflow jobs check --local``, without the seconds of processor time that starting
Airflow's command line takes.
"""

import socket
import sys

import psycopg2

RECENT_S = 60

with (
    psycopg2.connect(
        "host=postgres dbname=airflow user=airflow passfile=/run/secrets/postgres_airflow connect_timeout=5"
    ) as database,
    database.cursor() as cursor,
):
    cursor.execute(
        "SELECT count(*) FROM job WHERE job_type = %s AND hostname = %s AND state = 'running'"
        " AND latest_heartbeat > now() - make_interval(secs => %s)",
        (sys.argv[1], socket.getfqdn(), RECENT_S),
    )
    sys.exit(cursor.fetchone() == (0,))
