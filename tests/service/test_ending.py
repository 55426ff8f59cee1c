"""A service that is told to end by whoever started it in a terminal."""

import os
import signal
import subprocess
import sys

from congrad.local.redis_server import free_port


def test_ctrl_c_ends_it_without_a_traceback(redis_url: str) -> None:
    environment = os.environ | {"CONGRAD_REDIS_URL": redis_url, "CONGRAD_PORT": str(free_port())}
    command = [sys.executable, "-m", "congrad_service"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if "Uvicorn running" in line:
                    break
            process.send_signal(signal.SIGINT)
            _, rest = process.communicate(timeout=30)
        finally:
            process.kill()
    assert "Traceback" not in rest, rest
    assert process.returncode == 128 + signal.SIGINT
