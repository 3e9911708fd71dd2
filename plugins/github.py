"""Sums up a GitHub webhook (ping, push, issues; others by name) in one line, for a chat or a log."""

from webhook_bridge.plugin import BasePlugin


class Plugin(BasePlugin):
    def post(self):
        kind = self.event.headers.get("x-github-event", "")
        if not kind:
            raise ValueError("the header X-GitHub-Event is missing: is the sender GitHub?")
        summary = {"ping": self.ping, "push": self.push, "issues": self.issues}.get(kind, self.other)()
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
        titles = [commit.get("message", "").partition("\n")[0] for commit in commits]
        count = f"{len(commits)} commit{'' if len(commits) == 1 else 's'}"
        return f"{who} pushed {count} to {ref} of {self.repository()}" + (
            f": {'; '.join(titles[:3])}" if titles else ""
        )

    def issues(self):
        issue = self.get_data("issue") or {}
        return f"{self.sender()} {self.get_data('action')} #{issue.get('number')} {issue.get('title', '')!r}"

    def other(self):
        return f"{self.event.headers['x-github-event']} {self.get_data('action', '')} by {self.sender()}".replace(
            "  ", " "
        )
