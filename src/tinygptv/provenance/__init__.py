"""Proofs of where results come from: reruns, comparisons of runs, chains of origin. No step's result depends on it."""
