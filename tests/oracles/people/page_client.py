"""An HTTP client that sends what a browser would."""

import http.client
import json


class Page:
    """Talks to a server as a browser does."""

    def __init__(self, port):
        self.port = port

    def ask(self, method, path, body=None, **headers):
        """(status, headers, content)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, headers)
        reply = connection.getresponse()
        content = reply.read()
        connection.close()
        return reply.status, reply.headers, content

    def get(self, path, **headers):
        return self.ask("GET", path, **headers)

    def post(self, path, said, **headers):
        """(status, answer)."""
        headers = {"Content_Type": "application/json", **headers}
        body = said if isinstance(said, bytes) else json.dumps(said).encode()
        status, _, content = self.ask("POST", path, body, **headers)
        return status, json.loads(content)
