"""Answers with what it was sent: the quickest way to see what a sender really delivers."""

from bridge_app.plugin import BasePlugin


class Plugin(BasePlugin):
    def handle(self):
        self.logger.info("%s from %s", self.http_method, self.event.headers.get("user-agent", "an unnamed sender"))
        return {"method": self.http_method, "data": self.data, "query": self.event.query}
