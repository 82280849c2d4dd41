"""What does not lie on this machine: buckets, DVC's remotes and the hub. Fetched from there, and put there.

Importing this package is cheap: DVC and huggingface_hub are imported by the functions that need them.
"""
