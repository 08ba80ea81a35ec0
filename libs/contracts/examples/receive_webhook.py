"""Receive a webhook, and verify its signature.

Needs standardwebhooks and trunkline-contracts. Without a 2xx response the webhook is retried.
"""

import os
from http.server import BaseHTTPRequestHandler, HTTPServer

from standardwebhooks import Webhook, WebhookVerificationError

from trunkline_contracts import read


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            Webhook(os.environ["WEBHOOK_AUDIT_SECRET"]).verify(body.decode(), dict(self.headers))
        except WebhookVerificationError:
            return self.send_error(401)
        fact = read(body)
        print(fact.type, fact.subject, fact.sequence, flush=True)
        self.send_response(204)
        return self.end_headers()


HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Receiver).serve_forever()
