"""Hypothesis without deadlines: machines here are slow at times, and time is never what a test is about."""

from hypothesis import HealthCheck, settings

settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("default")
