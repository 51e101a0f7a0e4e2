"""
What holds for every test run, however it was started.

How many random cases Hypothesis tries: few and the same ones in `make test`, many and new ones in the longer targets. And that Ctrl-C
reaches the processes that tests start: whoever runs the tests in the background of a shell has it ignored, and they would inherit that.
"""

import os
import signal

from hypothesis import HealthCheck, settings

# How long a case takes says something of the machine and what else it does, not of us.
settings.register_profile("any", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("test", settings.get_profile("any"), max_examples=100, derandomize=True)
settings.register_profile("fuzz", settings.get_profile("any"), max_examples=2_000)
settings.register_profile("reliability", settings.get_profile("any"), max_examples=1_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "test"))

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
