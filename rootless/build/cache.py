"""Look-ups in the build cache, as one stage of one build is allowed to make them."""

import time

from rootless.build.keys import digests_of, explain, key_of, place_of
from rootless.build.model import Layer
from rootless.build.request import BuildRequest
from storage.build_cache import (
    CachedStep,
    find_step,
    keep_step,
    new_step,
    read_last,
    use_step,
    write_last,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.build.shared_cache import SharedCache
    from rootless.host.paths import Host


def _shared(host: "Host", request: BuildRequest) -> "SharedCache | None":
    if not (request.cache_from or request.cache_to):
        return None
    from rootless.build.shared_cache import SharedCache

    return SharedCache(host, request)


class Cache:
    """Finds steps by their inputs, keeps them, and says why one was not found."""

    def __init__(self, host: "Host", request: BuildRequest, stage: str) -> None:
        self._layout = host.layout
        self._shared = _shared(host, request)
        self._stage = stage
        self._ttl_s = request.cache_ttl_s
        names = {name.lower() for name in request.no_cache_filter}
        self._off = ""
        if request.no_cache:
            self._off = "--no-cache"
        elif stage.lower() in names:
            self._off = f"--no-cache-filter={stage}"

    def find(self, inputs: dict[str, str]) -> CachedStep | None:
        """Return what these inputs made before, None when it has to be made."""
        if self._off:
            return None
        key = key_of(inputs)
        found = find_step(self._layout, key)
        if (found is None or self._is_old(found)) and self._shared is not None:
            found = self._shared.find(key)
        if found is None or self._is_old(found):
            return None
        use_step(self._layout, key)
        if self._shared is not None:
            self._shared.put(found)
        return found

    def _is_old(self, step: CachedStep) -> bool:
        return self._ttl_s is not None and time.time() - step.created_s > self._ttl_s

    def keep(
        self, inputs: dict[str, str], text: str, layer: Layer | None, chain_id: str
    ) -> CachedStep:
        """Remember what was made. Raises StoreUnusable, DiskFull."""
        step = new_step(key_of(inputs), text)
        if layer is not None:
            step = step._replace(
                digest=layer.digest,
                size=layer.size,
                diff_id=layer.diff_id,
                media_type=layer.media_type,
                chain_id=chain_id,
            )
        keep_step(self._layout, step)
        if self._shared is not None:
            self._shared.put(step)
        return step

    def place(self, file: str, line: int, platform: str) -> str:
        """Return the name of a line of a Containerfile in the cache."""
        return place_of(file, self._stage, line, platform)

    def explain(self, place: str, inputs: dict[str, str]) -> str:
        """Say why a step was not found."""
        if self._off:
            return self._off
        found = find_step(self._layout, key_of(inputs))
        if found is not None and self._is_old(found):
            return "it is older than --cache-ttl"
        return explain(read_last(self._layout, place), digests_of(inputs))

    def remember(self, place: str, inputs: dict[str, str]) -> None:
        """Keep what a later miss is explained by. Raises StoreUnusable, DiskFull."""
        digests = digests_of(inputs)
        if read_last(self._layout, place) != digests:
            write_last(self._layout, place, digests)
