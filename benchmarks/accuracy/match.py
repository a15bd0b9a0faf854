"""What the interest classifier would bring to the reranker: its match with each candidate as one kind of evidence more.

    python -m benchmarks.accuracy.match ml-100k

Reads the runs that `benchmarks.accuracy.run` has kept and trains the interest classifier of each. The networks of the
reranker are then learnt twice on the same lists, without and with three columns: the logarithm of how likely the user
turns to the candidate's interests, of how much likelier than usual that is, and of the likeliest one. Groups of
evidence that do not pay are left out as ever, and these columns may be.

Shapes: Q cases, B cases at once, C candidates, I interests, F columns, N items, S seeds.
"""

import argparse
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.accuracy.data import BENCHMARKS
from benchmarks.machine import describe_machine
from recsys.bundle import Bundle, load_bundle
from recsys.drift import drift_groups
from recsys.embed import embed_cases
from recsys.histories import case_histories
from recsys.interest_head import HeadConfig
from recsys.interest_training import Trained, train_interest_classifier
from recsys.interests import bundle_taxonomy
from recsys.listwise import fit_listwise
from recsys.ranking import OUT, mask_seen, top_k
from recsys.run import bundle_split, reranker_evidence
from recsys.split import Cases, Split, thinned, without_request_time
from recsys.train import VALIDATION_CASES

WITHOUT, WITH = "without the match", "with the match"
MATCH = "match"
COLUMNS = 3
RAREST = 1e-4
"""Added to probabilities before the logarithm."""
CASES_AT_ONCE = 256


def main() -> None:
    """Learn, judge, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=BENCHMARKS)
    parser.add_argument("--seed", type=int, nargs="+", default=None, help="other seeds than the benchmark's")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    given = parser.parse_args()
    result = {
        "data": given.data,
        **over_seeds(given.data, given.seed or list(BENCHMARKS[given.data].seeds)),
        "command": " ".join(["python -m benchmarks.accuracy.match", *sys.argv[1:]]),
        "machine": describe_machine(),
    }
    (given.out / f"{given.data}-match.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


@dataclass(frozen=True, eq=False)
class Lists:
    """What is known of the candidates of Q cases."""

    evidence: Tensor
    """(Q, C, F), the match last."""
    empty: Tensor
    """(Q, C) places without a candidate."""
    found: Tensor
    """(Q, C) the target."""


def over_seeds(data: str, seeds: list[int]) -> dict[str, Any]:
    """NDCG@10 with and without the match, by group of users and by seed."""
    protocol = BENCHMARKS[data].protocol
    gained: dict[str, list[npt.NDArray[np.float64]]] = {WITHOUT: [], WITH: []}  # S of (Q,)
    left_out: list[tuple[str, ...]] = []
    for seed in seeds:
        bundle = load_bundle(Path("runs") / f"bench-{data}" / f"everything-seed{seed}")
        split = bundle_split(bundle)
        if not protocol.request_time:
            split = replace(split, test=without_request_time(split.test, split.interactions))
        figures, idle = judged(bundle, split, seed=seed)
        left_out.append(idle)
        for name, each in figures.items():
            gained[name].append(each)
            print(f"{data}, seed {seed}, {name}: {each.mean():.4f}", flush=True)
    groups = drift_groups(split.interactions, bundle_taxonomy(bundle), split.test, seed=0)
    everybody = {"all": np.ones(len(split.test), bool), **groups}
    means = {name: np.mean(each, axis=0) for name, each in gained.items()}
    return {
        "seeds": seeds,
        "ndcg@10": {
            name: {group: float(mean[mask].mean()) for group, mask in everybody.items()} for name, mean in means.items()
        },
        "by_seed": {name: [float(each.mean()) for each in figures] for name, figures in gained.items()},
        "match_left_out": [MATCH in idle for idle in left_out],
    }


def judged(bundle: Bundle, split: Split, *, seed: int) -> tuple[dict[str, npt.NDArray[np.float64]], tuple[str, ...]]:
    """(Q,) NDCG@10 of the test cases, without and with the match; and the groups left out where it was offered."""
    trained = train_interest_classifier(bundle, config=HeadConfig(seed=seed))
    learnt_from = lists_of(bundle, split, thinned(split.validation, VALIDATION_CASES), trained)
    asked = lists_of(bundle, split, split.test, trained)
    evidence = reranker_evidence(bundle, split)
    own = list(range(len(evidence.names)))
    match = [len(own) + place for place in range(COLUMNS)]
    offered = {WITHOUT: (own, evidence.columns()), WITH: ([*own, *match], {**evidence.columns(), MATCH: match})}
    hit = learnt_from.found.any(1)
    figures: dict[str, npt.NDArray[np.float64]] = {}
    idle: tuple[str, ...] = ()
    for name, (columns, optional) in offered.items():
        learnt = fit_listwise(
            learnt_from.evidence[hit][..., columns],
            learnt_from.empty[hit],
            learnt_from.found[hit].int().argmax(1),
            seed=seed,
            optional=optional,
        )
        figures[name] = ndcg_of(learnt.nets.scores(asked.evidence[..., learnt.columns]), asked)
        idle = learnt.left_out
    return figures, idle


def lists_of(bundle: Bundle, split: Split, cases: Cases, trained: Trained) -> Lists:
    """What the bundle retrieves for cases, and all that is known of it."""
    evidence, item_vectors = reranker_evidence(bundle, split), torch.from_numpy(bundle.item_vectors)
    tower, config = bundle.config.user_tower, bundle.config
    of_items = torch.from_numpy(trained.reader.taxonomy.shares.toarray().astype(np.float32))  # (N + 1, I)
    queries = embed_cases(bundle.model, item_vectors, split.interactions, cases)
    wanted = torch.from_numpy(split.interactions.item_idx[cases.first_targets()].astype(np.int64))
    parts = []
    for at in range(0, len(cases), CASES_AT_ONCE):
        some = slice(at, at + CASES_AT_ONCE)
        scores = queries[some] @ item_vectors.T
        if config.train.exclude_seen:
            mask_seen(scores, split.interactions, cases[some])
        scores[:, 0] = OUT
        candidates, cosines = top_k(scores, config.prior.num_candidates)
        histories = case_histories(
            split.interactions, cases[some], length=tower.history_length, request_time=tower.request_time
        )
        measured = evidence.measure(cosines, candidates, histories, item_vectors)
        match = match_of(of_items[candidates], trained, cases[some])
        parts.append((torch.cat([measured, match], dim=2), candidates == 0, candidates == wanted[some, None]))
    return Lists(*(torch.cat(each) for each in zip(*parts, strict=True)))


def match_of(of_candidates: Tensor, trained: Trained, cases: Cases) -> Tensor:
    """(B, C, 3) what the classifier says of the interests of candidates, ``(B, C, I)``."""
    classifier = trained.classifier
    likely = torch.from_numpy(classifier.probabilities(trained.reader.of_cases(cases))).float()[:, None]  # (B, 1, I)
    usual = torch.from_numpy(classifier.usual).float()
    lift = ((likely + RAREST) / (usual + RAREST)).log()
    columns = [
        ((of_candidates * likely).sum(2) + RAREST).log(),
        (of_candidates * lift).sum(2),
        (((of_candidates > 0) * likely).amax(2) + RAREST).log(),
    ]
    return torch.stack(columns, dim=2)


def ndcg_of(scores: Tensor, lists: Lists) -> npt.NDArray[np.float64]:
    """(Q,) NDCG@10 of one target each; 0 where it was not retrieved."""
    scores = scores.masked_fill(lists.empty, -torch.inf)
    mine = scores.gather(1, lists.found.int().argmax(1)[:, None])
    rank = (scores > mine).sum(1)  # from 0
    gained = torch.where(lists.found.any(1) & (rank < 10), 1 / torch.log2(rank + 2.0), torch.zeros(len(rank)))
    return np.asarray(gained, np.float64)


if __name__ == "__main__":
    main()
