"""All scores and ranks of all boards from all events, by nothing but Python's own calendar and arithmetic.

Reads JSON lines: the boards as nightshift.leaderboard declares them, an empty line, and the events, each with its
time in microseconds of Unix time. Prints CSV: board, kind, label, group, user, score, the time when it was reached,
events, position, rank, dense rank.
"""

import collections
import datetime
import json
import sys
import zoneinfo

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def label(kind, local):
    if kind == "daily":
        return f"{local:%Y-%m-%d}"
    if kind == "weekly":
        year, week, _ = local.isocalendar()
        return f"{year:04}-W{week:02}"
    if kind == "monthly":
        return f"{local:%Y-%m}"
    return kind


def score_of(board, events):
    """The score, and when it was reached."""
    last = max(event["micros"] for event in events)
    if board["aggregation"] == "sum":
        return sum(event["score"] for event in events), last
    if board["aggregation"] == "count":
        return len(events), last
    if board["aggregation"] == "last":
        it = max(events, key=lambda event: (event["micros"], event["event_id"]))
        return it["score"], it["micros"]
    wants_lowest = (board["aggregation"] == "best") == (board["direction"] == "ascending")
    sign = 1 if wants_lowest else -1
    it = min(events, key=lambda event: (sign * event["score"], event["micros"], event["event_id"]))
    return it["score"], it["micros"]


def ranked(board, scores):
    """user, score, micros, events, position, rank, dense rank; the best first."""
    is_descending = board["direction"] == "descending"
    # Of equal scores that were reached in one second the ids decide, as in Redis: they follow the scores.
    rows = sorted(scores, key=lambda row: row[0], reverse=is_descending)
    rows.sort(key=lambda row: (-row[1] if is_descending else row[1], row[2] // 1_000_000))
    rank = dense = 0
    before = None
    for position, (user, score, micros, events) in enumerate(rows, 1):
        if score != before:
            rank, dense, before = position, dense + 1, score
        yield user, score, micros, events, position, rank, dense


def main():
    lines = iter(sys.stdin)
    boards = []
    for line in lines:
        if not line.strip():
            break
        boards.append(json.loads(line))
    events = [json.loads(line) for line in lines if line.strip()]
    voided = {event["voids"] for event in events if event["voids"] is not None}
    events = [event for event in events if event["score"] is not None and event["event_id"] not in voided]
    for board in boards:
        zone = zoneinfo.ZoneInfo(board["zone"])
        windows = collections.defaultdict(lambda: collections.defaultdict(list))
        for event in events:
            if event["board"] != board["selector"]:
                continue
            local = (EPOCH + datetime.timedelta(microseconds=event["micros"])).astimezone(zone)
            groups = [""] + [event[column] for column in board["groups"] if event[column]]
            for kind in board["windows"]:
                for group in groups:
                    windows[kind, label(kind, local), group][event["user_id"]].append(event)
        for window, users in windows.items():
            scores = [(user, *score_of(board, of_user), len(of_user)) for user, of_user in users.items()]
            for row in ranked(board, scores):
                print(board["name"], *window, *row, sep=",")


main()
