"""What is told of a user of a bundle: typed, consistent, the same every time, and blind to what comes later."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from pydantic import TypeAdapter

from recsys.bundle import load_bundle
from recsys.catalogue import read_catalogue
from recsys.drift import case_drifts
from recsys.encoders import TextEncoder
from recsys.fetch import fetch_ml_100k
from recsys.interactions import read_interactions
from recsys.interests import InterestReader, UnknownUserError, UserInterests, bundle_taxonomy, interests_of
from recsys.split import leave_one_out
from recsys.strata import Population, Rates, Stratum
from recsys.taxonomy import Taxonomy, discover_interests
from tests.worlds import cold_world, drift_world


@pytest.fixture(scope="module")
def mover():
    """A reader of the drift world, its table, and the one planted change of everyone."""
    interactions, catalogue, planted = drift_world(users=20, switches=1)
    taxonomy = Taxonomy.of(catalogue.categories)
    return InterestReader(taxonomy, Population.of(interactions, taxonomy), seed=0), interactions, planted


def told(mover, user_id="u7", events=None):
    reader, interactions, _ = mover
    rows = interactions.of_user(interactions.user_index(user_id))
    return reader.read(
        user_id,
        reader.taxonomy.shares_of(interactions.item_idx[rows][:events]),
        interactions.occurred_at[rows][:events],
    )


def test_everything_told_of_a_user_fits_together(mover):
    _, interactions, planted = mover
    found = told(mover)
    when = interactions.occurred_at[interactions.of_user(interactions.user_index("u7"))]
    (change,) = found.changes
    assert abs(change.event - planted["u7"][0]) <= 3
    assert (change.at, change.not_before) == (when[change.event], when[change.event - 1])
    assert found.drift_p_value == 0.002
    assert found.drift_score > 3
    fell, rose = change.fell[0], change.rose[0]
    assert fell.before - fell.after > 0.3
    assert rose.after - rose.before > 0.3
    states = {state.name: state for state in found.strata}
    assert states[rose.name].stratum in (Stratum.CORE, Stratum.RISING)
    assert states[rose.name].share > states[fell.name].share
    assert states[fell.name].rising < 0.5
    assert sum(window.events for window in found.trajectory) == found.events == len(when)
    assert found.trajectory[0].first_at == when[0]
    assert found.trajectory[-1].newest_at == found.newest_at == when[-1]
    assert all(sum(window.shares.values()) == pytest.approx(1) for window in found.trajectory)
    assert sum(state.events for state in found.strata) == pytest.approx(len(when))
    assert [state.share for state in found.strata] == sorted((state.share for state in found.strata), reverse=True)
    assert all(0 <= state.low <= state.share <= state.high <= 1 for state in found.strata)
    assert min(state.events_ago for state in found.strata) == 0


def test_the_same_history_is_always_told_the_same(mover):
    assert told(mover) == told(mover)


def test_a_model_may_take_the_place_of_the_counts(mover):
    reader, _, _ = mover
    interests = len(reader.taxonomy)

    def sure_of_the_first(mass, when):
        share = np.eye(interests)[0] * 100
        return Rates(share, 100.0, share, 100.0, share[None], np.array([100.0]))

    states = told((replace(reader, rates_of=sure_of_the_first), *mover[1:])).strata
    assert (states[0].name, states[0].stratum) == (reader.taxonomy.names[0], Stratum.CORE)
    assert {state.stratum for state in states[1:]} == {Stratum.EXPLORING}


def test_it_is_json_and_back(mover):
    found = told(mover)
    adapter = TypeAdapter(UserInterests)
    assert adapter.validate_json(adapter.dump_json(found)) == found
    assert json.loads(json.dumps(asdict(found)))["strata"][0]["stratum"] in set(Stratum)
    fields = adapter.json_schema()["properties"]
    assert "standard deviations" in fields["drift_score"]["description"]


def test_of_a_bundle_nothing_at_or_after_the_instant_is_read(bundle):
    interactions = bundle.interactions
    rows = interactions.of_user(0)
    when = interactions.occurred_at[rows]
    user_id = interactions.user_ids[0]
    assert interests_of(bundle, user_id).events == len(when)
    early = interests_of(bundle, user_id, at=int(when[4]))
    assert (early.events, early.newest_at) == (4, when[3])
    changed = interactions.item_idx.copy()
    changed[rows.start + 4 : rows.stop] = 1
    other = replace(bundle, interactions=replace(interactions, item_idx=changed))
    reader = InterestReader.of(bundle)
    assert interests_of(other, user_id, at=int(when[4]), reader=reader) == early


def test_nobody_and_nobody_yet_are_named(bundle):
    with pytest.raises(UnknownUserError, match="user '路人': nothing is stored"):
        interests_of(bundle, "路人")
    first = bundle.interactions.user_ids[0]
    with pytest.raises(UnknownUserError, match=f"user '{first}': nothing is stored of the time before 17"):
        interests_of(bundle, first, at=17)


def test_items_of_no_interest_leave_an_empty_answer(mover):
    reader, interactions, _ = mover
    nothing = replace(reader, taxonomy=Taxonomy.of([()] * reader.taxonomy.shares.shape[0]))
    found = nothing.read("u0", nothing.taxonomy.shares_of(interactions.item_idx[:9]), interactions.occurred_at[:9])
    assert found == UserInterests("u0", events=0, newest_at=None, drift_score=0.0, drift_p_value=1.0)


def test_without_a_clock_places_tell_when(mover):
    reader, interactions, planted = mover
    rows = interactions.of_user(interactions.user_index("u7"))
    found = reader.read("u7", reader.taxonomy.shares_of(interactions.item_idx[rows]), None)
    assert abs(found.changes[0].event - planted["u7"][0]) <= 3
    assert (found.newest_at, found.changes[0].at, found.trajectory[0].first_at) == (None, None, None)


def test_discovered_interests_are_kept_in_the_bundle(train_tiny, tmp_path):
    bundle = train_tiny(cold_world(users=60), tmp_path / "b", "train.epochs=1")
    loaded = load_bundle(tmp_path / "b")
    assert [tuple(names) for names in loaded.interests] == list(bundle.interests)
    assert bundle_taxonomy(loaded).names == bundle_taxonomy(bundle).names
    assert (bundle_taxonomy(loaded).shares != bundle_taxonomy(bundle).shares).nnz == 0
    assert set(bundle_taxonomy(loaded).names) == {"apple, pear, plum", "screw, bolt, nail", "violin, cello, flute"}
    assert bundle_taxonomy(loaded).shares.sum() == 30  # nothing tells of the six cold items: no text is read here
    again = bundle_taxonomy(replace(loaded, interests=None))  # as an older version left it
    assert again.names == bundle_taxonomy(loaded).names


def test_categories_are_the_interests_where_there_are_any(bundle):
    assert bundle.interests is None
    assert bundle_taxonomy(bundle).names == ("Drama", "戏剧")


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """MovieLens-100K, fetched."""
    folder = tmp_path_factory.mktemp("films") / "ml-100k"
    fetch_ml_100k(folder)
    catalogue, _ = read_catalogue(folder / "items.parquet")
    interactions, catalogue, _ = read_interactions(folder / "interactions.parquet", catalogue)
    return interactions, catalogue


@pytest.mark.slow
def test_real_users_move_more_often_than_chance_makes_it_seem(films):
    interactions, catalogue = films
    cases = leave_one_out(interactions).test
    p_values = np.array(
        [drift.p_value for drift in case_drifts(interactions, Taxonomy.of(catalogue.categories), cases, seed=0)]
    )
    assert (p_values < 0.05).mean() > 0.12
    shuffled = interactions.item_idx.copy()
    for user in range(len(interactions.user_ids)):
        np.random.default_rng(user).shuffle(shuffled[interactions.of_user(user)])
    nobody_moves = replace(interactions, item_idx=shuffled)
    drifts = case_drifts(nobody_moves, Taxonomy.of(catalogue.categories), cases, seed=0)
    assert np.mean([drift.p_value < 0.05 for drift in drifts]) <= 0.065  # 943 users: two standard errors


@pytest.mark.slow
def test_films_of_one_discovered_interest_share_genres_more_often(films, tmp_path):
    _, catalogue = films
    titles = replace(catalogue, categories=[()] * len(catalogue.item_ids))
    vectors = TextEncoder("all-minilm-l6-v2", cache=tmp_path)(titles.texts())
    interests = discover_interests(titles, vectors, seed=0)
    assert interests == discover_interests(titles, vectors, seed=0)
    assert len({name for names in interests for name in names}) >= 5
    first, second = np.random.default_rng(0).integers(1, len(catalogue) + 1, (2, 50_000))
    pairs = [(one, other) for one, other in zip(first, second, strict=True) if one != other]
    together = np.array([interests[one][0] == interests[other][0] for one, other in pairs])
    alike = np.array([bool({*catalogue.categories[one]} & {*catalogue.categories[other]}) for one, other in pairs])
    assert alike[together].mean() > alike[~together].mean()  # titles tell little of genres, but something
