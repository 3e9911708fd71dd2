"""Greets by name: a plugin as a plain function. Try: curl 'http://127.0.0.1:8001/api/v1/webhook/greet?name=Ada'"""


def handle(event):
    data = event.data if isinstance(event.data, dict) else {}
    name = str(data.get("name") or event.query.get("name") or "").strip()
    if not name:
        raise ValueError('a name is needed: send {"name": "Ada"} or ?name=Ada')
    return {"greeting": f"Hello, {name[:100]}!"}
