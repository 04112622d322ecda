"""Pictures of requests: checked before decoding, decoded off the event loop, and kept for a second question."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

from qwenvl.data.images import ImageError, load_image, squashed
from qwenvl.sample import Image, prepared
from qwenvl.serve.api_errors import ApiError
from qwenvl.serve.api_settings import ServeSettings

_SHOWN = 64


class Pictures:
    """Makes pictures of what requests hold: squashed to `size` by `size` pixels, as the model sees them."""

    def __init__(self, settings: ServeSettings, size: int) -> None:
        self._settings, self._size = settings, size
        self._pool = ThreadPoolExecutor(settings.decoders, thread_name_prefix="qwenvl-decode")
        self._kept: OrderedDict[bytes, Image] = OrderedDict()
        self._most = max(1, settings.picture_memory // (size * size * 3))
        self._lock = threading.Lock()

    async def get(self, url: str, param: str) -> Image:
        """The picture of a "data:" URI or, where the server allows it, of an address.

        Raises ApiError naming the field: 400 for what is never opened, 413 for what is too large, 422 for what is no
        picture.
        """
        if url[:5].lower() != "data:" and (self._settings.fetch is None or url[:4].lower() != "http"):
            shown = url[:_SHOWN].split(":", 1)[0] + ":" if ":" in url[:16] else "a path"
            allowed = " or an address of a host that the server allows" if self._settings.fetch else ""
            raise ApiError(
                400,
                f'{param}: expected a "data:" URI{allowed}, not {shown}; nothing else that a message names is opened',
                param,
                "image_not_allowed",
            )
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._made, url, param)

    def close(self) -> None:
        """Let go of the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _made(self, url: str, param: str) -> Image:
        inline = url[:5].lower() == "data:"
        # of an address the content may change: it is fetched each time
        name = hashlib.blake2b(url.encode(), digest_size=16).digest() if inline else b""
        with self._lock:
            if name in self._kept:
                self._kept.move_to_end(name)
                return self._kept[name]
        limits = self._settings
        try:
            image = load_image(
                url, param, fetch=limits.fetch, max_pixels=limits.max_pixels, max_bytes=limits.max_image_bytes
            )
            image = prepared(image, squashed(image, self._size))
        except ImageError as error:
            large = " more than " in str(error)
            code = "image_too_large" if large else "invalid_image"
            raise ApiError(413 if large else 422, str(error), param, code) from None
        if name:
            with self._lock:
                self._kept[name] = image
                while len(self._kept) > self._most:
                    self._kept.popitem(last=False)
        return image
