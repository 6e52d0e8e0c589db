"""What GET /history proves: who stayed too long, and which interface was tapped twice at once."""
import calendar
import time


def _seconds(text):
    return calendar.timegm(time.strptime(text, '%Y-%m-%dT%H:%M:%SZ'))


def lives(history):
    """One record for each object there ever was: its last event, with 'born_ns' and 'died_ns' (None: alive)."""
    of = {}
    for e in (e for e in history['events'] if 'id' in e):  # (what was published has none)
        born = e['time_ns'] if e['event'] == 'create' else of[e['id']]['born_ns']
        of[e['id']] = dict(e, born_ns=born, died_ns=e['time_ns'] if e['event'] == 'delete' else None)
    return list(of.values())


def leaks(history, grace_s=60, expires='tapbox:expires'):
    """Objects that were alive, or are by now, longer than `grace_s` after the time in their tag."""
    return [o for o in lives(history) if expires in o['tags'] and
            (o['died_ns'] or history['now_ns']) / 1e9 > _seconds(o['tags'][expires]) + grace_s]


def duplicates(history, owner='tapbox:owner'):
    """Pairs of sessions with the same owner tag that mirrored one interface at the same time."""
    found, last = [], {}
    ours = [o for o in lives(history) if o['kind'] == 'session' and owner in o['tags']]
    for o in sorted(ours, key=lambda o: o['born_ns']):
        key = (o['eni'], o['tags'][owner])
        before = last.get(key)
        if before is not None and (before['died_ns'] is None or before['died_ns'] > o['born_ns']):
            found.append((before, o))
        if before is None or before['died_ns'] is not None and (o['died_ns'] is None or o['died_ns'] > before['died_ns']):
            last[key] = o
    return found
