"""Two ranks on two hosts, each with a network of its own: namespaces, joined by a virtual cable."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.equality import CASES, assert_equals_one_process, load_results
from tests.support.ranks import needs_ranks

pytestmark = needs_ranks

RANK = (
    "import sys; from tests.support.equality import run_all; "
    "run_all(int(sys.argv[1]), 2, sys.argv[3:], sys.argv[2], 'tcp://10.213.7.1:29477')"
)
NAMES = [name for name in CASES if name.endswith(("batch", "cumulative"))]


@pytest.fixture
def hosts() -> Iterator[list[str]]:
    """Names of two network namespaces with the addresses 10.213.7.1 and 10.213.7.2."""
    if shutil.which("ip") is None:
        pytest.skip("needs the command `ip` of iproute2")
    names = [f"supercm-{os.getpid()}-{number}" for number in (1, 2)]
    cable = [f"sc{os.getpid()}-{number}" for number in (1, 2)]
    try:
        for name in names:
            _ip("netns", "add", name)
        ends = [part for end in zip(cable, names, strict=True) for part in end]
        _ip("link", "add", ends[0], "netns", ends[1], "type", "veth", *_peer(*ends[2:]))
        for number, (name, end) in enumerate(zip(names, cable, strict=True), start=1):
            _ip("-n", name, "address", "add", f"10.213.7.{number}/24", "dev", end)
            _ip("-n", name, "link", "set", end, "up")
            _ip("-n", name, "link", "set", "lo", "up")
        yield names
    except _NotPermittedError as error:
        pytest.skip(f"needs the right to make network namespaces: {error}")
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def test_two_hosts_equal_one_process(hosts: list[str], tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    ranks = [
        subprocess.Popen(
            ["ip", "netns", "exec", host, sys.executable, "-c", RANK, str(rank), tmp_path, *NAMES],
            env={**os.environ, "GLOO_SOCKET_IFNAME": f"sc{os.getpid()}-{rank + 1}"},
            cwd=root,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, host in enumerate(hosts)
    ]
    try:
        for process in ranks:
            _, errors = process.communicate(timeout=240)
            assert process.returncode == 0, errors
    finally:
        for process in ranks:
            process.kill()
            process.wait()
    for name in NAMES:
        assert_equals_one_process(name, load_results(tmp_path, 2))


class _NotPermittedError(Exception):
    pass


def _peer(end: str, name: str) -> list[str]:
    return ["peer", "name", end, "netns", name]


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise _NotPermittedError(done.stderr.strip())
