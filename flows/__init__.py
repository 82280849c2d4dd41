"""When and in what order the steps run: thin wiring around DVC, shown by Prefect. No machine learning in here."""
