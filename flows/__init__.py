"""What runs when: settings, Prefect flows and the command line."""
