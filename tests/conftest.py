"""Settings that all tests need, before torch is imported anywhere."""

import gc
import os
import signal

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Several processes run tests, and tests start further ones: threads, and more so those that spin, fight for the same
# cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
for name in [name for name in os.environ if name.startswith("CONGRAD_") and name != "CONGRAD_SHARED"]:
    del os.environ[name]

# A script that runs them beside something else has Ctrl-C ignored, and so has all that tests start and then interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# To collect tests is to import torch, transformers and TRL: a million objects that stay. Python's collector would look
# through them again and again, which takes a fifth of the time, and later whenever a test has made many of its own.
gc.disable()


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """Has it look from now on, at what comes after."""
    gc.freeze()
    gc.enable()


def pytest_configure(config: pytest.Config) -> None:
    """Fixtures are of the processes that run tests: what sends these out would import torch, and they would wait."""
    if config.getoption("dist", "no") == "no" or hasattr(config, "workerinput"):
        for plugin in ("support.distribution", "support.fixtures"):
            config.pluginmanager.import_plugin(plugin)
