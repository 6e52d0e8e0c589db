#!/bin/bash
# Rules of our filters that others delete, change or add, sessions of ours that they change or strip of their tags: the
# reconciler makes them as they were, and whom it concerns is told, in the custody log, the manifest, the log and a number.
set -u
# shellcheck source-path=SCRIPTDIR source=../support/cases.sh
. "$(dirname "${BASH_SOURCE[0]}")/../support/cases.sh"
in_lab "$@"
remote=$(lab_field "$LAB_INTERFACES" remote 6)

filter_of() { # CAPTURE: that its session has
    lab_awsim_ask /objects | jq -r --arg id "$1" '.sessions[] | select(.tags["tapbox:capture"] == $id).filter'
}
rules() { # FILTER [MEMBER]: what EC2 has, in one line; or one member of all of it
    lab_ec2 describe-traffic-mirror-filters --traffic-mirror-filter-ids "$1" | jq -r --arg member "${2-}" '
        .TrafficMirrorFilters[0] | [.IngressFilterRules[], .EgressFilterRules[]] |
        map(if $member == "" then "\(.TrafficDirection) \(.RuleNumber) \(.RuleAction) \(.Protocol) \(.SourceCidrBlock) \(.DestinationCidrBlock)"
            else .[$member] end) | sort | join("\n")'
}
are_rules() { [ "$(rules "$1")" = "$2" ]; } # FILTER RULES
add() { # FILTER DIRECTION NUMBER ACTION
    lab_ec2 create-traffic-mirror-filter-rule --traffic-mirror-filter-id "$1" --traffic-direction "$2" --rule-number "$3" --rule-action "$4" \
        --source-cidr-block 0.0.0.0/0 --destination-cidr-block 0.0.0.0/0 >/dev/null
}
delete() { # RULE...
    local rule
    for rule; do lab_ec2 delete-traffic-mirror-filter-rule --traffic-mirror-filter-rule-id "$rule" >/dev/null; done
}
standing_still() { # COMMAND...: while the service looks at nothing
    kill -STOP "$lab_tapbox_pid"
    "$@"
    kill -CONT "$lab_tapbox_pid"
}
strip() { # OBJECT
    lab_ec2 delete-tags --resources "$1" >/dev/null
    same 'it has lost its tags' '{}' "$(tags "$1")"
}
session() { # SESSION: what EC2 has, with its tags
    lab_ec2 describe-traffic-mirror-sessions --traffic-mirror-session-ids "$1" | jq -cS '.TrafficMirrorSessions[0] | .Tags |= sort_by(.Key)'
}
tags() { # OBJECT: our tags
    lab_awsim_ask /objects | jq -cS --arg id "$1" '.sessions[], .filters[] | select(.id == $id).tags | with_entries(select(.key | startswith("tapbox:")))'
}
is_session() { [ "$(session "$1" | jq -c 'del(.Tags)')" = "$(jq -c 'del(.Tags)' <<<"$2")" ]; } # SESSION AS
has_tags() { # OBJECT TAGS: an expiry as exactly as the time of AWS is known, whose answers tell seconds
    jq -ne --argjson is "$(tags "$1")" --argjson was "$2" 'def at: ."tapbox:expires" // "1970-01-01T00:00:00Z" | fromdate;
        ($is | del(."tapbox:expires")) == ($was | del(."tapbox:expires")) and (($is | at) - ($was | at) | fabs) <= 2' >/dev/null
}
received() { lab_capture "$1" | jq .ledger.received; }
receives() { # CAPTURE: more than before
    local before
    before=$(received "$1")
    lab_exec workload ping -q -c 5 -i 0.02 "$remote" >/dev/null
    lab_wait 5 receives_more "$1" "$before"
}
receives_more() { [ "$(received "$1")" -gt "$2" ]; }
metric() { LAB_TOKEN=$scraper lab_call GET /metrics | awk -v name="$1" '$1 == name { print $2 }'; }
gap() { lab_capture "$1" | jq -r '.sources[0].gap // ""'; }
says() { # PATTERN TEXT
    grep -qE -- "$1" <<<"$2" || {
        printf '%s\n' "$2"
        return 1
    }
}
is_gap() { says "$2" "$(gap "$1")" >/dev/null; } # CAPTURE PATTERN
is_told() { sqlite3 "$LAB_DIR/state/tapbox.db" "SELECT line FROM custody WHERE log_id = '$1'" | grep -qE -- "$2"; } # CAPTURE PATTERN
older() { # what was made here is a minute older: of what is younger EC2 is believed to know nothing
    sqlite3 "$LAB_DIR/state/tapbox.db" 'UPDATE resources SET created_steady_ns = created_steady_ns - 61000000000'
}
acts() { # CAPTURE JQ
    cat "$(lab_evidence "$1")"/custody/*.jsonl | jq -r "$2"
}

lab_all_up capture.rotate_seconds=1 capture.duration=10m || give_up "$lab_why" "$LAB_DIR/logs/tapbox.log"
scraper=$("$TB_OUT/tapbox" token add scraper --role scraper --file "$LAB_DIR/tokens" 2>/dev/null)
when='after 20[0-9TZ:-]+ its filter was changed'

# --- the filter that captures share, of which nothing is left, while the service runs
id=$(lab_record workload 10m)
lab_wait_for_state "$id" recording 10 || give_up 'a capture records' "$LAB_DIR/logs/tapbox.log"
filter=$(filter_of "$id")
before=$(rules "$filter")
session=$(lab_awsim_ask /objects | jq -r '.sessions[0].id')
asked=$(session "$session")
same 'it has four rules' 4 "$(wc -l <<<"$before")"
expect 'packets arrive' receives "$id"
mapfile -t ids < <(rules "$filter" TrafficMirrorFilterRuleId)
standing_still delete "${ids[@]}"
lab_wait 60 are_rules "$filter" "$before" || give_up 'all four are made again' "$LAB_DIR/logs/tapbox.log"
expect 'and packets arrive again' lab_wait 20 receives "$id"
expect 'the interface tells since when they may be missing, and until when' lab_wait 20 is_gap "$id" \
    "$when \\(4 rules gone, 0 added\\); put right by 20"
expect 'it is counted' test "$(metric tapbox_mirror_changes_total)" -ge 1
expect 'it is logged' grep -q "somebody changed the filter $filter: 4 rules of ours are missing" "$LAB_DIR/logs/tapbox.log"

# --- one is changed to a reject, one that hides all is put before the others, while the service is away
lab_tapbox_stop
older
lab_ec2 modify-traffic-mirror-filter-rule --rule-action reject --traffic-mirror-filter-rule-id "$(lab_ec2 describe-traffic-mirror-filters \
    --traffic-mirror-filter-ids "$filter" | jq -r '.TrafficMirrorFilters[0].EgressFilterRules[0].TrafficMirrorFilterRuleId')" >/dev/null
add "$filter" ingress 1 reject
lab_tapbox_start || give_up 'tapbox starts again' "$LAB_DIR/logs/tapbox.log"
expect 'a rule that was changed is made anew, one of others is taken out' lab_wait 60 are_rules "$filter" "$before"
expect 'that is told, too' lab_wait 20 is_gap "$id" "; $when \\(1 rules gone, 2 added\\); put right"
expect 'and packets arrive once more' lab_wait 20 receives "$id"

# --- the session itself
other=$(lab_ec2 create-traffic-mirror-filter | jq -r .TrafficMirrorFilter.TrafficMirrorFilterId)
lab_ec2 modify-traffic-mirror-session --traffic-mirror-session-id "$session" --traffic-mirror-filter-id "$other" --virtual-network-id 77 \
    --session-number 9 --packet-length 60 >/dev/null
expect 'a session that was changed is as it was' lab_wait 60 is_session "$session" "$asked"
expect 'and packets arrive as before' lab_wait 20 receives "$id"
expect 'it is logged' grep -q "somebody changed the session $session: filter $other for $filter, VNI 77 for [0-9]*, number 9 for 1, packet length 60 for whole" \
    "$LAB_DIR/logs/tapbox.log"
mapfile -t changes < <(metric tapbox_mirror_changes_total)
for object in "$session" "$filter"; do
    was=$(tags "$object")
    standing_still strip "$object"
    expect 'what has lost its tags gets them back' lab_wait 60 has_tags "$object" "$was"
done
lab_ec2 create-tags --resources "$session" --tags Key=tapbox:owner,Value=another Key=tapbox:capture,Value=another >/dev/null
expect 'tags that were changed, too' lab_wait 60 has_tags "$session" "$(jq -cS '.Tags | map(select(.Key | startswith("tapbox:"))) | from_entries' <<<"$asked")"
expect 'that is counted' test "$(metric tapbox_mirror_changes_total)" -ge "$((changes[0] + 3))"

# --- an EC2 that goes on listing what was, after it is put right
lab_wait 20 is_session "$session" "$asked"
shared=$(rules "$filter")
mapfile -t changes < <(metric tapbox_mirror_changes_total)
lists_old() {
    lab_ec2 modify-traffic-mirror-session --traffic-mirror-session-id "$session" --virtual-network-id 78 >/dev/null
    add "$filter" ingress 1 reject
    lab_ec2 delete-tags --resources "$session" --tags Key=tapbox:owner >/dev/null
    lab_awsim_ask /faults -X PUT -d '[{"action": "ModifyTrafficMirrorSession", "do": {"changed_after_ms": 29000}},
        {"action": "DeleteTrafficMirrorFilterRule", "do": {"changed_after_ms": 29000}}, {"action": "CreateTags", "do": {"tags_after_ms": 29000}}]' >/dev/null
}
standing_still lists_old
is_put_right_again() {
    sqlite3 -readonly "$LAB_DIR/state/tapbox.db" "SELECT line FROM custody WHERE log_id = '$id'" |
        jq -se 'any(.act == "mirror_restored" and (.detail.text | startswith("put right again by 20")))'
}
expect 'what EC2 still lists so is put right again' lab_wait 60 is_put_right_again
expect 'until it lists it right' lab_wait 60 is_session "$session" "$asked"
same 'nobody is told of a second change' "$((changes[0] + 3))" "$(metric tapbox_mirror_changes_total)"
lab_awsim_ask /faults -X DELETE >/dev/null
expect 'the filter, too' lab_wait 20 are_rules "$filter" "$shared"
lab_call POST "/v1/captures/$id/stop" >/dev/null
lab_wait_for_state "$id" sealed 30 || give_up 'it is sealed' "$LAB_DIR/logs/tapbox.log"

# --- the filter of one capture
lab_tapbox_stop
cat >"$LAB_DIR/policy.yaml" <<'END'
profiles: {peers: {filter: peers, duration: 10m}}
rules: [{name: all, when: {}, capture: peers}]
END
printf 'policy:\n  file: %s\n  cooldown: 0\n' "$LAB_DIR/policy.yaml" >>"$LAB_DIR/tapbox.yaml"
lab_tapbox_start || give_up 'tapbox starts with a policy' "$LAB_DIR/logs/tapbox.log"
own=$(lab_finding workload | lab_exec capture curl -sS --max-time 20 -X POST -H "X-Api-Key: $LAB_ALERT_TOKEN" --data-binary @- \
    "$LAB_API/v1/events" | jq -r .capture.id)
lab_wait_for_state "$own" recording 10 || give_up 'a finding is captured' "$LAB_DIR/logs/tapbox.log"
filter=$(filter_of "$own")
before=$(rules "$filter")
same 'its own filter has the peer alone' 2 "$(grep -c "$remote/32" <<<"$before")"
widen() {
    add "$filter" egress 50 accept
    delete "$(lab_ec2 describe-traffic-mirror-filters --traffic-mirror-filter-ids "$filter" |
        jq -r '.TrafficMirrorFilters[0].IngressFilterRules[0].TrafficMirrorFilterRuleId')"
}
standing_still widen
expect 'in it, too, stands what we put there, and nothing else' lab_wait 60 are_rules "$filter" "$before"
expect 'and it is told' lab_wait 20 is_gap "$own" "$when \\(1 rules gone, 1 added\\); put right"
expect 'packets of the peer arrive' receives "$own"

# --- moved behind the session of somebody who came later: there it takes no packet from others, and stays
move_behind() {
    session=$(lab_awsim_ask /objects | jq -r --arg id "$own" '.sessions[] | select(.tags["tapbox:capture"] == $id).id')
    lab_ec2 modify-traffic-mirror-session --traffic-mirror-session-id "$session" --session-number 5 >/dev/null
    lab_ec2 create-traffic-mirror-session --network-interface-id "$(lab_eni workload)" --session-number 1 --traffic-mirror-filter-id "$other" \
        --traffic-mirror-target-id "$(lab_awsim_ask /objects | jq -r '.targets[0].id')" >/dev/null
}
standing_still move_behind
expect 'that packets may be missing is said' lab_wait 60 is_told "$own" 'moved behind those of others \(number 5 for 1\)'
same 'it keeps the number' 5 "$(session "$session" | jq .SessionNumber)"
lab_call POST "/v1/captures/$own/stop" >/dev/null
lab_wait_for_state "$own" sealed 30 || give_up 'it is sealed' "$LAB_DIR/logs/tapbox.log"

# --- what the evidence says
lab_tapbox_stop
expect 'the evidence comes down' lab_download
for one in "$id" "$own"; do
    same 'a gap of the manifest' 1 "$(jq '[.completeness.gaps[] | select(.kind == "source" and (.text | test("its filter was changed")))] | length' \
        "$(lab_evidence "$one")/manifest.json")"
done
same 'each time an entry of the custody log, and again when it was put right' 'mirror_changed mirror_restored mirror_changed mirror_restored mirror_changed mirror_restored mirror_changed mirror_restored mirror_changed mirror_restored mirror_restored' \
    "$(acts "$id" 'select(.act | startswith("mirror_")).act' | paste -sd' ')"
same 'with the rule that was taken out' 'egress 50 accept' \
    "$(acts "$own" 'select(.act == "foreign_rule_deleted").detail | "\(.direction) \(.number) \(.action)"')"
same 'one of them is about the session' 1 \
    "$(acts "$id" 'select(.act == "mirror_changed").detail.text' | grep -cE "^after 20[0-9TZ:-]+ its session was changed \\(filter $other for .*, VNI 77 for [0-9]+, number 9 for 1, packet length 60 for whole packets\\)$")"
same 'and the tags that were put back' 'session tapbox:owner tapbox:capture tapbox:expires|session tapbox:owner tapbox:capture|session tapbox:owner' \
    "$(acts "$id" 'select(.act == "tags_restored").detail | "\(.kind) \(.tags | join(" "))"' | paste -sd'|')"
same 'and the ones of the shared filter, in the log of the host' 'egress 100 reject|ingress 1 reject|ingress 1 reject' \
    "$(cat "$LAB_DIR"/evidence/captures/custody/log-*/*.jsonl | jq -r 'select(.act == "foreign_rule_deleted").detail | "\(.direction) \(.number) \(.action)"' | sort | paste -sd'|')"
expect 'all of it holds' "$TB_OUT/tapbox" verify "$LAB_DIR/evidence/captures" --key "$LAB_DIR/state/evidence.key.pub"
finish
