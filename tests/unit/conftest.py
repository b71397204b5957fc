"""Settings of the property tests."""

from hypothesis import settings

# Another process may hold an example up; each test has a time limit of its own (tests/conftest.py).
settings.register_profile("rpod", deadline=None)
settings.load_profile("rpod")
