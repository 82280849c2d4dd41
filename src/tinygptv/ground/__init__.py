"""What every floor stands on and what knows no model: names, folders, files, errors, locks, signals, processes."""
