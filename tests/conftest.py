"""Settings of all tests."""

from hypothesis import settings

# Machines differ, and a slow one is no failure.
settings.register_profile("fabric", deadline=None)
settings.load_profile("fabric")
