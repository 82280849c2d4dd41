"""Training: optimizer and schedule, the loop, and resume points."""
