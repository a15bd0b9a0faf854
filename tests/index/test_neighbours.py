import numpy as np

from index.neighbours import Neighbours, best_of, merged, nobody, ties_by_id


def test_ties_at_the_end_go_to_the_smaller_id():
    # scores .5 twice for the last place: id 3 beats id 8
    found = best_of(np.array([[0.5, 0.9, 0.5, -np.inf]], dtype=np.float32), np.array([8, 1, 3, 0]), 2)
    assert found.ids.tolist() == [[1, 3]]


def test_rows_that_are_not_eligible_leave_fillers():
    found = best_of(np.array([[-np.inf, 0.25]], dtype=np.float32), np.array([4, 5]), 3)
    assert found.ids.tolist() == [[5, -1, -1]]
    assert found.scores.tolist() == [[0.25, -np.inf, -np.inf]]


def test_no_rows_at_all():
    assert best_of(np.empty((2, 0), dtype=np.float32), np.empty(0, dtype=np.int64), 1).ids.tolist() == [[-1], [-1]]


def test_merging_keeps_fillers_last():
    left = Neighbours(np.array([[7, -1]]), np.array([[0.1, -np.inf]], dtype=np.float32))
    right = Neighbours(np.array([[2, 9]]), np.array([[0.1, 0.0]], dtype=np.float32))
    assert merged([left, right], 3).ids.tolist() == [[2, 7, 9]]
    assert merged([nobody(1, 2), right], 3).ids.tolist() == [[2, 9, -1]]


def test_equal_scores_are_put_in_the_order_of_their_ids():
    found = Neighbours(np.array([[9, 4, 6, 2]]), np.array([[0.9, 0.5, 0.5, 0.1]], dtype=np.float32))
    assert ties_by_id(found).ids.tolist() == [[9, 4, 6, 2]]
    found = Neighbours(np.array([[9, 6, 4, 2]]), np.array([[0.9, 0.5, 0.5, 0.1]], dtype=np.float32))
    assert ties_by_id(found).ids.tolist() == [[9, 4, 6, 2]]


def test_ties_are_looked_for_within_each_answer():
    scores = np.array([[0.9, 0.5], [0.5, 0.5], [0.5, 0.1]], dtype=np.float32)  # .5 ends one row and begins the next
    found = Neighbours(np.array([[9, 8], [7, 3], [2, 1]]), scores)
    assert ties_by_id(found).ids.tolist() == [[9, 8], [3, 7], [2, 1]]
    part = Neighbours(np.array([[4, 1, 9]])[:, :2], np.array([[0.5, 0.5, 0.2]], dtype=np.float32)[:, :2])
    assert ties_by_id(part).ids.tolist() == [[1, 4]]
