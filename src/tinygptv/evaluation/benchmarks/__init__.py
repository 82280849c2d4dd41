"""Benchmarks, a module each: which records are asked, under which names, and how questions are told apart."""
