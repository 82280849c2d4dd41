"""A team's stores on this machine: PostgreSQL and an S3 server as plain processes (``tinygptv team``, docs/team.md)."""
