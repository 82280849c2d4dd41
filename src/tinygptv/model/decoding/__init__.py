"""Answers token by token: ``decoder`` is the loop, ``slots`` hold keys, values and place, ``step`` is what compiles.

Importing this package is cheap.
"""
