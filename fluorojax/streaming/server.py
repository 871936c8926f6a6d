"""A live page in the browser: the last estimate, its standard deviation, latency, noise, drift and events.

A small server of the standard library that this machine alone can reach. Browsers ask for what is new; a browser that
is slow or goes away costs the stream nothing, because results are only put into its place here and are drawn when they
are asked for.
"""

import io
import json
import threading
from collections import deque
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from jaxtyping import Float

from fluorojax.streaming.run import Result

ADDRESS = "127.0.0.1"
"""The loopback address, which other machines cannot reach."""
_WAIT = 2.0  # seconds that a request for the next result waits
_HISTORY = 300  # frames of the curves
_EVENTS = 50
_POLICY = "default-src 'none'; img-src 'self' blob: data:; script-src 'self'; style-src 'self'; connect-src 'self'"
_PAGES = {
    "/": ("live.html", "text/html; charset=utf-8"),
    "/live.js": ("live.js", "text/javascript; charset=utf-8"),
    "/live.css": ("live.css", "text/css; charset=utf-8"),
}


class LivePage:
    """Context manager and sink that shows results in the browser at :attr:`address`."""

    def __init__(self, port: int = 0, *, title: str = "fluorojax stream"):
        """``port`` 0 takes a free one. Raises ``OSError`` where the port cannot be had."""
        self._title = title
        self._news = threading.Condition()
        self._last: Result | None = None
        self._frames = 0
        self._ended = False
        self._curves: deque[tuple[float, float]] = deque(maxlen=_HISTORY)
        self._told: deque[str] = deque(maxlen=_EVENTS)
        self._server = _Server((ADDRESS, port), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, name="fluorojax live page", daemon=True)

    @property
    def address(self) -> str:
        """The address of the page."""
        return f"http://{ADDRESS}:{self._server.server_port}/"

    def __enter__(self) -> "LivePage":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.end()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def take(self, result: Result) -> None:
        """Show one result."""
        noise = float(np.median(result.sd[::4, ::4]))
        with self._news:
            self._last = result
            self._frames += 1
            self._curves.append((result.latency_ms, noise))
            self._told.extend(event.text for event in result.events)
            self._news.notify_all()

    def end(self) -> None:
        """Tell browsers that no further result will come."""
        with self._news:
            self._ended = True
            self._news.notify_all()

    def facts(self, after: int) -> dict[str, Any]:
        """What the page shows besides the images, once there are more than ``after`` results or two seconds have gone.

        ``after`` is the number of results that the page knows.
        """
        with self._news:
            self._news.wait_for(lambda: self._frames > after or self._ended, timeout=_WAIT)
            result = self._last
            known = {
                "title": self._title,
                "results": self._frames,
                "ended": self._ended,
                "latency": [round(latency, 2) for latency, _ in self._curves],
                "noise": [round(noise, 6) for _, noise in self._curves],
                "events": list(self._told),
            }
        if result is None:
            return known
        return known | {
            "frame": result.frame,
            "time_ms": round(result.time_ms, 1),
            "shape": list(result.x.shape),
            "drift": round(result.gain_drift, 4),
            "drift_std": round(result.gain_drift_std, 4),
        }

    def image(self, kind: str) -> bytes | None:
        """The last ``x`` or ``sd`` as a PNG file; None before the first result."""
        with self._news:
            result = self._last
        if result is None:
            return None
        if kind == "sd":
            return _png(result.sd, 0.0, float(np.quantile(result.sd[::4, ::4], 0.99)))
        low, high = np.quantile(result.x[::4, ::4], [0.005, 0.995])
        return _png(result.x, float(low), float(high))


def _png(image: Float[np.ndarray, "H W"], low: float, high: float) -> bytes:
    from PIL import Image

    grey = np.clip((image - low) / max(high - low, 1e-6), 0, 1)
    stream = io.BytesIO()
    Image.fromarray((255 * grey).astype(np.uint8)).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the middle of an answer is no event."""


def _handler(page: LivePage) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def do_GET(self) -> None:
            with suppress(ConnectionError, TimeoutError):
                self._answer()

        def _answer(self) -> None:
            # A page of another site that has its own name point here is refused, as its name is not one of these.
            host = (self.headers.get("Host") or "").rsplit(":", 1)[0]
            if host not in (ADDRESS, "localhost"):
                self._send(HTTPStatus.FORBIDDEN, b"expected 127.0.0.1 or localhost as the host\n", "text/plain")
                return
            parts = urlsplit(self.path)
            if parts.path in _PAGES:
                name, kind = _PAGES[parts.path]
                content = files("fluorojax.streaming").joinpath("static", name).read_bytes()
                self._send(HTTPStatus.OK, content, kind)
            elif parts.path == "/facts":
                after = parse_qs(parts.query).get("after", ["0"])[0]
                facts = page.facts(int(after) if after.isdecimal() and len(after) < 16 else 0)
                self._send(HTTPStatus.OK, json.dumps(facts).encode(), "application/json")
            elif parts.path in ("/x.png", "/sd.png"):
                image = page.image(parts.path[1:-4])
                if image is None:
                    self._send(HTTPStatus.NOT_FOUND, b"there is no frame yet\n", "text/plain")
                else:
                    self._send(HTTPStatus.OK, image, "image/png")
            else:
                self._send(HTTPStatus.NOT_FOUND, b"there is no such page\n", "text/plain")

        def _send(self, status: HTTPStatus, content: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("Content-Security-Policy", _POLICY)
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


__all__ = ["ADDRESS", "LivePage"]
