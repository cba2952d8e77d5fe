"""The tests mirror the package; a busy machine is no reason for a property test to fail."""

from hypothesis import settings

settings.register_profile('patient', deadline=None)
settings.load_profile('patient')
