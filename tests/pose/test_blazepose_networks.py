"""Threads that BlazePose's networks share."""

import threading

import pytest

from aa_jax.pose.blazepose_networks import Networks


def test_work_that_is_begun_leaves_half_of_the_threads():
    networks, going, gone = Networks(4), threading.Event(), threading.Event()

    def hand():
        share = networks.share()
        going.wait(10)
        return share

    assert networks.share() == 4
    begun = networks.begin(hand)
    assert networks.share() == 2
    begun.add_done_callback(lambda _: gone.set())
    going.set()
    assert begun.result(10) == 1
    assert gone.wait(10)
    assert networks.share() == 4


def test_spreading_within_the_pool_does_not_wait_for_it():
    networks = Networks(2)

    def hand(number):
        return networks.spread(lambda part: (number, part), range(3))

    begun = [networks.begin(hand, number) for number in range(8)]
    assert [each.result(10) for each in begun] == [[(n, k) for k in range(3)] for n in range(8)]


def test_one_thread_is_the_callers():
    networks = Networks(1)
    assert networks.begin(threading.get_ident).result(0) == threading.get_ident()
    assert networks.spread(lambda _: threading.get_ident(), range(2)) == [threading.get_ident()] * 2
    with pytest.raises(ZeroDivisionError):
        networks.begin(lambda: 1 / 0)
