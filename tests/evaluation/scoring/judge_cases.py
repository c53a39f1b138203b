"""Predictions on the disk and judges that answer by rule, for tests of the served judge."""

import json

YES = {"reference": "Red", "question": "Which colour?"}


def write_predictions(path, responses, **more):
    """A file of items i0, i1, … with these responses; the task type alternates."""
    items = [
        {"item_id": f"i{place}", "task_type": ("odd", "even")[place % 2 == 0], "response": response}
        for place, response in enumerate(responses)
    ]
    path.write_text("".join(json.dumps({**YES, **item, **more}) + "\n" for item in items))
    return path


def shown(body):
    """The texts that a judge is shown."""
    return json.loads(body["messages"][-1]["content"])


def check(body):
    """The check that it must repeat."""
    kinds = body["response_format"]["json_schema"]["schema"]["properties"]
    return kinds["check"]["enum"][0]


def verdict(body, score=4, **more):
    """A reply in the form that was asked for."""
    return json.dumps({"check": check(body), **more, "score": score})


def honest(body, wire):
    """Right is what has the word red; five or one."""
    right = "red" in shown(body)["predicted answer"].lower()
    wire.say(verdict(body, 5 if right else 1, pred="yes" if right else "no"))
