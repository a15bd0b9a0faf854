"""The invented films are what the benchmark takes them for: told in two languages, of every genre several times."""

from collections import Counter

from benchmarks.interests.chinese import InventedFilms
from recsys.encoder_choice import other_script_share

GENRES = (
    "Action|Adventure|Animation|Children's|Comedy|Crime|Documentary|Drama|Fantasy|"
    "Film-Noir|Horror|Musical|Mystery|Romance|Sci-Fi|Thriller|War|Western"
)


def test_every_film_is_told_in_both_languages_once():
    films = InventedFilms.read()
    assert len(set(films.chinese)) == len(set(films.english)) == len(films.genres) == 54
    assert other_script_share(films.chinese) == 1.0
    assert other_script_share(films.english) == 0.0


def test_every_genre_has_three_films_or_more():
    films = InventedFilms.read()
    counts = Counter(genre for genres in films.genres for genre in genres)
    assert set(counts) == set(GENRES.split("|"))
    assert min(counts.values()) >= 3
    labels = films.labels(tuple(GENRES.split("|")))
    assert labels.shape == (54, 18)
    assert labels.sum(0).tolist() == [counts[genre] for genre in GENRES.split("|")]
