"""What processes of one training ask together; tests/e2e/test_online.py launches two."""

from types import SimpleNamespace
from typing import Any

import pytest
from accelerate.utils import DistributedType
from congrad.integrations.trl.processes import once


@pytest.mark.parametrize("is_main_process", [True, False])
def test_processes_that_cannot_talk_are_told_what_they_lack(is_main_process: bool) -> None:
    accelerator: Any = SimpleNamespace(
        is_main_process=is_main_process, num_processes=2, distributed_type=DistributedType.NO
    )
    with pytest.raises(ValueError, match=r"2 processes of which each would train alone.*use_cpu=True"):
        once(accelerator, lambda: 1)
