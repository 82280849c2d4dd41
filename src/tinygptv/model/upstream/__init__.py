"""Published backbones: pinned by revision and SHA-256, fetched from the hub or a folder, turned into our weights.

  pins.py      the lock file, ``configs/backbones.lock.json``
  resolve.py   fills it in, once, on a machine with network: ``python -m tinygptv.model.upstream lock``
  fetch.py     gets the pinned files, or says which to put where
  build.py     makes of them what the step ``backbones`` writes

docs/backbones.md is for users.
"""
