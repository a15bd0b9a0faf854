"""Looks inside RecTools: our short cuts beside its own arithmetic, and whether HSTU hears when it is asked.

Run by the peers' interpreter; see test_run.py.
"""

import json


def padding():
    """Losses and gradients of both, and what the batches hold."""
    import numpy as np
    import pandas as pd
    import torch
    from pytorch_lightning import seed_everything
    from rectools import Columns
    from rectools.dataset import Dataset
    from rectools.models import BERT4RecModel, HSTUModel, SASRecModel
    from rectools.models.nn.item_net import IdEmbeddingsItemNet

    from benchmarks.peers.no_padding import (
        BERT4RecLikeLengths,
        CutPadding,
        CutSTULayers,
        LikeLengths,
        RealPositions,
        SASRecLikeLengths,
    )

    rng = np.random.default_rng(0)
    rows = [
        (user, int(item), at)
        for user in range(40)
        for at, item in enumerate(rng.choice(30, size=rng.integers(3, 9), replace=False))
    ]
    frame = pd.DataFrame(rows, columns=[Columns.User, Columns.Item, "at"])
    frame[Columns.Datetime] = pd.to_datetime(1000 * frame.pop("at") ** 3, unit="s")
    frame[Columns.Weight] = 1.0
    dataset = Dataset.construct(frame)

    def built(kind, preparator, **short_cuts):
        """A model whose weights the seed settles, without dropout."""
        seed_everything(0, verbose=False)
        model = kind(
            n_factors=8,
            n_heads=2,
            session_max_len=20,
            batch_size=64,
            item_net_block_types=(IdEmbeddingsItemNet,),
            data_preparator_type=preparator,
            **short_cuts,
        )
        model._build_model_from_dataset(dataset)
        model.lightning_model._xavier_normal_init()
        model.lightning_model.log = lambda *_, **__: None
        model.torch_model.eval()
        return model

    gaps = {}
    masked = {"use_key_padding_mask": True}
    for kind, preparator, common, layers in (
        (SASRecModel, SASRecLikeLengths, masked, {}),
        (BERT4RecModel, BERT4RecLikeLengths, masked, {}),
        (HSTUModel, SASRecLikeLengths, {}, {"transformer_layers_type": CutSTULayers}),
    ):
        theirs = built(kind, preparator, **common)
        ours = built(
            kind, preparator, lightning_module_type=RealPositions, backbone_type=CutPadding, **common, **layers
        )
        ours.torch_model.load_state_dict(theirs.torch_model.state_dict())
        batch = next(iter(theirs.data_preparator.get_dataloader_train()))
        losses = [model.lightning_model.training_step(batch, 0) for model in (theirs, ours)]
        for loss in losses:
            loss.backward()
        gradients = [[weight.grad for weight in model.torch_model.parameters()] for model in (theirs, ours)]
        gaps[kind.__name__] = {
            "loss": float(losses[0]),
            "loss_gap": float((losses[0] - losses[1]).abs()),
            "gradient": max(float(a.abs().max()) for a in gradients[0]),
            "gradient_gap": max(float((a - b).abs().max()) for a, b in zip(*gradients, strict=True)),
        }
    torch.manual_seed(0)
    sampler = LikeLengths(np.array([2, 50, 3, 49, 2, 51, 3, 48]), 4)
    return {"gaps": gaps, "batches": [sorted(batch) for batch in sampler]}


def request_time():
    """How far the scores of the same HSTU move when only the instant of the request does."""
    import pandas as pd
    from rectools.models import HSTUModel

    from benchmarks.peers.material import Questions
    from benchmarks.peers.neural import as_dataset, rank

    rows = pd.DataFrame(
        [(user, (user + at) % 20, 1_600_000_000 + 3600 * at) for user in range(60) for at in range(6)],
        columns=["user", "item", "instant"],
    )
    model = HSTUModel(n_factors=16, n_heads=1, session_max_len=10, epochs=3)
    model.fit(as_dataset(rows))

    def scores(delay_s):
        requested_at = pd.Series(1_600_000_000 + 3600 * 5 + delay_s, index=range(60))
        found = rank(model, Questions(rows, requested_at, rows[:0]), listed=14)
        return found.sort_values(["user", "item"])["score"].to_numpy()

    soon, again, late = scores(60), scores(60), scores(30 * 86_400)
    return {"same": float(abs(soon - again).max()), "later": float(abs(soon - late).max())}


if __name__ == "__main__":
    print(json.dumps({"padding": padding(), "request_time": request_time()}))
