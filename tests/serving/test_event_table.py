import dataclasses
import json
import time

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from recsys.bundle import load_bundle
from recsys.errors import InputError
from recsys.interactions import read_interactions
from serving import cli, event_commands
from serving.event_table import events_of_bundle, events_of_file, export_events, import_events
from serving.opening import open_service
from serving.schemas import RecommendRequest
from serving.sqlite_histories import SqliteHistories
from serving.state import open_state, state_beside
from serving.stored_events import Retention, StoredEvent
from serving.user_key import UserKey
from tests.serving.asking import assert_same_items
from tests.serving.conftest import shop_tables


@pytest.fixture
def open_store(tmp_path):
    opened = []

    def open_one(name="histories", **limits):
        path = tmp_path / f"{name}.sqlite"
        opened.append(SqliteHistories(path, key=UserKey(b"for tests"), retention=Retention(**limits)))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


def everything(store):
    return [event for part in store.everything() for event in part]


def test_a_bundles_table_comes_in_whole_and_once(bundle, open_store):
    store = open_store()
    first = import_events(store, events_of_bundle(bundle))
    assert (first.read, first.new, first.of_deleted_users) == (810, 810, 0)
    assert import_events(store, events_of_bundle(bundle)).new == 0
    interactions = bundle.interactions
    for user_idx in (0, 44, 89):
        rows = interactions.of_user(user_idx)
        kept = store.read(interactions.user_ids[user_idx]).events
        assert [bundle.catalogue.index_of(event.item_id) for event in kept] == interactions.item_idx[rows].tolist()
        assert [event.occurred_at for event in kept] == interactions.occurred_at[rows].tolist()
        assert [event.value for event in kept] == interactions.value[rows].tolist()
        kinds = [interactions.event_names[kind] for kind in interactions.event[rows]]
        assert [event.event for event in kept] == kinds


def test_an_import_changes_no_answer(shop, tmp_path):
    """The bundle's rows are read from the bundle and from the store now, and still count once."""
    state = open_state(tmp_path / "state")
    service = open_service(shop, state=state)
    newest = service.bundle.interactions.occurred_at[service.bundle.interactions.starts[1:] - 1].tolist()
    asked = [
        RecommendRequest(user_id=user_id, requested_at=instant, k=40, explain=True)
        for user_id, instant in zip(service.bundle.interactions.user_ids[:20], newest, strict=False)
    ]
    before = [service.recommend(request).items for request in asked]
    import_events(state.histories, events_of_bundle(service.bundle))
    assert [service.recommend(request).items for request in asked] == before
    state.close()


def test_deleted_users_are_not_brought_back(bundle, open_store):
    store = open_store()
    store.forget("顾客7")
    done = import_events(store, events_of_bundle(bundle))
    assert (done.read, done.new, done.of_deleted_users) == (810, 801, 9)
    assert store.read("顾客7") == ([], True)


def test_a_table_without_a_clock_is_refused_with_the_reason(shop_without_clock, tmp_path):
    with pytest.raises(InputError, match="only an order, no occurred_at"):
        events_of_bundle(load_bundle(shop_without_clock))
    pl.DataFrame({"user_id": ["a"], "item_id": ["b"], "position": [1]}).write_parquet(tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"t\.parquet: there is only an order"):
        events_of_file(tmp_path / "t.parquet")


def test_export_and_import_give_the_same_store(open_store, tmp_path):
    one, other = open_store("one"), open_store("other")
    told = [
        StoredEvent("ann", "given", "tea", 5, "view", 0.5, 1.5, -2.5),
        StoredEvent("ann", "=made", "ink", 4, None, None, None, None),
        StoredEvent("顾客", "given", "红楼梦", 6, "buy", 2.0, None, None),
    ]
    one.add([told])
    assert export_events(one, tmp_path / "events.parquet") == 3
    assert import_events(other, events_of_file(tmp_path / "events.parquet")).new == 3
    assert everything(other) == everything(one)
    table, catalogue, report = read_interactions(tmp_path / "events.parquet")  # training reads it as it is
    assert report.ok
    assert [catalogue.item_ids[idx] for idx in table.item_idx] == ["ink", "tea", "红楼梦"]
    assert [path.name for path in tmp_path.iterdir() if "events" in path.name] == ["events.parquet"]


def test_an_empty_store_exports_an_empty_table(open_store, tmp_path):
    assert export_events(open_store(), tmp_path / "events.parquet") == 0
    assert pl.read_parquet(tmp_path / "events.parquet").shape == (0, 8)


def test_what_is_exported_and_trained_on_counts_once_in_the_bundle_that_knows_it(shop, tmp_path):
    """The whole circle: the next bundle's table is the last one's and the store's; the store still holds its own."""
    state = open_state(tmp_path / "state")
    service = open_service(shop, state=state)
    told = [StoredEvent("顾客7", f"e{at}", f"shelf/{at}", 1_702_000_000 + at, "view", 0.1) for at in (30, 31)]
    state.histories.add([told])
    asked = RecommendRequest(user_id="顾客7", requested_at=1_703_000_000, k=40)
    before = service.recommend(asked).items
    export_events(state.histories, tmp_path / "events.parquet")
    old, _ = shop_tables(clock=True, seed=0)
    new = pl.read_parquet(tmp_path / "events.parquet").select(old.columns)
    table = pl.concat([old, new.cast(dict(old.schema))])
    interactions, _, report = read_interactions(table, service.bundle.catalogue)
    assert report.rows_kept == 812
    later = dataclasses.replace(service, bundle=dataclasses.replace(service.bundle, interactions=interactions))
    assert_same_items(later.recommend(asked).items, before)
    state.histories.forget("顾客7")
    assert later.recommend(asked).path == "popular"
    state.close()


def run(*arguments):
    return CliRunner().invoke(event_commands.app, list(map(str, arguments)), catch_exceptions=False)


def test_the_commands_use_the_store_that_the_service_uses(broken, tmp_path):
    answer = json.loads(run("import", "--bundle", broken, "--json").stdout)
    assert answer == {"read": 810, "new": 810, "of_deleted_users": 0}
    assert state_beside(broken).is_dir()
    table = pl.DataFrame({"user_id": ["ann"], "item_id": ["shelf/03"], "occurred_at": [1_700_000_000]})
    table.write_csv(tmp_path / "more.csv")
    told = run("import", "--bundle", broken, "--interactions", tmp_path / "more.csv").stdout
    assert "1 events read, 1 new, 0 of deleted users left out. Of each user the newest 1,000 are kept." in told
    answer = json.loads(run("export", "--bundle", broken, "--out", tmp_path / "all.parquet", "--json").stdout)
    assert answer["events"] == len(pl.read_parquet(tmp_path / "all.parquet")) == 811
    answer = CliRunner().invoke(cli.app, ["recommend", "--bundle", str(broken), "--user", "ann", "--json"])
    assert json.loads(answer.stdout)["path"] == "personal"  # a command sees what the service sees


def test_the_commands_say_what_is_missing(tmp_path):
    with pytest.raises(InputError, match="which store"):
        run("export", "--out", tmp_path / "x.parquet")
    settings = tmp_path / "s.toml"
    settings.write_text('[server]\nbundle = "runs/x"\n[state]\nredis_url = "redis://127.0.0.1:1/0"\n')
    with pytest.raises(InputError, match=r"state\.redis_url: Redis does not answer"):
        run("export", "--out", tmp_path / "x.parquet", "--settings", settings)


@pytest.mark.slow
@pytest.mark.parametrize("users", [5_000, 200_000])
def test_a_million_events_come_in_within_thirty_seconds(open_store, tmp_path, users):
    rng = np.random.default_rng(0)
    rows = 1_000_000
    table = pl.DataFrame(
        {
            "user_id": rng.integers(users, size=rows).astype(str),
            "item_id": rng.integers(20_000, size=rows).astype(str),
            "occurred_at": 1_700_000_000 + rng.permutation(rows),
            "event": rng.choice(["view", "buy"], rows),
            "value": rng.random(rows),
        }
    )
    table.write_parquet(tmp_path / "events.parquet")
    store = open_store()
    started, began = time.perf_counter(), time.process_time()
    done = import_events(store, events_of_file(tmp_path / "events.parquet"))
    waited, took = time.perf_counter() - started, time.process_time() - began
    print(f"{rows:,} events of {users:,} users: {took:.1f} s of work, {waited:.1f} s by the clock")
    assert done.new == rows
    assert took < 30  # how long the work then waits for a core is not its own doing
