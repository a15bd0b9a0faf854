"""Save a bundle over itself again and again, until killed: ``python -m tests.recsys.kill_saves FOLDER``."""

import sys
from pathlib import Path

from recsys.bundle import load_bundle, save_bundle

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    bundle = load_bundle(folder)
    print("saving", flush=True)
    while True:
        save_bundle(bundle, folder)
