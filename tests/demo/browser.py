"""A visitor of the shop, who sees pages, follows redirects by hand, fills in forms and keeps cookies."""

from __future__ import annotations

import http.client
import re
from http.cookies import SimpleCookie
from typing import NamedTuple
from urllib.parse import urlencode


class Seen(NamedTuple):
    """What came back."""

    status: int
    headers: http.client.HTTPMessage
    text: str


class Browser:
    """Requests to one shop on 127.0.0.1, each on a connection of its own."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.cookies = SimpleCookie()

    def other(self) -> Browser:
        """Another visitor of the same shop."""
        return Browser(self.port)

    def get(self, path: str, method: str = "GET") -> Seen:
        return self._request(method, path)

    def post(self, path: str, **fields: object) -> Seen:
        return self._request("POST", path, urlencode(fields), {"Content-Type": "application/x-www-form-urlencoded"})

    def order(self, product: int, *, n: object = 1, customer: str = "Ada", form: str | None = None) -> Seen:
        """Open the product's page, and send its form."""
        form = form or self.form(product)
        return self.post(f"/product/{product}/order", form=form, customer=customer, n=n)

    def form(self, product: int) -> str:
        """The number of a freshly opened order form."""
        match = re.search('name="form" value="([^"]*)"', self.get(f"/product/{product}").text)
        assert match is not None
        return match[1]

    def _request(self, method: str, path: str, body: str | None = None, headers: dict[str, str] | None = None) -> Seen:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            cookies = self.cookies.output([], "", ";").strip()
            connection.request(method, path, body, {**(headers or {}), "Cookie": cookies})
            answer = connection.getresponse()
            for cookie in answer.headers.get_all("Set-Cookie", []):
                self.cookies.load(cookie)
            return Seen(answer.status, answer.headers, answer.read().decode())
        finally:
            connection.close()
