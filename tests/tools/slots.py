"""When cron expressions are due, by another language's calendar and other time-zone data.

Reads lines of JSON from standard input, each with `expression`, `zone`, `from` and `until` (seconds since 1970), and
writes for each a line with the slots due after `from` and not after `until`: a list of [local time, seconds].
"""

import datetime
import json
import sys
import zoneinfo

# The package's data, never those of the system.
zoneinfo.reset_tzpath(to=[])


def values(field, low, high):
    found = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        if span == "*":
            first, last = low, high
        elif "-" in span:
            first, last = map(int, span.split("-"))
        else:
            first = last = int(span)
        found.update(range(first, last + 1, int(step or 1)))
    return sorted(found)


def instants(local, zone, both):
    first, second = (local.replace(tzinfo=zone, fold=fold).timestamp() for fold in (0, 1))
    shown = datetime.datetime.fromtimestamp(first, zone).replace(tzinfo=None)
    if shown != local:
        # Left out: the moment at which clocks go on lies between the two readings.
        early, late = int(min(first, second)), int(max(first, second))
        offset = datetime.datetime.fromtimestamp(early, zone).utcoffset()
        while late - early > 1:
            middle = (early + late) // 2
            if datetime.datetime.fromtimestamp(middle, zone).utcoffset() == offset:
                early = middle
            else:
                late = middle
        return [(late, "")]
    if first == second:
        return [(int(first), "")]
    return [(int(first), "")] + ([(int(second), "#2")] if both else [])


def slots(expression, zone, begin, until):
    zone = zoneinfo.ZoneInfo(zone)
    minutes, hours, days, months, weekdays = (
        values(field, *limits)
        for field, limits in zip(expression.split(), [(0, 59), (0, 23), (1, 31), (1, 12), (0, 6)])
    )
    any_day, any_weekday = (expression.split()[place] == "*" for place in (2, 4))
    both = expression.split()[1].startswith("*")
    day = datetime.datetime.fromtimestamp(begin, zone).date() - datetime.timedelta(days=2)
    end = datetime.datetime.fromtimestamp(until, zone).date() + datetime.timedelta(days=2)
    found = {}
    while day <= end:
        on_day = day.day in days
        on_weekday = day.isoweekday() % 7 in weekdays
        matches = (on_day and on_weekday) if any_day or any_weekday else (on_day or on_weekday)
        if matches and day.month in months:
            for hour in hours:
                for minute in minutes:
                    local = datetime.datetime(day.year, day.month, day.day, hour, minute)
                    for instant, again in instants(local, zone, both):
                        if begin < instant <= until:
                            # Of several at once, the one that clocks show then is the last.
                            found[instant] = max(found.get(instant, ""), local.isoformat(timespec="minutes") + again)
        day += datetime.timedelta(days=1)
    return [[local, instant] for instant, local in sorted(found.items())]


for line in sys.stdin:
    asked = json.loads(line)
    print(json.dumps(slots(asked["expression"], asked["zone"], asked["from"], asked["until"])), flush=True)
