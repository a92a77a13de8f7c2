import os
import signal
import time

import pytest

from aa_jax.data.preparation.pool import run_all


def double(item):
    """The work of these tests: some items kill their process, as a crashing decoder does."""
    time.sleep(0.01)
    if item == "killer":
        os.kill(os.getpid(), signal.SIGKILL)
    return item * 2


@pytest.mark.parametrize("workers", [0, 2])
def test_every_item_gets_its_own_result(workers):
    found = dict(run_all(double, list(range(5)), workers=workers, on_crash=str))
    assert found == {i: 2 * i for i in range(5)}


def test_a_dying_process_takes_no_other_item_with_it():
    items = [0, "killer", 1, 2, "killer", 3]
    found = dict(run_all(double, items, workers=2, on_crash=lambda item: f"{item} crashed"))
    assert found == {
        0: 0,
        1: "killer crashed",
        2: 2,
        3: 4,
        4: "killer crashed",
        5: 6,
    }
