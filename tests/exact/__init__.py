"""Tests of exact_torch over whole programs: the corpus, the runner, the matrix, real models."""
