"""The same runs on a Ray cluster of several nodes (in one machine): the same bytes, also when a node dies."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow")
pytest.importorskip("duckdb")
ray = pytest.importorskip("ray")

from qwenvl.data.clean.recipe import load_clean_recipe  # noqa: E402
from qwenvl.data.clean.run import clean  # noqa: E402
from qwenvl.data.engine import run  # noqa: E402
from tests.data.clean.crawl import SLOW, tree, write_recipe, write_tars  # noqa: E402
from tests.data.engine import jobs  # noqa: E402

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without cores, which can't be killed, and two nodes of one core each."""
    from ray.cluster_utils import Cluster

    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = f"{ROOT}/src:{ROOT}"
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        made.add_node(num_cpus=1)
    ray.init(address=made.address, log_to_driver=False, logging_level="error")
    yield made
    ray.shutdown()
    made.shutdown()
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


def test_units_that_fail_or_kill_their_worker_are_tried_again(tmp_path: Path, cluster: Any) -> None:
    units = [tmp_path / f"{number}.done" for number in range(8)]
    found = run(units, jobs.flaky, jobs.done, engine="ray", quiet=True)
    assert (found.done, found.amount, found.failed) == (8, 80, ())
    bad = [tmp_path / "bad" / f"{number}.done" for number in (3, 4)]
    (tmp_path / "bad").mkdir()
    failed = run(bad, jobs.hopeless, jobs.done, engine="ray", retries=0, quiet=True).failed
    assert [(failure.unit, failure.why) for failure in failed] == [(bad[0], "RuntimeError: Local: of no known kind")]


def test_a_cluster_gives_the_bytes_of_one_machine_also_when_a_node_dies(tmp_path: Path, cluster: Any) -> None:
    source, recipe = write_tars(tmp_path / "set", 5, 40), load_clean_recipe(write_recipe(tmp_path, SLOW))
    clean(str(source), tmp_path / "one", recipe, workers=2, quiet=True)
    out = tmp_path / "many"
    lost = cluster.add_node(num_cpus=1)

    def lose() -> None:
        while not list(out.glob("pass1/*.draft")):
            time.sleep(0.02)
        cluster.remove_node(lost, allow_graceful=False)

    thief = threading.Thread(target=lose)
    thief.start()
    found = clean(str(source), out, recipe, engine="ray", quiet=True)
    thief.join()
    assert found.read == 200
    assert tree(out) == tree(tmp_path / "one")
