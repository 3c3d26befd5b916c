"""How Airflow's workers start: the pipeline's libraries in memory, whichever executor forks the tasks."""
