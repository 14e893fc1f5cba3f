"""What a run that follows frees goes back to the system, as a process of its own sees it."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

HELD = """
import sys
import numpy as np, psutil
from beam_grid.service.memory import give_back
if sys.argv[1] == "gives back":
    give_back()
MIB = 1 << 20
rss = psutil.Process().memory_info
np.ones(1000).sum()
before = rss().rss
for _ in range(3):
    np.ones(3 * MIB)  # 24 MiB, made and freed
print((rss().rss - before) // MIB)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_a_large_block_is_the_systems_again_once_it_is_freed() -> None:
    def held(how: str) -> int:
        done = subprocess.run([sys.executable, "-c", HELD, how], capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert held("gives back") <= 3
    assert held("keeps") >= 8, "else this test shows nothing"
