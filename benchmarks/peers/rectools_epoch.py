"""Time epochs of RecTools' SASRec just as it comes. Run by the peers' interpreter; the readings go to standard output.

python -m benchmarks.peers.rectools_epoch TABLE JSON    # JSON: width, layers, heads, length, batch, epochs, threads, …
"""

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any


def main(table: Path, knobs: dict[str, Any]) -> None:
    """Train, and print events per epoch, seconds of the fastest epoch and memory."""
    os.environ["OMP_NUM_THREADS"] = str(knobs["threads"])
    import pandas as pd
    import torch
    from pytorch_lightning import Callback, Trainer, seed_everything
    from rectools import Columns
    from rectools.dataset import Dataset
    from rectools.models import SASRecModel
    from rectools.models.nn.item_net import IdEmbeddingsItemNet

    torch.set_num_threads(knobs["threads"])
    seed_everything(0, verbose=False)
    seconds: list[float] = []

    class Stopwatch(Callback):  # type: ignore[misc]  # Lightning is not in our environment
        """An epoch's seconds."""

        def on_train_epoch_start(self, *_: Any) -> None:
            self.began = time.monotonic()

        def on_train_epoch_end(self, *_: Any) -> None:
            seconds.append(time.monotonic() - self.began)

    def trainer() -> Trainer:
        quiet: dict[str, Any] = dict.fromkeys(("logger", "enable_progress_bar", "enable_checkpointing"), False)
        return Trainer(
            max_epochs=knobs["epochs"],
            accelerator="cpu",
            devices=1,
            precision=knobs["precision"],
            callbacks=[Stopwatch()],
            enable_model_summary=False,
            **quiet,
        )

    rows = pd.read_parquet(table)
    rows = rows.rename(columns={"user_id": Columns.User, "item_id": Columns.Item})
    rows[Columns.Datetime] = pd.to_datetime(rows.pop("position"), unit="s")
    rows[Columns.Weight] = 1.0
    model = SASRecModel(
        n_factors=knobs["width"],
        n_blocks=knobs["layers"],
        n_heads=knobs["heads"],
        session_max_len=knobs["length"],
        batch_size=knobs["batch"],
        loss="softmax",
        item_net_block_types=(IdEmbeddingsItemNet,),
        get_trainer_func=trainer,
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    model.fit(Dataset.construct(rows))
    read = rows.groupby(Columns.User).size().clip(upper=knobs["length"] + 1) - 1
    print(
        json.dumps(
            {
                "events": int(read[read > 0].sum()),
                "seconds": min(seconds),
                "memory_before_mib": before // 1024,
                "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
