"""Coverage-guided fuzzing of every decoder: `targets.py` says what must hold, `__main__.py` runs it, `corpus/` is kept.

The targets and the corpus need no atheris: tests/unit/test_fuzz_corpus.py replays them in every test run.
"""
