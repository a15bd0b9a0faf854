"""One bundle takes over from another while requests are being answered; two run side by side."""

import dataclasses
import shutil
import threading
import time
from itertools import pairwise

import pytest
from fastapi.testclient import TestClient

from recsys.errors import InputError
from serving.app import create_app
from serving.opening import open_service
from serving.schemas import RecommendRequest
from serving.settings import ServerSettings, Settings, SwapSettings, TrialSettings
from serving.trial import Trial
from serving.variant import NotReadyError, SwapRefusedError, Variant
from serving.watch import stamp

ASK = {"user_id": "顾客3", "k": 5, "requested_at": 1_703_000_000}


@pytest.fixture(scope="module")
def other(other_shop):
    return open_service(other_shop)


def opened(load, **options):
    client = TestClient(create_app(load, **options), raise_server_exceptions=False)
    client.__enter__()
    while client.get("/readyz").status_code != 200:
        time.sleep(0.005)
    return client


class Shelf:
    """Gives one service after another; an exception among them is raised."""

    def __init__(self, *services):
        self._services = iter(services)

    def __call__(self):
        service = next(self._services)
        if isinstance(service, Exception):
            raise service
        return service


def test_reload_and_rollback(service, other):
    client = opened(Shelf(service, other))
    first, second = service.bundle.fingerprint, other.bundle.fingerprint
    assert first != second
    assert client.post("/v1/recommend", json=ASK).json()["model"] == first
    assert client.post("/v1/admin/reload").json() == {"variant": "main", "model": second, "before": first, "items": 40}
    answer = client.post("/v1/recommend", json=ASK).json()
    assert answer["model"] == second
    expected = other.recommend(RecommendRequest(**ASK))
    assert [item["item_id"] for item in answer["items"]] == [item.item_id for item in expected.items]
    assert client.post("/v1/admin/rollback").json()["model"] == first
    assert client.post("/v1/recommend", json=ASK).json()["model"] == first
    assert client.post("/v1/admin/rollback").json()["model"] == second
    told = client.get("/metrics").text
    assert 'recsys_swaps_total{outcome="done"} 3.0' in told
    assert f'recsys_model{{fingerprint="{second[:12]}",runtime="torch",variant="main"}} 1.0' in told
    client.__exit__(None, None, None)


def test_what_is_broken_does_not_take_over_and_says_why(service):
    client = opened(Shelf(service, InputError("runs/films: damaged."), MemoryError("a secret address")))
    for words in ("runs/films: damaged.", "MemoryError"):
        refusal = client.post("/v1/admin/reload")
        assert refusal.status_code == 409
        assert refusal.json()["type"] == "urn:problem-type:recsys:swap-refused"
        assert words in refusal.json()["detail"]
        assert "secret" not in refusal.text
        assert client.post("/v1/recommend", json=ASK).json()["model"] == service.bundle.fingerprint
        assert client.get("/readyz").status_code == 200
    assert 'recsys_swaps_total{outcome="refused"} 2.0' in client.get("/metrics").text
    client.__exit__(None, None, None)


def test_there_is_nothing_to_go_back_to_at_first(service):
    client = opened(lambda: service)
    for path in ("/v1/admin/rollback", "/v1/admin/reload?variant=trial", "/v1/admin/rollback?variant=trial"):
        assert client.post(path).status_code == 409, path
    assert client.post("/v1/admin/reload?variant=other").status_code == 422
    client.__exit__(None, None, None)


def test_a_second_swap_does_not_wait_for_the_first(service):
    loading, go_on = threading.Event(), threading.Event()

    def slow():
        loading.set()
        go_on.wait(timeout=30)
        return service

    variant = Variant("main", slow)
    first = threading.Thread(target=variant.swap)
    first.start()
    assert loading.wait(timeout=30)
    with pytest.raises(NotReadyError, match="being loaded"):
        variant.service()
    with pytest.raises(SwapRefusedError, match="under way"):
        variant.swap()
    go_on.set()
    first.join(timeout=30)
    assert variant.service() is service


def test_swaps_under_load_fail_nobody_and_mix_nothing(service, other):
    """Every answer is whole: its items are those of the bundle it names."""
    expected = {
        one.bundle.fingerprint: {
            user: [item.item_id for item in one.recommend(RecommendRequest(**ask(user))).items] for user in range(12)
        }
        for one in (service, other)
    }
    one_says, other_says = expected.values()
    assert one_says != other_says
    client = opened(Shelf(*[service, other] * 20))
    wrong, seen, stop = [], set(), threading.Event()

    def call(first):
        while not stop.is_set():
            for user in range(first, 12, 4):
                response = client.post("/v1/recommend", json=ask(user))
                answer = response.json()
                items = [item["item_id"] for item in answer.get("items", [])]
                if items and items == expected[answer["model"]][user]:
                    seen.add(answer["model"])
                else:
                    wrong.append(answer)

    callers = [threading.Thread(target=call, args=(first,)) for first in range(4)]
    for caller in callers:
        caller.start()
    for _ in range(30):
        assert client.post("/v1/admin/reload").status_code == 200
        time.sleep(0.02)
    stop.set()
    for caller in callers:
        caller.join(timeout=30)
    assert not wrong
    assert seen == set(expected)
    client.__exit__(None, None, None)


def ask(user):
    return {"user_id": f"顾客{user}", "k": 5, "requested_at": 1_703_000_000}


def test_a_link_that_leads_elsewhere_is_noticed(shop, other_shop, tmp_path):
    link = tmp_path / "current"
    link.symlink_to(shop)
    settings = Settings(server=ServerSettings(bundle=link), swap=SwapSettings(watch_s=0.05))
    client = opened(lambda: open_service(link.resolve()), settings=settings)
    before = client.post("/v1/recommend", json=ASK).json()["model"]

    broken = shutil.copytree(shop, tmp_path / "broken")
    (broken / "item_vectors.npy").write_bytes(b"")
    point(link, broken)
    wait_for(lambda: 'outcome="refused"} 1.0' in client.get("/metrics").text)
    assert client.post("/v1/recommend", json=ASK).json()["model"] == before
    time.sleep(0.2)
    assert 'outcome="refused"} 1.0' in client.get("/metrics").text  # it is not tried again and again

    point(link, other_shop)
    wait_for(lambda: client.post("/v1/recommend", json=ASK).json()["model"] != before)
    client.__exit__(None, None, None)


def point(link, place):
    fresh = link.with_name("fresh")
    fresh.symlink_to(place)
    fresh.replace(link)


def wait_for(what):
    for _ in range(600):
        if what():
            return
        time.sleep(0.02)
    raise AssertionError("it never happened")


def test_stamps(shop, tmp_path):
    assert stamp(tmp_path) is None
    assert stamp(shop) == stamp(shop)
    copy = shutil.copytree(shop, tmp_path / "copy")
    before = stamp(copy)
    assert before not in (None, stamp(shop))
    text = (copy / "manifest.json").read_text()
    (copy / "manifest.json").unlink()
    assert stamp(copy) is None
    (copy / "manifest.json").write_text(text)
    assert stamp(copy) != before


def trial_of(share, *, salt=b"salt", shadow=False):
    return Trial(variant=Variant("trial", lambda: None), share=share, salt=salt, shadow=shadow)


def test_the_share_is_kept_and_every_user_stays_where_they_are():
    users = [f"顾客{number}" for number in range(4_000)]
    taken = {user for user in users if trial_of(0.3).takes(user)}
    assert len(taken) == pytest.approx(1_200, abs=120)  # four standard deviations
    assert taken == {user for user in users if trial_of(0.3).takes(user)}
    shares = [{user for user in users if trial_of(share).takes(user)} for share in (0.0, 0.1, 0.3, 1.0)]
    assert not shares[0]
    assert len(shares[-1]) == 4_000
    assert all(less <= more for less, more in pairwise(shares))  # who is in stays in when the share grows
    other_deal = {user for user in users if trial_of(0.3, salt=b"other").takes(user)}
    assert len(taken & other_deal) == pytest.approx(0.09 * 4_000, abs=80)
    assert not trial_of(1.0).takes(None)


def test_each_user_is_answered_by_their_bundle(service, other):
    settings = Settings(trial=TrialSettings(share=0.5))
    client = opened(lambda: service, settings=settings, load_trial=lambda: other)
    wait_for(lambda: 'recsys_index_items{variant="trial"}' in client.get("/metrics").text)
    by_name = {"main": service, "trial": other}
    seen = set()
    for user in range(12):
        answer = client.post("/v1/recommend", json=ask(user)).json()
        seen.add(answer["variant"])
        chosen = by_name[answer["variant"]]
        assert answer["model"] == chosen.bundle.fingerprint
        expected = chosen.recommend(RecommendRequest(**ask(user)))
        assert [item["item_id"] for item in answer["items"]] == [item.item_id for item in expected.items]
        assert client.post("/v1/recommend", json=ask(user)).json()["variant"] == answer["variant"]
    assert seen == {"main", "trial"}
    assert client.post("/v1/recommend", json={}).json()["variant"] == "main"
    told = client.get("/metrics").text
    for variant in by_name:
        assert f'recsys_recommendations_total{{path="personal",variant="{variant}"}}' in told
    client.__exit__(None, None, None)


def test_a_trial_that_cannot_be_loaded_harms_nobody(service):
    settings = Settings(trial=TrialSettings(share=1.0))
    client = opened(lambda: service, settings=settings, load_trial=Shelf(InputError("no trial.")))
    for user in range(3):
        assert client.post("/v1/recommend", json=ask(user)).json()["model"] == service.bundle.fingerprint
    client.__exit__(None, None, None)


def test_the_shadow_is_compared_and_never_shown(service, other):
    settings = Settings(trial=TrialSettings(share=1.0, shadow=True))
    client = opened(lambda: service, settings=settings, load_trial=lambda: other)
    wait_for(lambda: 'recsys_index_items{variant="trial"}' in client.get("/metrics").text)
    for user in range(6):
        assert client.post("/v1/recommend", json=ask(user)).json()["model"] == service.bundle.fingerprint
    client.post("/v1/recommend", json=ask(0))
    wait_for(lambda: "recsys_shadow_overlap_count 7.0" in client.get("/metrics").text)
    told = client.get("/metrics").text
    assert 'recsys_stage_seconds_count{stage="encode",variant="trial"} 7.0' in told
    assert 'recsys_recommendations_total{path="personal",variant="trial"}' not in told
    client.__exit__(None, None, None)


def test_a_failing_shadow_is_nobodys_business(service, other):
    def broken(vectors, k):
        raise ZeroDivisionError

    failing = dataclasses.replace(other, recommender=dataclasses.replace(other.recommender, search=broken))
    settings = Settings(trial=TrialSettings(share=1.0, shadow=True))
    client = opened(lambda: service, settings=settings, load_trial=lambda: failing)
    wait_for(lambda: 'recsys_index_items{variant="trial"}' in client.get("/metrics").text)
    for user in range(3):
        assert client.post("/v1/recommend", json=ask(user)).status_code == 200
    assert "recsys_shadow_overlap_count 0.0" in client.get("/metrics").text
    client.__exit__(None, None, None)
