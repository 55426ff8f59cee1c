"""Settings that all tests need, before torch is imported anywhere."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Several processes run tests, and tests start further ones: threads, and more so those that spin, fight for the same
# cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
for name in [name for name in os.environ if name.startswith("CONGRAD_") and name != "CONGRAD_SHARED"]:
    del os.environ[name]

pytest_plugins = ["support.distribution", "support.fixtures"]
