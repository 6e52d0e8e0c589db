"""A run: one host's life, drawn from its seed.

Something is asked of it from several sides, EC2 misbehaves, others take its sources and objects away, the service is killed
at a named crash point (or inside `tapbox sweep`), the recorder whenever, then the service is started again or only the
sweeper runs; and when all is over, the verdict.
"""
import http.client
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import threading
import time

import host
import sqs
import verdict
import world

SURE = 500000  # runs numbered from here on (within their seed) are drawn to come by their point
# Only `sweep --standing` comes by these.
STANDING = {"DeleteTrafficMirrorFilter", "DeleteTrafficMirrorTarget"}
# `sweep` comes by these too.
SWEEPING = {"DescribeTrafficMirrorSessions", "DescribeTrafficMirrorFilters", "DescribeTrafficMirrorTargets",
            "DeleteTrafficMirrorSession"}
# Only `sweep --role` comes by this.
ROLE = {"AssumeRole"}
# Only a plan (?dry_run=1) comes by these.
PLANNING = {"DescribeInstanceTypes", "DescribeSecurityGroups", "DescribeRouteTables", "CreateMultipartUpload",
            "AbortMultipartUpload", "GetObjectLockConfiguration"}
# ... and only where versions are to be locked.
LOCKING = {"GetObjectLockConfiguration"}
# Only once in a run: each minute.
ONCE = {"PutMetricData"}
# Only with a policy of the user's own.
POLICY = {"ModifyTrafficMirrorSession", "capture_decided"}
# S3 is asked for parts that it has only after a crash between them, and an upload is forgotten when it is gone: after a
# crash before its completion was written down.
PARTS = {"CreateMultipartUpload", "AbortMultipartUpload", "UploadPart", "CompleteMultipartUpload", "ListParts",
         "ListMultipartUploads", "upload_begun", "upload_part", "upload_forget"}
AGAIN = {"HeadObject": "PutObject:after", "ListParts": "upload_part:after", "upload_forget": "CompleteMultipartUpload:after"}
# Only when somebody has changed a filter before the reconciler's first look, 5 s after the start, and it is still used then.
TOUCHED = {"DeleteTrafficMirrorFilterRule", "source_touched"}
PATIENCE_S = 90  # a capture that is not final so long after everything answers again is stuck


def draw(seed, points):
    """Everything about a run that is decided beforehand."""
    rng = world.dice("life", seed)
    act, side = points[seed % len(points)]
    sure = seed % 1000000 >= SURE  # the point was missed: little else gets in its way
    plan = {"seed": seed, "act": act, "side": side, "nth": rng.choices([1, 2, 3, 5], [7, 2, 1, 1])[0],
            "kind": "serve", "after": rng.choices(["restart", "sweep"], [3, 1])[0], "second": "",
            "prey": "", "restart_after_s": rng.choice([0, 0, rng.uniform(0, 1.5)]), "recorder_dies_s": 0, "service_dies_s": 0,
            "both_die": rng.random() < 0.3, "sweep_beside": rng.random() < 0.15,
            "plant": rng.random() < 0.25, "role": act in ROLE or rng.random() < 0.2,
            "gentle_end": rng.random() < 0.7,
            "policy": act in POLICY or world.dice("policy", seed).random() < 0.25,
            "away": world.dice("away", seed).random() < 0.3,
            "parts": world.dice("parts", seed).random() < 0.25,
            "locked": act in LOCKING or world.dice("locked", seed).random() < 0.1,
            "queue": (sqs.ACTS[0], "before") in points and (act in sqs.ACTS or world.dice("queue", seed).random() < 0.3)}
    if act in ONCE:
        plan["nth"] = 1
    if act in STANDING:
        plan.update(kind="standing", nth=1)
    elif act in ROLE or act in SWEEPING and rng.random() < 0.35:
        plan.update(kind="sweep", nth=1)
    if act in AGAIN:
        plan.update(act=AGAIN[act].split(":")[0], side=AGAIN[act].split(":")[1], after="restart", second=f"{act}:{side}#1")
    elif plan["kind"] == "serve" and plan["after"] == "restart" and rng.random() < 0.3:
        second = rng.choice(points)
        plan["second"] = f"{second[0]}:{second[1]}#{rng.choice([1, 1, 2])}"
    plan["parts"] = plan["parts"] or bool(PARTS & {act, plan["second"].split(":")[0]})
    if rng.random() < 0.35:
        plan["recorder_dies_s"] = rng.uniform(0.3, 6)
    if rng.random() < 0.2:
        plan["service_dies_s"] = rng.uniform(1, 7)
    if plan["kind"] != "serve":
        plan["service_dies_s"] = rng.uniform(1.5, 4)
    elif plan["after"] == "sweep":
        plan["service_dies_s"] = rng.uniform(4, 8)  # at the latest
    rules = [rule for _ in range(rng.choices([0, 1, 2, 3, 4], [2, 3, 3, 2, 1])[0]) for rule in world.faults(rng)]
    plan["lifted_s"] = rng.uniform(2, 8)
    late = world.dice("tags", seed)
    if late.random() < 0.3:
        rules.append({"action": "CreateTags", "do": {"tags_after_ms": late.randint(300, 6000)}})
    if act == "capture_withdraw_extend":
        rules.append({"action": "CreateTags", "do": {"error": {"status": 403, "code": "UnauthorizedOperation"}}})
        plan["lifted_s"] = 8
    if sure:
        plan.update(nth=1, service_dies_s=plan["service_dies_s"] if plan["kind"] != "serve" else 0, recorder_dies_s=0)
        rules = rules[-1:] if act == "capture_withdraw_extend" else []
        plan["prey"] = act.removeprefix("DeleteTrafficMirror").lower() if act in STANDING else ""
    plan["rules"] = rules
    plan["actions"] = draw_actions(rng, act)
    some = world.dice("queued", seed)
    for _ in range(some.randint(1, 3) if plan["queue"] else 0):
        plan["actions"].append({"at": round(some.uniform(0, 3), 2), "what": "queued", "instance": some.choice([1, 1, 2, 5, 6]),
                                "times": some.randint(1, 3)})
    hands = world.dice("clock", seed)
    plan["clock"] = [] if sure or hands.random() >= 0.25 else sorted(
        [round(hands.uniform(0, 7), 2), hands.choice([-1, 1]) * round(hands.choice([
            hands.uniform(1, 10), hands.uniform(60, 600), hands.uniform(3600, 86400)]))] for _ in range(hands.randint(1, 3)))
    plan["deeds"] = [] if sure else sorted(
        ({"at": round(rng.uniform(0.3, 7), 2), **world.deed(rng)} for _ in range(rng.choices([0, 1, 2], [4, 3, 1])[0])),
        key=lambda deed: deed["at"])
    if plan["after"] == "sweep" or plan["kind"] != "serve":  # a sweeper knows nothing of what has no tags
        plan["deeds"] = [deed for deed in plan["deeds"] if deed["what"] != "tags"]
    if act in TOUCHED:
        plan.update(nth=1, after="restart", service_dies_s=0, deeds=[{"at": 3.5, "what": "rules"}])
        plan["actions"] = [{"at": 0, "what": "request", "source": world.eni(2), "duration": "20s", "times": 1}]
    return plan


def draw_actions(rng, act):
    """What is asked of the service: (seconds, what, ...)."""
    def sometimes(chance, *acts):
        return rng.random() < chance or act in acts

    def soon(least=0.0, most=3.0):
        return round(rng.uniform(least, most), 2)

    actions = [{"at": soon(0, 0.6), "what": "finding", "instance": 1, "times": rng.randint(1, 4)},
               {"at": soon(0, 1.0), "what": "request", "source": world.eni(2), "duration": f"{rng.randint(2, 5)}s",
                "times": rng.randint(1, 2)}]
    for _ in range(rng.randint(0, 3)):
        actions.append({"at": soon(), "what": "request", "source": world.instance(rng.randint(3, 12)),
                        "duration": f"{rng.randint(2, 6)}s", "times": rng.randint(1, 2)})
    for _ in range(rng.randint(0, 2)):
        actions.append({"at": soon(), "what": "finding", "instance": rng.choice([1, 1, 2, 5, 6]),
                        "times": rng.randint(1, 3)})
    if sometimes(0.3, "capture_error"):
        actions.append({"at": soon(), "what": "request", "source": "i-0123456789abcdef0", "duration": "3s", "times": 1})
    if sometimes(0.2):
        actions.append({"at": soon(), "what": "request", "source": world.STOPPED_ENI, "duration": "3s", "times": 1})
    if sometimes(0.4, "capture_ask_stop"):
        actions.append({"at": soon(1.2, 3), "what": "stop", "of": 1})
    if sometimes(0.5, "capture_extended", "capture_ask_extend", "capture_withdraw_extend", "CreateTags",
                 "ModifyTrafficMirrorSession"):
        # joins the first, and so makes it longer, and with a policy wider
        actions.append({"at": soon(0.9, 2), "what": "request", "source": world.instance(1), "times": 1,
                        "duration": f"{rng.randint(5, 8)}s"})
    if sometimes(0.4, "capture_extended", "capture_ask_extend", "capture_withdraw_extend", "CreateTags",
                 "custody_add"):
        actions.append({"at": soon(1.2, 2.2), "what": "extend", "of": 0, "duration": f"{rng.randint(2, 4)}s"})
    if sometimes(0.15, *PLANNING):
        actions.append({"at": soon(), "what": "plan", "source": world.instance(world.FAR)})
    if sometimes(0.2, "capture_news_read"):
        actions.append({"at": soon(1, 2.5), "what": "news", "instance": 1})
    return actions


class Life:
    def __init__(self, plan, context, names, folder):
        self.plan, self.context, self.names, self.folder = plan, context, names, folder
        self.owner = f"chaos-{plan['seed']}"
        self.acks, self.covered, self.odd = [], [], []
        self.queue = None
        self.queued = []  # what the queue took, and the service has to take from there
        self.mu = threading.Lock()
        self.asked = {}  # number of the action -> its capture
        self.began = 0
        self.restarted = 0  # when the service last began or changed its mind about EC2
        self.lifted_ns = self.swept_ns = 0
        self.awake = []  # when a tapbox ran that could take sessions away: [since_ns, until_ns]
        self.serving = []  # those of them that were the service
        self.stripped = []  # ids of what others took the tags of
        self.granted = []  # extensions: (capture, deadline)
        self.over = threading.Event()
        self.awsim = self.service = None
        self.history = {}

    def since(self):
        return time.monotonic() - self.began

    # --- those who ask ---

    def deliver(self, number, method, path, body, key, **headers):
        """As a sender does that gives up only when the day is over."""
        token = self.context["tokens"]["alert" if path == "/v1/events" else "analyst"]
        pause = 0.05
        until = time.monotonic() + 8
        while not self.over.is_set() and time.monotonic() < until:
            try:
                status, answer = self.service.call(method, path, body, token, timeout=15, **headers)
            except (OSError, http.client.HTTPException, ValueError):
                status, answer = 0, None
            if status in (200, 202):
                capture = (answer.get("capture") or {}).get("id", "")
                with self.mu:
                    if body and path in ("/v1/events", "/v1/captures"):
                        self.acks.append({"body": body, "status": status, "decision": answer.get("decision", ""),
                                          "capture": capture, "key": key})
                    if capture:
                        self.asked.setdefault(number, capture)
                    if path.endswith("/extend"):
                        self.granted.append((capture, answer["capture"]["deadline"]))
            if status and status < 500 and status != 429:
                return
            time.sleep(pause)
            pause = min(0.4, pause * 2)

    def account(self, source):
        return world.AWAY if self.plan["away"] and world.is_away(source) else world.ACCOUNT

    def finding(self, rng, n):
        return world.finding(rng, n, account=self.account(world.instance(n)))

    def enqueue(self, body, times):
        """SQS has it from here on, and the service to take it from there, once."""
        for _ in range(times):
            self.queue.send(body)
        with self.mu:
            self.queued.append({"body": body, "status": 202, "decision": "", "capture": "", "key": ""})

    def act(self, number, action, seed):
        rng = world.dice("act", seed)
        if self.over.wait(max(0, action["at"] - self.since())):
            return
        what, calls = action["what"], []
        if what == "finding":
            calls = [("POST", "/v1/events", self.finding(rng, action["instance"]), f"finding {seed}", {})]
        elif what == "queued":
            self.enqueue(self.finding(rng, action["instance"]), action["times"])
        elif what == "request":
            away = {"account": world.AWAY} if self.account(action["source"]) == world.AWAY else {}
            body = json.dumps({"source": action["source"], "duration": action["duration"], "reason": f"chaos {seed}", **away})
            calls = [("POST", "/v1/captures", body, f"request {seed}", {"Idempotency_Key": seed})]
        elif what == "news":
            calls = [("POST", "/v1/events", world.news(rng, action["instance"]), f"news {seed}", {})]
        elif what == "plan":
            body = json.dumps({"source": action["source"], "reason": f"plan {seed}"})
            calls = [("POST", "/v1/captures?dry_run=1", body, "", {})]
        else:
            until = time.monotonic() + 4
            while action["of"] not in self.asked and time.monotonic() < until and not self.over.wait(0.05):
                pass
            capture = self.asked.get(action["of"])
            if capture:
                body = json.dumps({"duration": action["duration"], "reason": "chaos"}) if what == "extend" else None
                calls = [("POST", f"/v1/captures/{capture}/{what}", body, "", {})]
        threads = [threading.Thread(target=self.deliver, args=(number, *call[:4]), kwargs=call[4], daemon=True)
                   for call in calls for _ in range(action.get("times", 1))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    # --- those who take away ---

    def take(self, kind):
        """Deletes the newest of ours of that kind, as somebody else in the account may."""
        ours = [o for o in verdict.owned(self.awsim.history(), self.owner) if o["kind"] == kind and not o["until_ns"]]
        if not ours:
            return "nothing"
        key = ours[-1]["id"]
        if kind == "session":
            return key if self.awsim.change({"delete_session": key}) else "nothing"
        words = "TrafficMirror" + kind.capitalize()
        try:
            host.ec2(self.names, "Delete" + words, **{words + "Id": key})
        except (OSError, http.client.HTTPException, RuntimeError) as e:
            return f"nothing: {e}"
        return key

    def spoil(self):
        """Of the newest filter of ours: takes a rule out, and puts one in that hides everything."""
        ours = [o for o in verdict.owned(self.awsim.history(), self.owner) if o["kind"] == "filter" and not o["until_ns"]]
        if not ours:
            return "nothing"
        try:
            rules = host.ec2(self.names, "DescribeTrafficMirrorFilterRules", TrafficMirrorFilterId=ours[-1]["id"])
            host.ec2(self.names, "CreateTrafficMirrorFilterRule", TrafficMirrorFilterId=ours[-1]["id"], TrafficDirection="ingress",
                     RuleNumber=1, RuleAction="reject", SourceCidrBlock="0.0.0.0/0", DestinationCidrBlock="0.0.0.0/0")
            if "<trafficMirrorFilterRuleId>" in rules:
                host.ec2(self.names, "DeleteTrafficMirrorFilterRule",
                         TrafficMirrorFilterRuleId=host.between(rules, "trafficMirrorFilterRuleId"))
        except (OSError, http.client.HTTPException, RuntimeError) as e:
            return f"nothing more: {e}"
        return ours[-1]["id"]

    def bend(self):
        """The newest session of ours: it mirrors a part, and under a VNI that nobody waits for."""
        ours = [o for o in verdict.owned(self.awsim.history(), self.owner) if o["kind"] == "session" and not o["until_ns"]]
        if not ours:
            return "nothing"
        try:
            host.ec2(self.names, "ModifyTrafficMirrorSession", TrafficMirrorSessionId=ours[-1]["id"], VirtualNetworkId=77, PacketLength=60)
        except (OSError, http.client.HTTPException, RuntimeError) as e:
            return f"nothing: {e}"
        return ours[-1]["id"]

    def strip(self):
        """The newest of ours that expires and whose id the store has, of its tags: by nothing else can a tapbox know it then."""
        known = {row["aws_id"] for row in self.service.rows("SELECT aws_id FROM resources WHERE state = 'created'")}
        ours = [o["id"] for o in verdict.owned(self.awsim.history(), self.owner)
                if o["id"] in known and "tapbox:expires" in o["tags"] and not o["until_ns"]]
        if not ours:
            return "nothing"
        self.stripped.append(ours[-1])
        try:
            host.ec2(self.names, "DeleteTags", ResourceId_1=ours[-1])
        except (OSError, http.client.HTTPException, RuntimeError) as e:
            return f"nothing: {e}"
        return ours[-1]

    def meddle(self):
        """Others, one deed after the other; a thread."""
        for deed in self.plan["deeds"]:
            if self.over.wait(max(0, deed["at"] - self.since())):
                return
            if deed["what"] == "s3":
                host.way_to_s3(self.names, deed["how"])
                self.service.note(f"S3 is away: {deed['how']}")
                self.over.wait(deed["for_s"])
                host.way_to_s3(self.names, "")
                self.service.note("S3 is back")
            elif deed["what"] == "rules":
                self.service.note(f"somebody changes the rules of a filter: {self.spoil()}")
            elif deed["what"] == "session":
                self.service.note(f"somebody changes a session: {self.bend()}")
            elif deed["what"] == "tags":
                self.service.note(f"somebody strips an object of its tags: {self.strip()}")
            elif deed["what"] == "delete":
                self.service.note(f"somebody deletes a {deed['kind']}: {self.take(deed['kind'])}")
            else:
                self.service.note(f"the world changes: {deed['change']} {self.awsim.change(deed['change'])}")

    def set_clock(self):
        """Somebody sets the host's wall clock, forward and back; a thread."""
        for at, by_s in self.plan["clock"]:
            if self.over.wait(max(0, at - self.since())):
                return
            self.service.set_clock(by_s)
            self.service.note(f"the clock is set: {by_s:+d} s")

    def sweep_beside(self):
        """The timer of another host, while the service runs; a thread."""
        while not self.over.wait(1.5):
            self.service.sweep(*self.roles())

    # --- those who kill ---

    def service_ended(self):
        """True when it is dead; says whether that was to be."""
        code = self.service.process.poll()
        if code is None:
            return False
        self.falls_asleep()
        if self.service.killed:
            return True
        self.service.killed = True  # said once
        if code == -signal.SIGKILL:
            self.service.note("died at its crash point")
            self.covered.append(self.crash.split("#")[0])
        else:
            self.odd.append(f"the service ended by itself, status {code}")
        return True

    def start(self, crash):
        self.crash = crash
        self.service.start(crash)
        self.serving.append([time.time_ns(), 0])
        self.awake.append(self.serving[-1])
        self.restarted = time.monotonic()

    def falls_asleep(self):
        if self.awake[-1][1] == 0:
            self.awake[-1][1] = time.time_ns()

    def lift(self):
        if not self.lifted_ns and self.since() >= self.plan["lifted_s"]:
            self.awsim.faults([])
            self.lifted_ns = time.time_ns()
            self.service.note("no more faults")

    def point(self):
        return f"{self.plan['act']}:{self.plan['side']}#{self.plan['nth']}"

    def open(self):
        """Captures that are not final yet."""
        return [c for c in self.service.captures().values() if c["state"] not in verdict.FINAL]

    def is_drained(self):
        return self.queue is None or self.queue.left() == 0

    def still_there(self, standing=False):
        return [o for o in verdict.owned(self.awsim.history(), self.owner)
                if not o["until_ns"] and (standing or "tapbox:expires" in o["tags"])]

    def leaves_prey(self):
        """Whether there is what the sweeper is to be killed at; nobody waits for that for ever."""
        return (not self.plan["prey"] or self.since() > 30
                or self.plan["prey"] in {o["kind"] for o in self.still_there(standing=True)})

    def serve(self):
        """With the service killed and started again, until every capture is final."""
        plan = self.plan
        deaths = [(plan["recorder_dies_s"], "recorder"), (plan["service_dies_s"], "service")]
        deaths = sorted(d for d in deaths if d[0])
        again = look = 0
        crash = self.point() if plan["kind"] == "serve" else ""
        self.start(crash)
        while True:
            time.sleep(0.05)
            self.lift()
            if deaths and self.since() >= deaths[0][0] and self.leaves_prey():
                who = deaths.pop(0)[1]
                if who == "recorder":
                    self.service.kill_recorder()
                elif not (plan["after"] == "restart" and plan["kind"] == "serve" and again):
                    self.service_ended()
                    if plan["both_die"]:
                        self.service.kill_recorder()
                    self.service.end(signal.SIGKILL)
            if self.service_ended():
                if self.odd:
                    return
                if plan["after"] == "sweep" or plan["kind"] != "serve":
                    return
                if not again:
                    again = time.monotonic() + plan["restart_after_s"]
                if time.monotonic() >= again:
                    again = 0
                    crash, plan["second"] = plan["second"], ""
                    self.start(crash)
                continue
            if time.monotonic() >= look:
                look = time.monotonic() + 0.3
                if (all(not t.is_alive() for t in self.senders) and self.lifted_ns and not self.open()
                        and self.is_drained() and not self.open()):
                    return
                if self.is_late():
                    return

    def is_late(self):
        """Nothing stands in its way any more, and it is not done."""
        if not self.lifted_ns or time.monotonic() <= self.restarted + PATIENCE_S:
            return False
        last = max([c["deadline_utc_ns"] for c in self.service.captures().values()] + [self.lifted_ns])
        return time.time_ns() > last + PATIENCE_S * verdict.NS

    def roles(self):
        """Whose accounts are swept; without any it is our own, with our own rights."""
        away = self.plan["away"]
        return ["--role", world.ROLE] * (self.plan["role"] or away) + ["--role", world.AWAY_ROLE] * away

    def sweep(self):
        """Nothing but the sweeper, on another host, until nothing is left that expires."""
        crash = self.point() if self.plan["kind"] != "serve" else ""
        standing = self.plan["kind"] == "standing"
        options = ["--standing"] * standing + self.roles()
        last_ns = time.time_ns() + verdict.LONGEST_S * verdict.NS  # what says that it expires later is a leak
        while True:
            self.lift()
            left = self.still_there(standing)
            soonest = min([verdict.utc_ns(o["tags"]["tapbox:expires"]) for o in left if "tapbox:expires" in o["tags"]],
                          default=0)
            latest = max([verdict.utc_ns(o["tags"]["tapbox:expires"]) for o in left if "tapbox:expires" in o["tags"]],
                         default=0)
            soonest, latest = min(soonest, last_ns), min(latest, last_ns)
            if crash and time.time_ns() > (latest if standing else soonest) + verdict.NS:
                self.swept_ns = time.time_ns()  # nobody could have before
                # where there is nothing to delete the point is not come by: that is a run like any other
                if self.service.sweep(*options, crash=crash) == -signal.SIGKILL:
                    self.covered.append(crash.split("#")[0])
                crash = ""
            elif not crash:
                self.service.sweep(*options)
                if not self.still_there(standing) and self.lifted_ns:
                    return
            if self.lifted_ns and time.time_ns() > max(latest, self.lifted_ns) + PATIENCE_S * verdict.NS:
                return
            # AWS's clock, by which it is judged, has whole seconds
            time.sleep(max(0.3, min(2.0, (soonest - time.time_ns()) / verdict.NS + 1)) if soonest else 0.5)

    # --- from birth to verdict ---

    def live(self):
        plan, out = self.plan, self.context["out"]
        os.makedirs(self.folder)
        self.awsim = host.Awsim(out, self.names, self.folder, world.describe(
            self.names, self.folder + "/awsim.sock", away=plan["away"]))
        traffic = host.Traffic(self.names)
        try:
            planted = host.plant(self.names) if plan["plant"] else []
            self.awsim.faults(plan["rules"])
            if plan["queue"]:
                self.queue = sqs.Queue(self.owner)
            self.service = host.Service(out, self.names, self.folder, self.owner, self.context["tokens_file"],
                                        policy=world.write_policy(self.folder) if plan["policy"] else "",
                                        away=plan["away"], parts=plan["parts"], locked=plan["locked"],
                                        queue=self.queue.url if self.queue else "")
            if plan["clock"]:
                self.service.may_be_set(self.context["set_clock"])
            self.began = time.monotonic()
            self.senders = [threading.Thread(target=self.act, args=(n, action, f"{plan['seed']}-{n}"), daemon=True)
                            for n, action in enumerate(plan["actions"])]
            self.others = [threading.Thread(target=deed, daemon=True) for deed in (self.meddle, self.set_clock)]
            if plan["sweep_beside"]:
                self.others.append(threading.Thread(target=self.sweep_beside, daemon=True))
            for thread in self.senders + self.others:
                thread.start()
            self.serve()
            only_swept = self.service.process.poll() is not None
            if only_swept:
                self.over.set()
                self.awake.append([time.time_ns(), 0])
                self.sweep()
                self.falls_asleep()
                if plan["gentle_end"]:  # the host comes back: its captures end too
                    self.awsim.faults([])
                    self.start("")
                    while ((not self.is_drained() or self.open()) and not self.is_late()
                           and not self.service_ended()):
                        time.sleep(0.3)
            self.over.set()
            for thread in self.senders + self.others:
                thread.join()
            self.service_ended()
            self.service.end(signal.SIGTERM if plan["gentle_end"] else signal.SIGKILL)
            return self.judge(planted, only_swept and not plan["gentle_end"])
        finally:
            self.over.set()
            if self.service is not None:
                self.service.end(signal.SIGKILL)
            traffic.stop()
            self.awsim.stop()
            if self.queue is not None:
                self.queue.drop()

    def judge(self, planted, only_swept):
        history = verdict.unstripped(self.awsim.history(), self.stripped)
        captures, alerts = self.service.captures(), self.service.alerts()
        if not only_swept:  # else they wait in the queue for a service
            self.acks += self.queued
        excused_ns = max(self.lifted_ns if self.plan["rules"] else 0, self.swept_ns)
        leaks, lag = verdict.leaks(history, self.owner, self.context["grace_s"], excused_ns, self.awake)
        longer, longer_lag = verdict.outlived(history, self.owner, captures, self.context["grace_s"], excused_ns, self.serving)
        result = {"leaks": leaks + longer + verdict.nobodys(history, self.owner, planted), "duplicates": verdict.duplicates(history, self.owner) + verdict.twice(self.acks) + verdict.began_twice(alerts),
                  "stuck": [] if only_swept else verdict.stuck(captures),
                  "lost_alerts": verdict.lost(self.acks, captures, alerts),
                  "other": self.odd + verdict.touched(history, self.owner, planted)
                  + verdict.cut_short(history, self.owner, captures) + verdict.taken_back(self.granted, captures)}
        sessions = [o for o in verdict.owned(history, self.owner) if o["kind"] == "session"]
        self.history = history
        return {**result, "lag_s": round(max(lag, longer_lag) / verdict.NS, 2), "covered": self.covered, "captures": len(captures),
                "sessions": len(sessions), "acks": len(self.acks)}


def live(seed, points, context, names, folder):
    """One run; its result.  What is left of it lies in `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    plan = draw(seed, points)
    life = Life(json.loads(json.dumps(plan)), context, names, folder)
    started = time.monotonic()
    try:
        result = life.live()
    except (OSError, RuntimeError, sqlite3.Error, subprocess.SubprocessError) as e:
        result = {"leaks": [], "duplicates": [], "stuck": [], "lost_alerts": [], "other": [f"the run broke: {e!r}"],
                  "lag_s": 0, "covered": life.covered, "captures": 0, "sessions": 0, "acks": len(life.acks)}
    result.update(seed=seed, seconds=round(time.monotonic() - started, 2))
    if context["keep"] or any(result[kind] for kind in verdict.KINDS):
        for name, what in (("run", {"plan": plan, "acks": life.acks, "result": result}), ("history", life.history)):
            with open(f"{folder}/{name}.json", "w", encoding="utf-8") as file:
                json.dump(what, file, indent=1)
    return result
