from time import sleep

from serving.stopwatch import Stopwatch


def test_a_stage_within_another_is_taken_off_the_outer_one():
    watch = Stopwatch()
    with watch.stage("outer"):
        sleep(0.01)
        for _ in range(2):
            assert watch.timed("inner", lambda wait, *, more: sleep(wait) or more)(0.03, more=7) == 7
    sleep(0.02)
    read = watch.read()
    assert list(read) == ["inner", "outer", "total"]
    assert read["inner"] >= 60
    assert 10 <= read["outer"] < read["inner"]
    assert read["total"] >= read["inner"] + read["outer"] + 20
