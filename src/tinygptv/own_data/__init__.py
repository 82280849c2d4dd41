"""A user's own data: what it is, whether it can be trained on, and a profile that trains on it (docs/own_data.md)."""
