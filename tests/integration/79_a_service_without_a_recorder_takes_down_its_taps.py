#!/usr/bin/python3
"""A capture host whose recorder cannot start any more still ends the mirrors that were left running."""
import os
import signal
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../support"), os.path.join(HERE, "../chaos")]
import host  # noqa: E402
import verdict  # noqa: E402
import world  # noqa: E402
from recorder import PATIENCE_S, ROOT, finish, inside_the_lab, is_, run, wait_until  # noqa: E402

inside_the_lab()
out = os.environ.get("TB_OUT", os.path.join(ROOT, "build/debug"))
names = world.Names(1)
host.build_wires(names)
with tempfile.TemporaryDirectory(dir="/run") as work:
    token = run(out + "/tapbox", "token", "add", "a", "--role", "alert", "--file", work + "/tokens").stdout.strip()
    awsim = host.Awsim(out, names, work)
    service = host.Service(out, names, work, "lone", work + "/tokens", duration="15s")

    def live():
        return [s["id"] for s in awsim.ask("/objects")["sessions"]]

    def session():
        return next(o for o in verdict.owned(awsim.history(), "lone") if o["kind"] == "session")

    try:
        service.start()
        wait_until("the service", service.ready, 30)
        service.call("POST", "/v1/events", world.finding(world.dice("lone"), 1), token)
        wait_until("a session", live, 20)
        service.kill_recorder()
        service.end(signal.SIGKILL)
        with open(service.config, encoding="utf-8") as file:
            text = file.read()
        with open(service.config, "w", encoding="utf-8") as file:
            file.write(text.replace("interface: eth0", "interface: gone0"))
        service.start()
        wait_until("the end of the session", lambda: not live(), 30)
        lag_s = (session()["until_ns"] - verdict.utc_ns(session()["tags"]["tapbox:expires"])) / verdict.NS
        print(f"# taken down {lag_s:.2f} s after its deadline")
        is_("the session is taken down at its deadline, without a recorder", lag_s < 50, lag_s)
        is_("the service runs", service.process.poll() is None)
        is_("and is not ready", not service.ready())
        # where nothing was left to take down, the same mistake is one line and an exit
        service.end(signal.SIGKILL)
        other = host.Service(out, names, work + "/other", "lone", work + "/tokens")
        with open(other.config, "w", encoding="utf-8") as file:
            file.write(text.replace("interface: eth0", "interface: gone0").replace(service.state, other.state))
        other.start()
        is_("where nothing is tapped it does not start", other.process.wait(60 + PATIENCE_S) == 1)
    except RuntimeError as e:
        is_("the scene is played to its end", False, f"{e!r}\n" + open(service.log, encoding="utf-8").read()[-3000:])
    finally:
        service.end(signal.SIGKILL)
        awsim.stop()
finish()
