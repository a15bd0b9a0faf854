"""Durations and calendars as the network sees them."""

import datetime

import torch

from recsys.encodings import CALENDAR_WIDTH, NUM_BUCKETS, calendar_waves, duration_bucket


def seconds(text):
    return int(datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC).timestamp())


def test_buckets_ascend_and_tell_a_second_from_a_minute_from_a_day():
    durations = torch.tensor([-5, 0, 1, 2, 60, 3600, 86_400, 30 * 86_400, 2**62])
    buckets = duration_bucket(durations).tolist()
    assert buckets[:2] == [0, 0]
    assert buckets == sorted(buckets)
    assert len(set(buckets)) == len(buckets) - 1
    assert buckets[-1] == NUM_BUCKETS - 1


def test_the_same_hour_and_weekday_a_week_later_look_alike_but_for_the_season():
    waves = calendar_waves(torch.tensor([seconds("2026-03-02T08:00"), seconds("2026-03-09T08:00")]))
    assert waves.shape == (2, CALENDAR_WIDTH)
    assert torch.allclose(waves[0, :12], waves[1, :12], atol=1e-5)  # day and week, three waves each
    assert not torch.allclose(waves[0, 12:], waves[1, 12:], atol=1e-3)


def test_an_hour_is_told_apart_today_as_in_1970():
    # float32 holds today's unix time only to 128 seconds; the remainder must be taken before.
    for day in (0, 20_000):
        start = day * 86_400
        minute = calendar_waves(torch.tensor([start, start + 60]))
        assert torch.linalg.norm(minute[0, :6] - minute[1, :6]).item() > 1e-3


def test_the_first_wave_of_the_day_by_hand():
    six = calendar_waves(torch.tensor(seconds("2026-01-05T06:00")))  # a quarter of the turn: sin 1, cos 0
    assert torch.allclose(six[:2], torch.tensor([1.0, 0.0]), atol=1e-6)
