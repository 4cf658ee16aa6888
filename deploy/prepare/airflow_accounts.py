"""Make Airflow's accounts: an administrator, and a viewer who can look at everything and start nothing.

Runs after the migration, as often as wanted: passwords become those in the secret files.
"""

from __future__ import annotations

from pathlib import Path

from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder
from werkzeug.security import check_password_hash

SECRETS = Path("/run/secrets")
USERS = {"admin": "Admin", "viewer": "Viewer"}


def main() -> None:
    with get_application_builder() as builder:
        manager = builder.sm
        manager.sync_roles()
        for name, role in USERS.items():
            password = (SECRETS / f"airflow_{name}_password").read_text(encoding="utf-8").strip()
            user = manager.find_user(username=name)
            if user is None:
                made = manager.add_user(name, name, "of Aforo", f"{name}@localhost", manager.find_role(role), password)
                if not made:
                    raise SystemExit(f"Airflow did not take the account {name!r}; its log is above")
            elif not check_password_hash(user.password, password):
                manager.reset_password(user.id, password)
    print(f"airflow ready: {', '.join(USERS)}")


if __name__ == "__main__":
    main()
