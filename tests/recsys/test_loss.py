"""The losses against sums by hand, slow loops and the full softmax's gradient."""

import math

import numpy as np
import pytest
import torch

from recsys.loss import BLOCK, full_softmax_loss, in_batch_loss, sampled_softmax_loss


def unit(rows, generator):
    return torch.nn.functional.normalize(torch.randn(rows, 5, generator=generator), dim=-1)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(3)


def test_full_softmax_by_hand():
    # cosines: user 0 → .6 and .8 for items 1 and 2, user 1 → 1 and 0; temperature 0.5 doubles them.
    users = torch.tensor([[0.6, 0.8], [1.0, 0.0]])
    items = torch.tensor([[9.0, 9.0], [1.0, 0.0], [0.0, 1.0]])  # what stands at padding is never looked at
    loss = full_softmax_loss(users, items, torch.tensor([1, 2]), temperature=0.5)
    first = -(1.2 - math.log(math.exp(1.2) + math.exp(1.6)))
    second = -(0.0 - math.log(math.exp(2.0) + math.exp(0.0)))
    assert loss.item() == pytest.approx((first + second) / 2, rel=1e-6)


def test_excluded_items_leave_the_denominator_but_a_positive_never_does():
    users = torch.tensor([[0.6, 0.8]])
    items = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [-0.6, -0.8]])
    excluded = torch.tensor([[False, True, True, False]])
    loss = full_softmax_loss(users, items, torch.tensor([1]), temperature=0.5, excluded=excluded)
    assert loss.item() == pytest.approx(-(1.2 - math.log(math.exp(1.2) + math.exp(-2.0))), rel=1e-6)
    assert excluded.tolist() == [[False, True, True, False]]  # the caller's mask is not written to


def slow_sampled(users, positive_vectors, positives, negative_vectors, negatives, log_q, temperature, excluded):
    total = 0.0
    for b in range(len(users)):
        score = float(users[b] @ positive_vectors[b]) / temperature
        denominator = math.exp(score)
        for s in range(len(negatives)):
            if negatives[s] == positives[b] or excluded[b, s]:
                continue
            denominator += math.exp(float(users[b] @ negative_vectors[s]) / temperature - float(log_q[s]))
        total += -score + math.log(denominator)
    return total / len(users)


def test_sampled_softmax_equals_a_slow_double_loop(generator):
    users, positive_vectors, negative_vectors = unit(4, generator), unit(4, generator), unit(7, generator)
    positives = torch.tensor([3, 1, 1, 6])
    negatives = torch.tensor([1, 2, 2, 3, 9, 6, 1])  # repeats, and accidental hits of every user
    log_q = torch.randn(7, generator=generator)
    excluded = torch.rand(4, 7, generator=generator) < 0.3
    arguments = (users, positive_vectors, positives, negative_vectors, negatives, log_q)
    loss = sampled_softmax_loss(*arguments, temperature=0.3, excluded=excluded)
    assert loss.item() == pytest.approx(slow_sampled(*arguments, 0.3, excluded), rel=1e-5)


def test_a_mined_negative_counts_only_while_it_stays_below_the_positive_by_the_margin():
    # cosines: positive .6; negatives .8, .5 and .3, of which the first two are mined with a margin of .2.
    user = torch.tensor([[1.0, 0.0]])
    positive, negatives = torch.tensor([[0.6, 0.8]]), torch.tensor([[0.8, 0.6], [0.5, 0.75**0.5], [0.3, 0.91**0.5]])
    log_q, infinity = torch.tensor([0.7, -0.4, 0.2]), float("inf")
    found = {
        margin: sampled_softmax_loss(
            user,
            positive,
            torch.tensor([1]),
            negatives,
            torch.tensor([2, 3, 4]),
            log_q,
            temperature=0.5,
            margin=torch.tensor([margin, margin, -infinity]),
        ).item()
        for margin in (0.2, 0.05)
    }
    own, second, third = math.exp(1.2), math.exp(1.0 + 0.4), math.exp(0.6 - 0.2)
    assert found[0.2] == pytest.approx(-math.log(own / (own + third)), rel=1e-5)
    assert found[0.05] == pytest.approx(-math.log(own / (own + second + third)), rel=1e-5)


def test_in_batch_negatives_are_the_other_positives(generator):
    users, positive_vectors = unit(5, generator), unit(5, generator)
    positives = torch.tensor([2, 4, 2, 7, 1])
    log_q = torch.randn(5, generator=generator)
    nothing = torch.zeros(5, 5, dtype=torch.bool)
    slow = slow_sampled(users, positive_vectors, positives, positive_vectors, positives, log_q, 0.2, nothing)
    assert in_batch_loss(users, positive_vectors, positives, log_q, temperature=0.2).item() == pytest.approx(
        slow, rel=1e-5
    )


@pytest.fixture
def lopsided(generator):
    """A user, twelve items, the full softmax's gradient, and many negatives drawn very unevenly with their log_q."""
    items, user = unit(13, generator), unit(1, generator).requires_grad_()
    full_softmax_loss(user, items, torch.tensor([4]), temperature=0.4).backward()
    wanted, user.grad = user.grad.clone(), None
    q = np.linspace(1, 12, 12) ** 2
    q /= q.sum()
    drawn = torch.from_numpy(np.random.default_rng(0).choice(12, size=60_000, p=q) + 1)
    return user, items, wanted, drawn, torch.log(torch.from_numpy(len(drawn) * q[drawn - 1]).float())


def gradient(user, items, negatives, log_q):
    """Of the sampled softmax whose positive is item 4."""
    sampled_softmax_loss(
        user, items[[4]], torch.tensor([4]), items[negatives], negatives, log_q, temperature=0.4
    ).backward()
    return user.grad


def test_with_log_q_the_gradient_is_that_of_the_full_softmax(lopsided):
    # Lopsided sampling: without log_q popular items would be pushed away far too hard.
    user, items, wanted, drawn, log_q = lopsided
    assert torch.allclose(gradient(user, items, drawn, log_q), wanted, atol=0.02 * float(wanted.norm()))


def test_so_it_is_when_the_positive_stands_among_the_negatives_as_in_a_batch(lopsided):
    user, items, wanted, drawn, log_q = lopsided
    drawn, log_q = torch.cat([torch.tensor([4]), drawn]), torch.cat([torch.tensor([-9.0]), log_q])
    assert torch.allclose(gradient(user, items, drawn, log_q), wanted, atol=0.02 * float(wanted.norm()))


@pytest.mark.parametrize("wrong", [-1.0, 0.0])
def test_a_wrong_sign_of_log_q_or_none_would_be_seen(lopsided, wrong):
    user, items, wanted, drawn, log_q = lopsided
    found = gradient(user, items, drawn, wrong * log_q)
    assert not torch.allclose(found, wanted, atol=0.2 * float(wanted.norm()))


def test_a_user_without_any_negative_has_no_loss(generator):
    users, items = unit(1, generator), unit(2, generator)
    loss = in_batch_loss(users, items[1:], torch.tensor([1]), torch.zeros(1), temperature=0.1)
    assert loss.item() == 0.0


@pytest.mark.parametrize("block", [1, 20, 10_000])
def test_the_gradient_in_blocks_is_that_of_the_whole_matrix(generator, block, monkeypatch):
    monkeypatch.setitem(BLOCK, "cpu", block)
    users, items = unit(6, generator).requires_grad_(), unit(9, generator).requires_grad_()
    positives = torch.tensor([1, 8, 3, 3, 5, 2])
    excluded = torch.rand(6, 9, generator=generator) < 0.3
    (3 * full_softmax_loss(users, items, positives, temperature=0.3, excluded=excluded)).backward()
    found, users.grad, items.grad = (users.grad, items.grad), None, None
    outside = excluded.clone()
    outside[:, 0] = True
    outside[torch.arange(6), positives] = False
    logits = (users @ items.T / 0.3).masked_fill(outside, -torch.inf)
    (3 * torch.nn.functional.cross_entropy(logits, positives)).backward()
    assert torch.allclose(found[0], users.grad, atol=1e-6)
    assert torch.allclose(found[1], items.grad, atol=1e-6)
    assert float(users.grad.abs().max()) > 0.1


def test_bf16_products_keep_the_loss_and_the_direction_of_its_gradient(generator):
    users, items = unit(64, generator).requires_grad_(), unit(40, generator)
    positives = torch.arange(64) % 39 + 1
    exact = full_softmax_loss(users, items, positives, temperature=0.1)
    exact.backward()
    wanted, users.grad = users.grad, None
    with torch.autocast("cpu", torch.bfloat16):
        rounded = full_softmax_loss(users, items, positives, temperature=0.1)
    rounded.backward()
    assert rounded.dtype == torch.float32
    assert rounded.item() == pytest.approx(exact.item(), rel=1e-3)
    assert torch.nn.functional.cosine_similarity(users.grad, wanted).min() > 0.999
