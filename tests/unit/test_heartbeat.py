"""Liveness and backoff by given times."""

import pytest

from glet.wire.heartbeat import Backoff, Liveness


def test_a_peer_lives_while_it_is_heard() -> None:
    peers: Liveness[str] = Liveness(dead_after_s=2.0)
    assert not peers.alive("a", 0.0)
    peers.heard("a", 10.0)
    assert peers.alive("a", 12.0)
    assert not peers.alive("a", 12.1)
    peers.heard("a", 12.1)
    assert peers.alive("a", 12.1)


def test_the_silent_are_known_peers_longest_first() -> None:
    peers: Liveness[str] = Liveness(dead_after_s=1.0)
    for name, heard_s in (("late", 3.0), ("later", 1.0), ("alive", 9.5)):
        peers.heard(name, heard_s)
    assert peers.silent(10.0) == ["later", "late"]
    peers.forget("later")
    peers.forget("never known")
    assert peers.silent(10.0) == ["late"]


def test_time_does_not_go_back() -> None:
    peers: Liveness[str] = Liveness(dead_after_s=1.0)
    peers.heard("a", 5.0)
    peers.heard("a", 1.0)
    assert peers.alive("a", 5.5)


def test_backoff_starts_at_once_and_doubles_up_to_its_cap() -> None:
    backoff = Backoff(first_s=0.5, most_s=10.0, stable_s=5.0)
    delays = []
    for now_s in range(8):
        backoff.began()
        backoff.serves(float(now_s))
        delays.append(backoff.died(float(now_s)) - now_s)
    assert delays == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


def test_who_served_for_a_while_is_started_at_once() -> None:
    backoff = Backoff(first_s=0.5, stable_s=5.0)
    for now_s in (0.0, 1.0):
        backoff.began()
        backoff.died(now_s)
    backoff.began()
    backoff.serves(2.0)
    assert backoff.died(7.0) == 7.0
    backoff.began()
    backoff.serves(7.5)
    assert backoff.died(12.4) == pytest.approx(12.9)


def test_who_dies_before_it_serves_waits_however_long_it_took() -> None:
    backoff = Backoff(first_s=0.5, stable_s=5.0)
    delays = []
    for number in range(4):
        backoff.began()
        died_s = 60.0 * (number + 1)
        delays.append(backoff.died(died_s) - died_s)
    assert delays == [0.0, 0.5, 1.0, 2.0]


def test_what_it_served_before_does_not_count_for_what_it_serves_now() -> None:
    backoff = Backoff(first_s=0.5, stable_s=5.0)
    backoff.died(0.0)
    backoff.serves(1.0)
    backoff.began()
    assert backoff.died(60.0) == 60.5
    backoff.serves(61.0)
    backoff.began()
    backoff.serves(90.0)
    assert backoff.died(91.0) == 92.0


def test_who_is_killed_again_and_again_is_started_at_once_if_it_served() -> None:
    backoff = Backoff(first_s=0.5, stable_s=5.0, killed_s=1.0)
    for now_s in (0.0, 10.0, 20.0):
        backoff.began()
        backoff.serves(now_s)
        assert backoff.died(now_s + 1.0, killed=True) == now_s + 1.0
    backoff.began()
    backoff.serves(30.0)
    assert backoff.died(30.5, killed=True) == 31.0
    backoff.began()
    backoff.serves(40.0)
    assert backoff.died(41.0) == 42.0
