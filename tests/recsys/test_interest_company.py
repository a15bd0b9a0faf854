"""What the others say: an interest is not told by itself, nor a training case by its own user."""

import numpy as np
import torch

from recsys import interest_company
from recsys.interest_company import FOLDS, STRENGTH, Company


def habits_of(cases, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(cases, 4)).astype(np.float32))


def test_the_weights_are_those_of_a_regression_on_the_other_interests_alone():
    """The multiplier's closed form against four regressions that each leave one column out."""
    habits = habits_of(200)
    labels = (habits[:, [1, 2, 3, 0]] + habits > 0.3).float()
    company = Company(4)
    company.fit(habits, labels, np.arange(200))
    known = ((habits - habits.mean(0)) / habits.std(0, correction=0)).double().numpy()
    for interest in range(4):
        others = [at for at in range(4) if at != interest]
        usual = float(labels[:, interest].mean())
        wanted = (labels[:, interest].numpy() - usual) / np.sqrt(usual * (1 - usual))
        gram = known[:, others].T @ known[:, others] + STRENGTH * 200 * np.eye(3)
        expected = np.linalg.solve(gram, known[:, others].T @ wanted)
        np.testing.assert_allclose(company.weights[others, interest], expected, atol=1e-5)
        assert abs(float(company.weights[interest, interest])) < 1e-6


def test_what_is_said_of_a_case_does_not_know_the_answers_of_its_user():
    habits, users = habits_of(80), np.repeat(np.arange(8), 10)
    labels = (habits[:, [1, 2, 3, 0]] > 0).float()
    said = Company(4).fit(habits, labels, users)
    mine = users % FOLDS == 1
    turned = labels.clone()
    turned[mine] = turned[mine].roll(1, dims=0)  # as many of each as before
    again = Company(4).fit(habits, turned, users)
    torch.testing.assert_close(again[mine], said[mine])
    assert float((again[~mine] - said[~mine]).abs().max()) > 1e-3


def test_one_user_or_an_interest_that_is_always_wanted_gives_numbers():
    habits = habits_of(20)
    labels = torch.zeros(20, 4)
    labels[:, 0] = 1.0
    labels[:7, 1] = 1.0
    company = Company(4)
    said = company.fit(habits, labels, np.zeros(20, np.int64))
    assert torch.equal(said, torch.zeros(20, 4))  # nobody else is there to learn from
    assert torch.isfinite(company(habits)).all()


def test_of_very_many_interests_the_most_wanted_are_compared(monkeypatch):
    """With three of four compared the others are told as if the fourth, which is wanted least, were not there."""
    habits, users = habits_of(200), np.arange(200)
    labels = (habits[:, [2, 3, 0, 1]] + torch.tensor([0.0, -2.0, 0.0, 0.0]) > 0.3).float()
    monkeypatch.setattr(interest_company, "MOST_COMPARED", 3)
    few, alone = Company(4), Company(3)
    said, among = few.fit(habits, labels, users), [0, 2, 3]
    expected = alone.fit(habits[:, among], labels[:, among], users)
    torch.testing.assert_close(said[:, among], expected)
    torch.testing.assert_close(few(habits)[:, among], alone(habits[:, among]))
    assert not said[:, 1].any()
    loaded = Company(4)
    loaded.load_state_dict(few.state_dict())
    assert torch.equal(loaded(habits), few(habits))
