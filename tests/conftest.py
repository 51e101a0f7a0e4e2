"""
What holds for every test run, however it was started.

How many random cases Hypothesis tries: few and the same ones in `make test`, many and new ones in the longer targets. And that Ctrl-C
reaches the processes that tests start: whoever runs the tests in the background of a shell has it ignored, and they would inherit that.
"""

import os
import signal

from hypothesis import HealthCheck, settings

settings.register_profile("test", max_examples=100, deadline=None, derandomize=True)
settings.register_profile(
    "fuzz", max_examples=2_000, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "reliability", max_examples=1_000, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "test"))

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
