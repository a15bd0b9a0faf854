"""What every test shares: one thread, since small tensors on many threads mostly wait; and no hub, ever."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
