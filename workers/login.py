"""The first account of an Airflow that several people log in to: ``python -m workers.login``.

``AIRFLOW_USER`` is an admin, with the password of ``AIRFLOW_PASSWORD``, whatever it was before; that account makes the
others in Airflow's pages. The password comes by the environment: ``airflow users`` shows it among its arguments.
"""

import os
import sys


def main() -> None:
    """Make the account, or give it its password."""
    from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder

    name, password = os.environ["AIRFLOW_USER"], os.environ["AIRFLOW_PASSWORD"]
    with get_application_builder() as builder:
        users = builder.sm
        user = users.find_user(name)
        if user:
            done = users.reset_password(user.id, password)
        else:
            done = users.add_user(name, name, "", f"{name}@localhost", users.find_role("Admin"), password)
        if not done:
            sys.exit(f"Airflow does not take the login of {name}; see its log above")
    print(f"Airflow: {name} may log in")


if __name__ == "__main__":
    main()
