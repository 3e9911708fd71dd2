"""Sums up a GitHub webhook (ping, push, issues, pull requests; others by name) in one line, for a chat or a log."""

import json

from webhook_bridge.plugin import BasePlugin


class Plugin(BasePlugin):
    def post(self):
        kind = self.event.headers.get("x-github-event", "")
        if not kind:
            raise ValueError("the header X-GitHub-Event is missing: is the sender GitHub?")
        if isinstance(self.get_data("payload"), str):  # the content type that GitHub offers first is a form
            self.data = json.loads(self.data["payload"])
        summaries = {"ping": self.ping, "push": self.push, "issues": self.issue, "pull_request": self.pull_request}
        summary = summaries[kind]() if kind in summaries else self.other(kind)
        self.logger.info("%s", summary)
        return {"event": kind, "repository": self.repository(), "summary": summary}

    def repository(self):
        return (self.get_data("repository") or {}).get("full_name", "")

    def sender(self):
        return (self.get_data("sender") or {}).get("login", "somebody")

    def ping(self):
        return f"GitHub says: {self.get_data('zen', 'hello')}"

    def push(self):
        ref = self.get_data("ref", "").removeprefix("refs/heads/").removeprefix("refs/tags/")
        commits = self.get_data("commits") or []
        who = (self.get_data("pusher") or {}).get("name") or self.sender()
        if self.get_data("deleted"):
            return f"{who} deleted {ref} of {self.repository()}"
        titles = "; ".join(commit.get("message", "").partition("\n")[0] for commit in commits[:3])
        count = f"{len(commits)} commit{'' if len(commits) == 1 else 's'}"
        return f"{who} pushed {count} to {ref} of {self.repository()}" + (f": {titles}" if titles else "")

    def issue(self):
        return self.numbered(self.get_data("action"), self.get_data("issue") or {})

    def pull_request(self):
        pull_request = self.get_data("pull_request") or {}
        is_merged = self.get_data("action") == "closed" and pull_request.get("merged")
        return self.numbered("merged" if is_merged else self.get_data("action"), pull_request)

    def numbered(self, action, item):
        return f"{self.sender()} {action} #{item.get('number')} {item.get('title', '')!r}"

    def other(self, kind):
        return " ".join(filter(None, (kind, self.get_data("action"), "by", self.sender())))
