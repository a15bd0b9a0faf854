"""Time epochs of our towers. The readings go to standard output.

python -m benchmarks.peers.our_epoch TABLE JSON    # JSON: threads, and the overrides of the config
"""

import json
import os
import resource
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any


def main(table: Path, knobs: dict[str, Any]) -> None:
    """Train, and print events per epoch, seconds of the fastest epoch and memory."""
    os.environ["OMP_NUM_THREADS"] = str(knobs["threads"])
    import torch

    from recsys.config import read_config, settle_split
    from recsys.features import Vocabulary, item_features
    from recsys.histories import training_windows
    from recsys.interactions import read_interactions
    from recsys.run import settle_for
    from recsys.split import make_split
    from recsys.train import train_towers

    torch.set_num_threads(knobs["threads"])
    interactions, catalogue, _ = read_interactions(table)
    config = read_config(overrides=knobs["overrides"])
    split = make_split(interactions, settle_split(config.split, has_clock=False))
    config = settle_for(config, split, num_items=len(catalogue))
    # All rows are learnt from, and next to nothing is validated: an epoch is the training alone, as it is for RecTools.
    split = replace(split, train=interactions, validation=split.validation[:1])
    vocabulary = Vocabulary.of(catalogue)
    features = item_features(catalogue, vocabulary, None)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as folder:
        _, curve = train_towers(split, features, vocabulary, config, Path(folder))
    windows = training_windows(split.train, length=config.user_tower.history_length)
    print(
        json.dumps(
            {
                "events": int((windows.stops - windows.starts - 1).sum()),
                "seconds": min(epoch["seconds"] for epoch in curve),
                "memory_before_mib": before // 1024,
                "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
